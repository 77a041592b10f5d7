"""The real commands, run as their users run them: a data directory, and a service that serves one."""

import base64
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyotp
import pytest

from tests import warm

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def field(self, name: str) -> str:
        """The value of a `name: value` line."""
        (line,) = [line for line in self.out.splitlines() if line.startswith(f"{name}:")]
        return line.partition(":")[2].strip()


def clean(env: Mapping[str, str] | None) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "LC_ALL": "C.UTF-8",
        "HOME": "/nonexistent",
        **(env or {}),
    }


def ran(
    module: str, *words: str | Path, stdin: str = "", env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Ran:
    """Run `python -m module`, all of it."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, words)], input=stdin, capture_output=True, text=True, env=clean(env),
        cwd=cwd, timeout=300, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


def run_tms_ca(*words: str | Path, stdin: str = "", env: Mapping[str, str] | None = None) -> Ran:
    """Run `tms-ca` in a process of its own that has imported everything."""
    # What Python reads when it is executed, it has read already.
    environment = {
        name: value for name, value in clean(env).items() if name in (env or {}) or not warm.AT_EXEC.match(name)
    }
    done = warm.run(*map(str, words), environment=environment, directory=ROOT, stdin=stdin)
    assert "Traceback" not in done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


@contextmanager
def serving(data: Path, log_file: Path) -> Iterator[str]:
    """Run a real `tms-ca serve` on a port of its own; yield its address."""
    with log_file.open("wb") as log:
        served = warm.start("serve", "--data", str(data), "--port", "0", environment=os.environ, log=log.fileno())
    assert served.stdout is not None
    with served.stdout as output:
        said = output.readline()
    assert "answers on http" in said, log_file.read_text()
    yield said.split()[-1]
    served.terminate()
    assert served.wait(60) == 0


@dataclass(frozen=True)
class Operator:
    """Runs `tms-ca` on one data directory."""

    data: Path

    def run(self, *words: str | Path, stdin: str = "", env: Mapping[str, str] | None = None) -> Ran:
        return run_tms_ca(*words, stdin=stdin, env=env)

    def __call__(self, *words: str | Path, stdin: str = "", code: int = 0) -> Ran:
        done = self.run(*words, "--data", self.data, stdin=stdin)
        assert done.code == code, done
        return done

    def json(self, *words: str | Path, stdin: str = "") -> Any:
        return self(*words, "--json", stdin=stdin).json


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A data directory as `tms-ca init` leaves it, and what init printed; to be copied, never used."""
    data = tmp_path_factory.mktemp("template") / "data"
    made = run_tms_ca("init", "--data", data, "--json")
    assert made.code == 0, made
    return data, made.json


@pytest.fixture
def operator(template: tuple[Path, dict[str, str]], tmp_path: Path) -> Operator:
    """An operator with a data directory of this test's own."""
    shutil.copytree(template[0], tmp_path / "data")
    return Operator(tmp_path / "data")


@dataclass
class Running:
    """A served data directory, with application `portal`, another one, and host `h1`."""

    url: str
    operator: Operator
    admin: str
    secrets: dict[str, str] = field(default_factory=dict)

    def api(self, method: str, path: str, body: Any = None, *, basic: str | None = None) -> Any:
        """Call the API as the first operator (or as `name:secret`)."""
        request = urllib.request.Request(f"{self.url}{path}", method=method)
        name_secret = f"admin:{self.admin}" if basic is None else basic
        request.add_header("Authorization", "Basic " + base64.b64encode(name_secret.encode()).decode())
        data = None
        if body is not None:
            request.add_header("Content-Type", "application/json")
            data = json.dumps(body).encode()
        with urllib.request.urlopen(request, data, timeout=120) as answer:
            content = answer.read()
            return json.loads(content) if answer.headers.get_content_type() == "application/json" else content.decode()

    def user(self, name: str, account: str | None = None) -> str:
        """Make a user with an account of that name on h1."""
        tenant = "/api/v1/tenants/default"
        self.api("POST", f"{tenant}/users", {"user": name, "password": PASSWORD})
        link = {"user": name, "host": "h1", "account": account or name, "expires_at": "2099-01-01T00:00:00Z"}
        self.api("POST", f"{tenant}/account-links", {**link, "allow_reserved": True})
        return name


@pytest.fixture(scope="session")
def running(template: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A real `tms-ca serve` on a port of its own."""
    home = tmp_path_factory.mktemp("service")
    shutil.copytree(template[0], home / "data")
    with serving(home / "data", home / "log") as url:
        found = Running(url, Operator(home / "data"), template[1]["secret"])
        for client in ("portal", "rival"):
            made = found.api("POST", "/api/v1/tenants/default/clients", {"client_id": client})
            found.secrets[client] = made["secret"]
        found.api("POST", "/api/v1/tenants/default/hosts", {"host": "h1"})
        yield found


@dataclass(frozen=True)
class Terminal:
    """Runs `tms` with a configuration of its own: somebody's machine."""

    home: Path
    env: dict[str, str]

    def __call__(self, *words: str | Path, stdin: str = "", code: int = 0, **env: str) -> Ran:
        done = ran("tms_ca.client.cli", *words, stdin=stdin, env={**self.env, **env}, cwd=self.home)
        assert done.code == code, done
        return done

    def log_in(self, user: str, *, mfa: bool = True) -> str:
        """Log in, enrol and prove a second factor; return its seed."""
        self("login", user, "--password-stdin", stdin=PASSWORD + "\n")
        if not mfa:
            return ""
        seed = self("mfa", "enrol").field("seed")
        self("mfa", "verify", pyotp.TOTP(seed).now())
        return seed


@dataclass(frozen=True)
class Machines:
    running: Running
    place: Path

    def _made(self, name: str, lines: str, env: dict[str, str]) -> Terminal:
        home = self.place / name
        home.mkdir()
        (home / "config.toml").write_text(f'url = "{self.running.url}"\n{lines}')
        return Terminal(home, {"TMS_CONFIG": str(home / "config.toml"), **env})

    def person(self, name: str) -> Terminal:
        return self._made(name, "", {})

    def application(self, client_id: str = "portal") -> Terminal:
        """A machine with the secret in a file."""
        made = self._made(client_id, f'client_id = "{client_id}"\nclient_secret_file = "secret"\n', {})
        (made.home / "secret").write_text(self.running.secrets[client_id] + "\n")
        (made.home / "secret").chmod(0o600)
        return made


@pytest.fixture
def machines(running: Running, tmp_path: Path) -> Machines:
    return Machines(running, tmp_path)
