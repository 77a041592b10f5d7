"""The helper as a host has it: the installed tree, a configuration and a credential; no daemon."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.build_host import stage
from tests import patient

# As sshd gives it: the environment of the helper's account and nothing else.
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "USER": "tms-helper", "LOGNAME": "tms-helper", "HOME": "/nonexistent"}
PYTHON = "/usr/bin/python3"
KEY_ID = "t=default;c=portal;u=alice;r=0190-a"  # as the service makes them
TOKEN = "tms_h_0123456789abcdefghijklmnopqrstuvwxyzABCDEF0"


@dataclass
class Ran:
    status: int
    out: bytes
    seconds: float


@dataclass
class Helper:
    """Runs the installed helper."""

    prefix: Path
    directory: Path
    certificate: str

    def configure(self, url: str, **more: str) -> Path:
        token = self.directory / "token"
        if not token.exists():
            token.touch(0o600)
            token.write_text(TOKEN + "\n")
        values = {
            "url": url,
            "tenant": "default",
            "host": "h1",
            "token_file": str(token),
            "timeout_seconds": patient.LONGEST,
            "run_dir": "/nonexistent/tms-host",  # no daemon
            **more,
        }
        path = self.directory / "host.conf"
        path.write_text("# made by a test\n" + "".join(f"{key} = {value}\n" for key, value in values.items() if value))
        path.chmod(0o644)
        return path

    def command(self, python: str = PYTHON) -> list[str]:
        """Return the beginning of the helper's command line, as its first line says it."""
        return [python, "-ISE", str(self.prefix / "libexec/tms/tms-principals")]

    def run(self, *arguments: str, python: str = PYTHON, environment: dict[str, str] | None = None) -> Ran:
        begun = time.monotonic()
        done = subprocess.run(
            [*self.command(python), *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False,
            env={**ENVIRONMENT, **(environment or {})}, cwd="/",
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, time.monotonic() - begun)

    def ask(self, account: str = "alice", **options) -> Ran:
        kind, blob = self.certificate.split()[:2]
        return self.run("--config", str(self.directory / "host.conf"), account, kind, blob, **options)


@contextmanager
def directory_for_all(name: str) -> Iterator[Path]:
    """A directory that every user can reach; pytest's own cannot be."""
    with tempfile.TemporaryDirectory(prefix=f"tms-{name}-", dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture(scope="session")
def staged() -> Iterator[Path]:
    """The tree that a host has, but patient, and compiled."""
    with directory_for_all("staged") as where:
        yield patient.stage_patiently(where / "usr", str(where / "usr"))


@pytest.fixture(scope="session")
def shipped() -> Iterator[Path]:
    """The tree that a host has, but for its longest time: what ends there is ended by the configured one."""
    with directory_for_all("shipped") as where:
        prefix = stage(Path("/"), str(where / "usr"))
        patient.set_time(prefix / patient.LIBRARY, "keycmd/quick.py", "LONGEST_SECONDS", 3600.0)
        patient.set_time(prefix / patient.LIBRARY, "keycmd/config.py", "LONGEST_TIMEOUT", 3600.0)
        patient.compile_(prefix / patient.LIBRARY)
        yield prefix


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> str:
    """A certificate that ssh-keygen made."""
    where = tmp_path_factory.mktemp("certificate")
    for name in ("ca", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", where / name], check=True)
    command = ["ssh-keygen", "-q", "-s", where / "ca", "-I", KEY_ID, "-n", "alice@h1", "-z", "7", "-V", "-1m:+1h"]
    subprocess.run([*command, where / "id.pub"], check=True)
    return (where / "id-cert.pub").read_text().strip()


@pytest.fixture
def ended(shipped: Path, certificate: str, tmp_path: Path) -> Helper:
    """A helper that the kernel ends as it would on a host."""
    os.umask(0o022)
    return Helper(shipped, tmp_path, certificate)


@pytest.fixture
def helper(staged: Path, certificate: str, tmp_path: Path) -> Helper:
    os.umask(0o022)
    return Helper(staged, tmp_path, certificate)
