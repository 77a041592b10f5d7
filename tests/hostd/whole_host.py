"""A whole host: it has joined the real service, its daemon is the real one, and a real sshd asks the installed helper.

The daemon runs as the helper's user in a mount namespace where the state directory is a small tmpfs, and sshd in one
made of that: both see the same files, and a test can fill the disk.
"""

import json
import os
import socket
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Self

from deploy.sandbox_sshd import HELPER_ACCOUNT, SandboxSshd
from tests.host.namespaces import UNSHARE
from tests.hostd.machine import Machine, in_the_end, invite, wait_until
from tests.hostd.sandbox import HELPER_UID
from tests.patient import LONGEST
from tests.ssh.service import People
from tests.standin import Asked, Said, standing_in

DISK_BYTES = 128 * 1024
_FURNISH = (
    f'cp -a "$0" "$0.old"; mount -t tmpfs -o size={DISK_BYTES},mode=755,uid={HELPER_UID} tmpfs "$0"; '
    'cp -a "$0.old/." "$0/"; '
    # ssh-keygen works for nobody whom /etc/passwd does not have.
    f'(cat /etc/passwd; echo "{HELPER_ACCOUNT}:x:{HELPER_UID}:{HELPER_UID}::/nonexistent:/usr/sbin/nologin") >"$0.passwd"; '
    'mount --bind "$0.passwd" /etc/passwd; exec "$@"'
)
_PASSED_ON = ("content-type", "authorization", "accept", "if-none-match")


@dataclass
class Relay:
    """Stands between host and service; `spoil` changes an answer's body on its way, by the request's path."""

    to: str
    spoil: Callable[[str, bytes], bytes] = lambda _path, body: body
    tell_length: bool = True  # whether Content-Length is that of the spoilt body, or still that of the whole one
    asked: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._running = standing_in(self._passed_on)
        self.url = self._running.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.__exit__(None, None, None)

    def _passed_on(self, asked: Asked) -> Said:
        self.asked.append(asked.path)
        with closing(HTTPConnection(self.to.removeprefix("http://"), timeout=60)) as onward:
            headers = {name: value for name, value in asked.fields.items() if name.lower() in _PASSED_ON}
            onward.request(asked.method, asked.path, asked.body or None, headers)
            answer = onward.getresponse()
            whole = answer.read()
        body = self.spoil(asked.path, whole)
        fields = {
            name: value for name, value in answer.getheaders() if name.lower() not in ("content-length", "connection")
        }
        return Said(answer.status, body, fields if self.tell_length else {**fields, "Content-Length": str(len(whole))})


@dataclass
class SharedSshd(SandboxSshd):
    """As SandboxSshd, on top of the mounts of another process."""

    of: int = 0

    def _in_namespace(self, command: list[str]) -> list[str]:
        return ["nsenter", f"--mount=/proc/{self.of}/ns/mnt", "--", *super()._in_namespace(command)]


@dataclass
class WholeHost:
    """Use as a context; `people` have a service with the host h1 and a delegation for alice."""

    people: People
    machine: Machine
    directory: Path
    url: str = ""
    clock: dict[str, str] = field(default_factory=dict)  # the environment of daemon and sshd: see `shifted`
    issued: int = 0

    def __enter__(self) -> Self:
        service, machine = self.people.service, self.machine
        invited = invite(service)
        pin = invited["host_ca_fingerprints"][0]
        done = machine.tms_host(
            "join", self.url or service.url, invited["join_token"], "--host-ca", pin, "--name", "n1"
        )
        assert done.returncode == 0, done.stderr
        machine.set(poll_seconds=5, report_seconds=5, timeout_seconds=LONGEST)
        for path in (machine.state, machine.root / "run/tms-host", machine.root / "etc/tms/token"):
            for one in (path, *path.rglob("*")) if path.is_dir() else (path,):
                os.chown(one, HELPER_UID, HELPER_UID)
        become = ["setpriv", f"--reuid={HELPER_UID}", f"--regid={HELPER_UID}", "--clear-groups"]
        # Only now: what faketime keeps in shared memory belongs to the first process that has it.
        become += ["env", *(f"{name}={value}" for name, value in self.clock.items())]
        machine.start(prefix=(*UNSHARE, "sh", "-euc", _FURNISH, str(machine.state), *become))
        program = machine.root / "usr/libexec/tms/tms-principals"
        lines = [
            f"AuthorizedPrincipalsCommand /usr/bin/python3 -ISE {program} --config {machine.config} %u %t %k",
            f"AuthorizedPrincipalsCommandUser {HELPER_ACCOUNT}",
            "AuthorizedPrincipalsFile none",
        ]
        ca = (machine.state / "user_ca.pub").read_text()
        self.sshd = SharedSshd(self.directory / "sshd", ca, extra="\n".join(lines), revoked_keys=machine.state / "krl",
                               of=machine.pid)  # fmt: skip
        kept = {name: os.environ.get(name) for name in self.clock}
        os.environ.update(self.clock)
        try:
            self.sshd.start()
        finally:
            for name, value in kept.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
        return self

    def __exit__(self, *_: object) -> None:
        self.sshd.stop()
        self.machine.stop()

    @property
    def state(self) -> Path:
        """The state directory as daemon and sshd see it."""
        return Path(f"/proc/{self.machine.pid}/root{self.machine.state}")

    @property
    def trust(self) -> dict:
        """What the daemon says of the bundle and the KRL."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(120)
            connection.connect(str(self.machine.root / "run/tms-host/ask.sock"))
            connection.sendall(b"status\n")
            received = b""
            while piece := connection.recv(65536):
                received += piece
        return json.loads(received.partition(b"\n")[2]).get("trust") or {}

    def certificate(self, **more: object) -> tuple[Path, Path, dict]:
        """Make a key and have it certified for alice; return both files and what the service said."""
        self.issued += 1
        name = self.directory / f"id{self.issued}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", name], check=True)
        body = {**self.people.body((self.directory / f"{name.name}.pub").read_text().strip()), **more}
        made = self.people.service.good("POST", "certificates", self.people.client, body)
        certificate = self.directory / f"{name.name}-cert.pub"
        certificate.write_text(made["certificate"] + "\n")
        return name, certificate, made

    def enters(self, key: Path, certificate: Path) -> bool:
        """Log in; tell whether there was a session. Anything but a clean no is a failure."""
        if not self.clock:
            return self._enters(key, certificate)
        return in_the_end(self.sshd, lambda: self._enters(key, certificate))

    def _enters(self, key: Path, certificate: Path) -> bool:
        done = self.sshd.ssh(key, certificate, "echo in")
        if done.returncode == 0 and done.stdout == "in\n":
            return True
        assert "Permission denied" in done.stderr, (done, self.sshd.log[-1500:])
        return False

    def revoke(self, made: dict) -> None:
        service = self.people.service
        service.good("POST", "revocations", service.operator, {"serial": made["serial"], "reason": "lost"})

    def says(self, text: str) -> None:
        """Wait until the daemon's log has `text`."""
        wait_until(lambda: text in self.machine.log, 30, lambda: self.machine.log[-3000:])

    def listed(self, certificate: Path) -> bool:
        """Tell whether the installed KRL revokes a certificate."""
        done = subprocess.run(["ssh-keygen", "-Q", "-f", self.state / "krl", certificate], capture_output=True, check=False)  # fmt: skip
        assert done.returncode in (0, 1), done
        return done.returncode == 1
