"""Clients that take their time, many at once, in one thread."""

import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class Slow:
    """Connections that send `first`, then `piece` each `every` seconds, until the service closes them."""

    port: int
    count: int
    first: bytes
    piece: bytes = b""
    every: float = 1.0
    closed_after: list[float] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)

    def run(self, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Go on until all are closed, or for so many seconds; `meanwhile` is called about ten times a second."""
        selector = selectors.DefaultSelector()
        begun: dict[socket.socket, float] = {}
        for number in range(self.count):
            one = socket.socket()
            one.bind((f"127.0.1.{1 + number % 200}", 0))
            one.connect(("127.0.0.1", self.port))
            one.setblocking(False)
            begun[one] = time.monotonic()
            self._send(one, self.first)
            selector.register(one, selectors.EVENT_READ, bytearray())
        until, due, called = time.monotonic() + seconds, time.monotonic() + self.every, 0.0
        while begun and time.monotonic() < until:
            for key, _ in selector.select(0.05):
                self._read(selector, key, begun)
            if self.piece and time.monotonic() > due:
                due += self.every
                for one in begun:
                    self._send(one, self.piece)
            if time.monotonic() > called + 0.1:
                called = time.monotonic()
                meanwhile()
        for one in begun:
            one.close()
        selector.close()

    def _send(self, one: socket.socket, data: bytes) -> None:
        try:
            one.send(data)
        except OSError:
            pass  # it is closed: reading says so

    def _read(self, selector: selectors.BaseSelector, key: selectors.SelectorKey, begun: dict) -> None:
        one = key.fileobj
        try:
            data = one.recv(65536)
        except OSError:
            data = b""
        key.data.extend(data)
        if not data:
            self.closed_after.append(time.monotonic() - begun.pop(one))
            self.answers.append(bytes(key.data))
            selector.unregister(one)
            one.close()


def ask(port: int) -> float:
    """Ask one question on a new connection; return the seconds it took."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 60) as one:
        one.sendall(REQUEST)
        assert one.recv(4096).startswith(b"HTTP/1.1 200")
    return time.monotonic() - begun
