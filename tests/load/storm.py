"""More than can be answered: a service, somebody who certifies and checks, and wrk that does not wait when told to."""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.ssh.service import People, Service

_SCRIPT = Path(__file__).with_name("count.lua")


@dataclass(frozen=True)
class Ask:
    """A request that is granted every time."""

    service: Service
    path: str
    authorization: str
    body: bytes

    @property
    def port(self) -> int:
        return int(self.service.url.rpartition(":")[2])

    def bytes(self) -> bytes:
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: {self.authorization}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


@dataclass(frozen=True)
class Result:
    """What wrk counted."""

    seconds: float
    answers: int
    refused: int
    lost: int
    p99_ms: float

    @property
    def successes(self) -> int:
        return self.answers - self.refused

    @property
    def good(self) -> float:
        """Return successes a second."""
        return self.successes / self.seconds


def asks(service: Service, directory: Path) -> tuple[Ask, Ask]:
    """Furnish `service`; return the request for a certificate, and the login check of one."""
    people = People(service, "alice")
    people.furnish()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", directory / "key"], check=True)
    public = (directory / "key.pub").read_text()
    issued = people.issue(public)
    assert issued.status == 201, issued
    tenant = "/api/v1/tenants/default/"
    issue = Ask(service, f"{tenant}certificates", people.client, json.dumps(people.body(public)).encode())
    login = {"account": "alice", "certificate": issued.json["certificate"].strip(), "nonce": "00"}
    return issue, Ask(service, f"{tenant}hosts/h1/principals", f"Bearer {people.host}", json.dumps(login).encode())


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Disturbed:
    """What others took of the core that a service has to itself, as a share of the time."""

    share: float = 0.0


@contextmanager
def watched(ask: Ask, core: int) -> Iterator[Disturbed]:
    """Look, while the block runs, at what else runs on the service's core."""
    found, pid = Disturbed(), ask.service.process.pid
    begun, busy, ours = time.monotonic(), _busy_seconds(core), cpu_seconds(pid)
    yield found
    others = _busy_seconds(core) - busy - (cpu_seconds(pid) - ours)
    found.share = max(0.0, others / (time.monotonic() - begun))


def _busy_seconds(core: int) -> float:
    """Return what processes have used of a core; interrupts are nobody's."""
    line = next(one for one in Path("/proc/stat").read_text().splitlines() if one.startswith(f"cpu{core} "))
    user, nice, system = line.split()[1:4]
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def press(ask: Ask, directory: Path, *, connections: int, seconds: int) -> Result:
    """Ask on so many connections, again as soon as an answer is there, whatever it says."""
    assert shutil.which("wrk"), "wrk is missing: sh deploy/debian-packages.sh bench"
    body = directory / "body.json"
    body.write_bytes(ask.body)
    command = [
        "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", "-s", str(_SCRIPT),
        "-H", f"Authorization: {ask.authorization}", "-H", "Content-Type: application/json",
        ask.service.url + ask.path, "--", str(body),
    ]  # fmt: skip
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    line = next(line for line in ended.stdout.splitlines() if line.startswith("RESULT "))
    return Result(**json.loads(line.removeprefix("RESULT ")))


@dataclass
class Probe:
    """One who asks now and then, on a new connection, and waits before the next."""

    statuses: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    refused_in: list[float] = field(default_factory=list)
    retry_after: set[str] = field(default_factory=set)

    def once(self, ask: Ask) -> int:
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", ask.port), 60) as one:
            one.sendall(ask.bytes())
            answer = one.recv(65536)
        took = time.monotonic() - begun
        status = int(answer[9:12])
        self.statuses.append(status)
        self.seconds.append(took)
        if status == 503:
            self.refused_in.append(took)
            head = answer.partition(b"\r\n\r\n")[0].decode().lower()
            self.retry_after |= {line[13:] for line in head.split("\r\n") if line.startswith("retry-after: ")}
        return status

    @contextmanager
    def beside(self, ask: Ask, every: float = 0.05) -> Iterator[None]:
        """Ask while the block runs."""
        ended = threading.Event()

        def go() -> None:
            while not ended.wait(every):
                self.once(ask)

        thread = threading.Thread(target=go)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def recovery(ask: Ask, patience: float = 60, within: float = 0.1) -> float:
    """Return after how many seconds five in a row are answered, each in time."""
    begun = time.monotonic()
    probe, row = Probe(), 0
    while row < 5:
        assert time.monotonic() - begun < patience, probe.statuses[-20:]
        row = row + 1 if probe.once(ask) < 300 and probe.seconds[-1] < within else 0
    return time.monotonic() - begun
