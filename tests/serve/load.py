"""Steady load that tells the truth: each request is sent once, and whatever became of it is written down."""

import http.client
import json
import os
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.ssh.service import People, Service

MEASURED = "TMS_TEST_TIMES" in os.environ


@dataclass
class Client(threading.Thread):
    """Asks `per_second` times a second; `keep`: on one connection for as long as the service keeps it open."""

    people: People
    public_key: str
    per_second: float
    keep: bool
    kind: str = "certificate"
    certificate: str = ""  # what a login shows
    received: list[str] = field(default_factory=list)  # serials
    answers: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    refused: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        address = urlsplit(self.people.service.url)
        connection = None
        while not self.stopping.is_set():
            begun = time.monotonic()
            if connection is None:
                connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    self.refused.set()
                    return
                except OSError as error:
                    self.faults.append(f"connect: {error!r}")
                    return
            try:
                close = self._ask(connection)
            except (OSError, http.client.HTTPException) as error:
                self.faults.append(f"{self.kind}, {'kept' if self.keep else 'fresh'}: {error!r}")
                close = True
            if close or not self.keep:
                connection.close()
                connection = None
            self.stopping.wait(max(0.0, 1 / self.per_second - (time.monotonic() - begun)))
        if connection is not None:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> bool:
        if self.kind == "certificate":
            headers = {"Authorization": self.people.client, "Content-Type": "application/json"}
            body = json.dumps(self.people.body(self.public_key))
            connection.request("POST", "/api/v1/tenants/default/certificates", body, headers)
        elif self.kind == "login":
            headers = {"Authorization": f"Bearer {self.people.host}", "Content-Type": "application/json"}
            body = json.dumps({"account": self.people.account, "certificate": self.certificate})
            connection.request("POST", "/api/v1/tenants/default/hosts/h1/principals", body, headers)
        else:
            connection.request("GET", "/healthz")
        answer = connection.getresponse()
        text = answer.read()
        self.answers[answer.status] += 1
        if answer.status == 201:
            self.received.append(json.loads(text)["serial"])
        return answer.will_close


class Load:
    """`clients` that ask together; `with` it they run."""

    def __init__(self, clients: list[Client]) -> None:
        self.clients = clients

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.stopping.set()
        for client in self.clients:
            client.join(60)
            assert not client.is_alive()

    @property
    def faults(self) -> list[str]:
        return [fault for client in self.clients for fault in client.faults]

    @property
    def received(self) -> list[str]:
        return [serial for client in self.clients for serial in client.received]

    @property
    def answers(self) -> Counter:
        return sum((client.answers for client in self.clients), Counter())


def fifty_a_second(people: People, key: str) -> Load:
    """Half of it on connections that are kept, half on fresh ones."""
    certificate = people.issue(key).json["certificate"]
    kept = [Client(people, key, 5, keep=True) for _ in range(3)]
    kept.append(Client(people, key, 5, keep=True, kind="health"))
    kept.append(Client(people, key, 5, keep=True, kind="login", certificate=certificate))
    fresh = [Client(people, key, 10, keep=False), Client(people, key, 5, keep=False, kind="health")]
    return Load([*kept, *fresh, Client(people, key, 10, keep=False, kind="login", certificate=certificate)])


def children(service: Service) -> dict[int, str]:
    """Return the service's processes below the first, by what they are there for."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, parent = int(path.parent.name), int(path.read_text().rsplit(")", 1)[1].split()[1])
            environment = (path.parent / "environ").read_bytes() if parent == service.process.pid else b""
        except (OSError, ValueError, IndexError):
            continue
        for role in ("worker", "writer"):
            if f'"role": "{role}"'.encode() in environment:
                found[pid] = role
    return found


def workers(service: Service) -> set[int]:
    return {pid for pid, role in children(service).items() if role == "worker"}


def writer(service: Service) -> int:
    (pid,) = [pid for pid, role in children(service).items() if role == "writer"]
    return pid


def connections_of(service: Service) -> dict[int, int]:
    """Return the worker of each connection, by the client's port; now and then one is missing: see is_read()."""
    port = urlsplit(service.url).port
    ports = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        local, remote = (int(words[n].split(":")[1], 16) for n in (1, 2))
        if local == port and words[3] == "01":
            ports[words[9]] = remote
    owners = {}
    for pid in workers(service):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except OSError:
                continue
            if target.startswith("socket:[") and target[8:-1] in ports:
                owners[ports[target[8:-1]]] = pid
    return owners


def is_read(*connections: socket.socket) -> bool:
    """Tell whether the service has read all that was sent on each of `connections`: proc(5), /proc/net/tcp.

    That list is not of one moment: others that come and go meanwhile may keep a row from being told.
    """
    left = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        to_send, to_read = (int(number, 16) for number in words[4].split(":"))
        left[words[1][-5:], words[2][-5:]] = (to_send, to_read)
    both = ((one.getsockname(), one.getpeername()) for one in connections)
    ends = [tuple(f":{address[1]:04X}" for address in each) for each in both]
    known = all(end in left for near, far in ends for end in ((near, far), (far, near)))
    return known and all(left[near, far][0] == 0 == left[far, near][1] for near, far in ends)


def until(true, seconds: float = 60, what: str = "it does not happen") -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def in_time(figure: float, most: float) -> None:
    """Insist on a figure where figures are measured: make times. Elsewhere a machine may be busy, or stand still."""
    assert not MEASURED or figure <= most, figure


def nothing_is_lost(service: Service, serials: list[str]) -> None:
    """The database knows every certificate that somebody received, each once; every audit chain verifies."""
    assert len(set(serials)) == len(serials), "a serial was used twice"
    known, cursor = set(), ""
    while True:
        page = service.good("GET", f"certificates?limit=1000{cursor}", service.operator)
        known |= {item["serial"] for item in page["items"]}
        if not page["next_cursor"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert set(serials) <= known, "a client holds a certificate that the database does not know"
    verified = service.tms_ca("audit", "verify", check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr
