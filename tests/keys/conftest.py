"""tms-keycmd as a host has it, with a service that can lie and, where a test wants it, the daemon."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.host.conftest import ENVIRONMENT, Ran
from tests.host.liar import Liar, Question, answer
from tests.host.sshd import keygen
from tests.hostd.conftest import PYTHON, Host, directory_for_all, staged
from tests.patient import LONGEST

__all__ = ["staged"]
EXPIRY = 'expiry-time="20991231235959Z"'
OLDEST = sorted(Path.home().glob(".pyenv/versions/3.6*/bin/python"))
PYTHONS = [PYTHON, *map(str, OLDEST[:1])]


@dataclass
class Pair:
    """A key, and what sshd says of it."""

    path: Path
    public: str  # TYPE BASE64
    fingerprint: str

    @property
    def kind(self) -> str:
        return self.public.split(" ")[0]


def make_pair(directory: Path, name: str, *options: str) -> Pair:
    path = directory / name
    keygen(*(options or ("-t", "ed25519")), "-N", "", "-C", "", "-f", path)
    said = subprocess.check_output(["ssh-keygen", "-l", "-f", f"{path}.pub"], text=True)
    return Pair(path, Path(f"{path}.pub").read_text().strip(), said.split()[1])


def bound(question: Question) -> str:
    """Return the header's value that a true answer has."""
    return "{nonce} {account} {fingerprint}".format(**question.body)


class KeyService(Liar):
    """Answers many connections at once."""

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=[connection], daemon=True).start()

    def _one(self, connection) -> None:
        with connection, suppress(OSError, ValueError, KeyError):
            self._serve(connection)


@dataclass
class KeyHost(Host):
    """Runs tms-keycmd."""

    pair: Pair | None = None

    def keycmd(self, *words: str, python: str = PYTHON, environment: dict[str, str] | None = None) -> Ran:
        """Run it with these arguments behind --config."""
        program = str(self.prefix / "libexec/tms/tms-keycmd")
        command = [python, "-ISE", program, "--config", str(self.config), *words]
        begun = time.monotonic()
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False, cwd="/",
            env={**ENVIRONMENT, **(environment or {})},
        )  # fmt: skip
        sys.stderr.write(done.stderr.decode())
        return Ran(done.returncode, done.stdout, time.monotonic() - begun)

    def ask(self, account: str = "alice", **more) -> Ran:
        """Run it as sshd would."""
        return self.keycmd(account, "1000", self.pair.fingerprint, self.pair.kind, **more)

    @property
    def line(self) -> str:
        """The line that a true service gives."""
        return f"restrict,pty,{EXPIRY} {self.pair.public}"

    def truth(self, question: Question) -> bytes:
        return answer(f"{self.line}\n".encode(), bound=bound(question))


@pytest.fixture(scope="session")
def pair(tmp_path_factory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("pair"), "id")


@pytest.fixture(scope="session")
def other(tmp_path_factory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("other"), "id")


@pytest.fixture
def host(staged: Path, pair: Pair) -> Iterator[KeyHost]:
    os.umask(0o022)
    with directory_for_all("keys") as directory:
        made = KeyHost(staged, directory, "", pair=pair)
        yield made
        made.stop()


@pytest.fixture
def service(host: KeyHost) -> Iterator[KeyService]:
    """A service that tells the truth until a test gives it another `reply`; the host is configured for it."""
    with KeyService(host.truth) as running:
        host.configure(f"http://127.0.0.1:{running.port}", timeout_seconds=LONGEST)
        yield running


@pytest.fixture(params=["alone", "daemon"])
def asked(request, host: KeyHost, service: KeyService) -> KeyHost:
    """The host, with and without its daemon."""
    if request.param == "daemon":
        host.start()
    return host
