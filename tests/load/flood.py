"""As many requests a second as it is told, whatever becomes of them: a service that answers late is not asked less.

Each request has its moment beforehand, and its latency counts from that moment. It takes a connection that waits for
nothing, or a new one, and leaves one that was refused alone for as long as it was told, as many clients would that
know nothing of one another. Run as a process of its own: it keeps a core busy.
"""

import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field

from tests.load.storm import Ask

_END = b"\r\n\r\n"
_LENGTH = b"Content-Length: "
_LAST = b"\r\nConnection: close"
RETRY_SECONDS = 1.0  # what Retry-After says
_PATIENCE = 15.0  # seconds for what is still unanswered at the end


@dataclass(frozen=True)
class Flood:
    """What came of it; seconds and milliseconds."""

    seconds: float
    offered: int
    lost: int  # connections that ended without an answer
    unanswered: int
    behind_ms: float  # how late the program that asks was itself, p99
    good: int  # successes while it went on
    answers: dict[str, int]  # by status, with those that came afterwards
    p50_ms: dict[str, float]
    p99_ms: dict[str, float]
    longest_ms: dict[str, float]
    connections: int


@dataclass
class _Flooder:
    port: int
    whole: bytes
    most: int  # connections
    idle: deque[socket.socket] = field(default_factory=deque)
    resting: deque[tuple[float, socket.socket]] = field(default_factory=deque)  # refused: not before that moment
    due: dict[int, float] = field(default_factory=dict)
    sockets: dict[int, socket.socket] = field(default_factory=dict)
    begun: dict[int, bytes] = field(default_factory=dict)
    took: dict[str, list[float]] = field(default_factory=dict)
    waiting: deque[float] = field(default_factory=deque)
    lost: int = 0
    epoll: select.epoll = field(default_factory=select.epoll)

    def ask(self, due: float) -> None:
        """Send a request that was due at that moment."""
        while self.resting and self.resting[0][0] <= time.perf_counter():
            self.idle.append(self.resting.popleft()[1])
        if self.idle:
            one = self.idle.pop()
        elif len(self.sockets) < self.most:
            one = socket.socket()
            one.bind((f"127.0.{1 + len(self.sockets) % 2}.{1 + len(self.sockets) % 199}", 0))
            one.connect(("127.0.0.1", self.port))
            one.setblocking(False)
            self.sockets[one.fileno()] = one
            self.epoll.register(one, select.EPOLLIN)
        else:
            self.waiting.append(due)
            return
        self.due[one.fileno()] = due
        try:
            one.send(self.whole)
        except OSError:
            self._end(one)

    def read(self, timeout: float) -> None:
        """Take the answers that are there."""
        for number, _ in self.epoll.poll(timeout):
            one = self.sockets[number]
            try:
                data = one.recv(65536)
            except OSError:
                data = b""
            if not data:
                self._end(one)
                continue
            if number in self.begun:
                data = self.begun.pop(number) + data
            head = data.find(_END)
            if head < 0 or len(data) < head + 4 + int(data[data.index(_LENGTH) + 16 :].split(b"\r", 1)[0]):
                self.begun[number] = data
                continue
            now, status = time.perf_counter(), data[9:12].decode()
            self.took.setdefault(status, []).append(now - self.due.pop(number))
            if _LAST in data[:head]:
                self._end(one)
            elif status == "503":
                self.resting.append((now + RETRY_SECONDS, one))
            else:
                self.idle.append(one)
            if self.waiting:
                self.ask(self.waiting.popleft())

    def _end(self, one: socket.socket) -> None:
        number = one.fileno()
        if self.due.pop(number, None) is not None:
            self.lost += 1
        elif one in self.idle:
            self.idle.remove(one)
        else:
            self.resting = deque(entry for entry in self.resting if entry[1] is not one)
        self.begun.pop(number, None)
        self.epoll.unregister(one)
        del self.sockets[number]
        one.close()

    def run(self, rate: float, seconds: float) -> Flood:
        """Ask `rate` times a second for so long."""
        late: list[float] = []
        total, start = round(rate * seconds), time.perf_counter()
        sent = 0
        while sent < total:
            now = time.perf_counter()
            ready = min(total, int((now - start) * rate) + 1)
            for number in range(sent, min(ready, sent + 64)):
                late.append(now - start - number / rate)
                self.ask(start + number / rate)
            sent = max(sent, min(ready, sent + 64))
            self.read(0)
        good = sum(len(took) for status, took in self.took.items() if status[0] == "2")
        until = time.perf_counter() + _PATIENCE
        while self.due and time.perf_counter() < until:
            self.read(0.05)

        def part(share: float) -> dict[str, float]:
            return {s: round(sorted(v)[min(len(v) - 1, int(len(v) * share))] * 1000, 1) for s, v in self.took.items()}

        late.sort()
        return Flood(
            seconds, total, self.lost, len(self.due) + len(self.waiting), late[int(len(late) * 0.99)] * 1000, good,
            {s: len(v) for s, v in self.took.items()}, part(0.5), part(0.99), part(1.0), len(self.sockets),
        )  # fmt: skip


def flood(ask: Ask, *, rate: float, seconds: float, connections: int = 4000) -> Flood:
    """Ask at that rate from a process of its own."""
    wish = {"port": ask.port, "whole": ask.bytes().decode(), "rate": rate, "seconds": seconds, "most": connections}
    ended = subprocess.run(
        [sys.executable, "-m", "tests.load.flood"], input=json.dumps(wish), check=True, capture_output=True, text=True
    )
    return Flood(**json.loads(ended.stdout))


def main() -> None:
    """Do what standard input wishes."""
    wish = json.load(sys.stdin)
    made = _Flooder(wish["port"], wish["whole"].encode(), wish["most"])
    print(json.dumps(asdict(made.run(wish["rate"], wish["seconds"]))))


if __name__ == "__main__":
    main()
