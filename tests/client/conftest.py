"""The real commands, run as their users run them: a data directory, and a service that serves one."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyotp
import pytest

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
        cwd=cwd, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


class Warm:
    """Runs `tms-ca`, each command in a process of its own that has imported everything: see warm.py."""

    def __init__(self, place: Path) -> None:
        self._files = [place / name for name in ("stdin", "stdout", "stderr")]
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.client.warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def __call__(self, *words: str | Path, stdin: str = "", env: Mapping[str, str] | None = None) -> Ran:
        assert self._server.stdin
        assert self._server.stdout
        for file, text in zip(self._files, (stdin, "", ""), strict=True):
            file.write_text(text)
        job = {
            "words": [str(word) for word in words],
            "env": clean(env),
            "cwd": str(ROOT),
            "files": [str(file) for file in self._files],
        }
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        done = Ran(code, self._files[1].read_text(), self._files[2].read_text())
        assert "Traceback" not in done.err, done.err
        return done

    def close(self) -> None:
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait(10)


@pytest.fixture(scope="session")
def tms_ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    warm = Warm(tmp_path_factory.mktemp("warm"))
    yield warm
    warm.close()


@dataclass(frozen=True)
class Operator:
    """Runs `tms-ca` on one data directory."""

    data: Path
    run: Warm

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
    made = ran("tms_ca", "init", "--data", data, "--json")
    assert made.code == 0, made
    return data, made.json


@pytest.fixture
def operator(template: tuple[Path, dict[str, str]], tmp_path: Path, tms_ca: Warm) -> Operator:
    """An operator with a data directory of this test's own."""
    shutil.copytree(template[0], tmp_path / "data")
    return Operator(tmp_path / "data", tms_ca)


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
        with urllib.request.urlopen(request, data, timeout=20) as answer:
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
def running(
    template: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory, tms_ca: Warm
) -> Iterator[Running]:
    """A real `tms-ca serve` on a port of its own."""
    home = tmp_path_factory.mktemp("service")
    shutil.copytree(template[0], home / "data")
    with (home / "log").open("wb") as log:
        served = subprocess.Popen(
            [sys.executable, "-m", "tms_ca", "serve", "--data", home / "data", "--port", "0"],
            stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT,
        )  # fmt: skip
    assert served.stdout is not None
    said = served.stdout.readline()
    assert "answers on http://" in said, (home / "log").read_text()
    found = Running(said.split()[-1], Operator(home / "data", tms_ca), template[1]["secret"])
    for client in ("portal", "rival"):
        made = found.api("POST", "/api/v1/tenants/default/clients", {"client_id": client})
        found.secrets[client] = made["secret"]
    found.api("POST", "/api/v1/tenants/default/hosts", {"host": "h1"})
    yield found
    served.send_signal(signal.SIGTERM)
    served.stdout.close()
    assert served.wait(20) == 0


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
