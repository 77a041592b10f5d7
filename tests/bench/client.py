"""As little of an HTTP client as takes next to no processor time: one request at a time on each connection."""

import asyncio
from collections.abc import Callable, Iterable
from typing import cast
from urllib.parse import urlsplit

Done = Callable[[int, bytes], None]  # status and body; status 0: the connection was lost


def head(url: str, headers: dict[str, str]) -> bytes:
    """Return the beginning of a POST request; its length and its body follow."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\nContent-Length: ").encode()


def request(beginning: bytes, body: bytes) -> bytes:
    """Return a whole request."""
    return b"%s%d\r\n\r\n%s" % (beginning, len(body), body)


class Connection(asyncio.Protocol):
    """One connection that stays open."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._done: Done | None = None

    @classmethod
    async def open(cls, url: str) -> "Connection":
        parts = urlsplit(url)
        _, made = await asyncio.get_running_loop().create_connection(cls, parts.hostname, parts.port)
        return made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def send(self, whole: bytes, done: Done) -> None:
        """Send a request and call `done` with its answer."""
        if self._transport is None:
            done(0, b"")
            return
        self._done = done
        self._transport.write(whole)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        fields = self._received[:end].lower()
        at = fields.find(b"\r\ncontent-length:")
        if at < 0:
            raise RuntimeError(f"an answer without Content-Length: {fields[:200]!r}")
        length = int(fields[at + 17 :].split(b"\r\n", 1)[0])
        if len(self._received) < end + 4 + length:
            return
        body, status = self._received[end + 4 :], int(fields[9:12])
        self._received = b""
        self._answer(status, body)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._answer(0, b"")

    def _answer(self, status: int, body: bytes) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(status, body)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def ask_all(url: str, headers: dict[str, str], bodies: Iterable[str], *, connections: int = 32) -> list[bytes]:
    """POST every body; return the answers in the order of the bodies.

    Raises:
        RuntimeError: an answer was no success

    """
    beginning, loop = head(url, headers), asyncio.get_running_loop()
    waiting = enumerate(bodies)
    answers: dict[int, bytes] = {}

    async def work() -> None:
        connection = await Connection.open(url)
        for number, body in waiting:
            answered: asyncio.Future[tuple[int, bytes]] = loop.create_future()
            connection.send(request(beginning, body.encode()), lambda *answer, to=answered: to.set_result(answer))
            status, text = await answered
            if not 200 <= status < 300:
                raise RuntimeError(f"{url} answered {status}: {text[:300]!r}")
            answers[number] = text
        connection.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return [answers[number] for number in sorted(answers)]
