"""A machine below a directory: its own /etc, /var/lib and /run, the installed programs, and the daemon as a process."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from deploy.sandbox_sshd import SandboxSshd
from tests.hostd.conftest import listens
from tests.patient import LIBRARY, set_time, stage_patiently
from tests.ssh.service import Service

_KILLED = "terminated by signal 31"
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
OLDEST = sorted(Path.home().glob(".pyenv/versions/3.6*/bin/python"))
PYTHONS = ["/usr/bin/python3", *map(str, OLDEST[:1])]


def wait_until(true: Callable[[], object], seconds: float = 60, why: Callable[[], object] = lambda: "") -> float:
    """Wait for a condition; return how long it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, why()
        time.sleep(0.02)
    return time.monotonic() - began


def shifted(seconds: int) -> dict[str, str]:
    """Return the environment of a process whose clock is wrong by so much."""
    assert Path(FAKETIME).exists(), "faketime is not installed: sh deploy/debian-packages.sh test"
    return {"LD_PRELOAD": FAKETIME, "FAKETIME": f"{seconds:+d}s"}


def in_the_end(sshd: SandboxSshd, enters: Callable[[], bool]) -> bool:
    """Return what `enters` says of a sshd with a wrong clock; ask it again where it fails for what keeps the clock.

    Processes with such a clock share a semaphore. Whoever has to wait for it before the login makes a system call that
    sshd's sandbox does not know, and is killed for that (SIGSYS): nobody was let in or refused.
    """
    while True:
        killed = sshd.log.count(_KILLED)
        try:
            return enters()
        except AssertionError as error:
            why = error
            wait_until(lambda: sshd.log.count(_KILLED) > killed, 10, lambda: why)  # noqa: B023 - called at once


@dataclass
class Machine:
    """One machine that joins, or has joined; `root` is its `/`."""

    python: str = "/usr/bin/python3"
    environment: dict[str, str] = field(default_factory=dict)
    _daemon: "subprocess.Popen[bytes] | None" = None
    # Not pytest's directory: a socket's path has 107 characters at most.
    root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="tms")))

    def __post_init__(self) -> None:
        self.root.chmod(0o755)
        (self.root / "etc/ssh").mkdir(parents=True)
        for kind in ("ed25519", "ecdsa"):
            path = self.root / f"etc/ssh/ssh_host_{kind}_key"
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "root@host", "-f", path], check=True)
        stage_patiently(self.root / "usr", str(self.root / "usr"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.root)

    @property
    def state(self) -> Path:
        return self.root / "var/lib/tms-host"

    @property
    def config(self) -> Path:
        return self.root / "etc/tms/host.conf"

    @property
    def token(self) -> str:
        return (self.root / "etc/tms/token").read_text().strip()

    @property
    def log(self) -> str:
        """What the daemon has written; where no syslog listens, that is all of it."""
        path = self.root / "hostd.log"
        return path.read_text() if path.exists() else ""

    def program(self, name: str) -> list[str]:
        return [self.python, "-ISE", str(self.root / "usr" / name)]

    def tms_host(self, *words: str, prefix: tuple[str, ...] = (), stdin: str = "") -> subprocess.CompletedProcess:
        """Run tms-host below this root."""
        command = [*prefix, *self.program("sbin/tms-host"), words[0], "--root", str(self.root), *words[1:]]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=120,
            input=stdin,
            env={**os.environ, **self.environment},
            check=False,
        )

    def join(self, service: Service, host: str = "h1", *words: str) -> subprocess.CompletedProcess:
        """Invite and join, and see that it worked."""
        invited = invite(service, host)
        pin = invited["host_ca_fingerprints"][0]
        done = self.tms_host("join", service.url, invited["join_token"], "--host-ca", pin, "--name", "n1", *words)
        assert done.returncode == 0, done.stderr
        return done

    def set(self, **values: object) -> None:
        """Add settings to host.conf."""
        with self.config.open("a") as file:
            file.writelines(f"{key} = {value}\n" for key, value in values.items())

    def set_time(self, module: str, name: str, seconds: float) -> None:
        """Let a module of the installed programs wait for another time."""
        set_time(self.root / "usr" / LIBRARY, module, name, seconds)

    def files(self) -> dict[str, tuple[bytes, int, int]]:
        """Return content, mode and owner of every file of ours."""
        found = {}
        for top in ("etc/tms", "var/lib/tms-host"):
            for path in sorted((self.root / top).rglob("*")):
                if path.is_file():
                    status = path.stat()
                    found[str(path.relative_to(self.root))] = (
                        path.read_bytes(),
                        status.st_mode & 0o7777,
                        status.st_uid,
                    )
        return found

    def start(self, prefix: tuple[str, ...] = (), **environment: str) -> None:
        """Start the daemon; it answers when this returns."""
        with (self.root / "hostd.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                [*prefix, *self.program("sbin/tms-hostd"), "--config", str(self.config)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **self.environment, **environment},
            )  # fmt: skip
        for name in ("ask.sock", "session.sock"):
            wait_until(lambda: not self.running or listens(self.root / "run/tms-host" / name), why=lambda: self.log)  # noqa: B023 - called at once
        assert self.running, self.log

    def stop(self) -> None:
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            daemon.terminate()
            daemon.wait(60)

    @property
    def pid(self) -> int:
        assert self._daemon is not None
        return self._daemon.pid

    @property
    def running(self) -> bool:
        return self._daemon is not None and self._daemon.poll() is None

    def status(self) -> dict:
        return json.loads(self.tms_host("status", "--json").stdout)

    def said(self, part: str) -> dict:
        """Return what the daemon says of one of its parts."""
        return (self.status()["daemon"] or {}).get(part) or {}


def invite(service: Service, host: str = "h1") -> dict:
    return service.good("POST", f"hosts/{host}/join-tokens", service.operator, {})


def copied(initialised: Service, directory: Path) -> Service:
    """Return a running service on a copy of `initialised`'s data, with the host h1."""
    shutil.copytree(initialised.data, directory / "data")
    service = Service(directory / "data", operator=initialised.operator)
    service.start()
    body = {"host": "h1", "addresses": ["h1.example.org", "login.example.org"]}
    service.good("POST", "hosts", service.operator, body)
    return service
