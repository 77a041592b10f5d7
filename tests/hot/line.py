"""One connection, kept, and what goes over it byte by byte."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.load.wire import Said, parse


@dataclass
class Line:
    """A connection to a service on loopback; it is opened again where the service has ended it."""

    port: int
    interim: list[bytes] = field(default_factory=list)  # answers with a status of 1xx, of the last request
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        return self._streams

    async def send(self, pieces: Sequence[bytes]) -> None:
        """Send pieces, each by itself where the kernel lets us."""
        _, writer = await self.streams()
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(0.001)
            writer.write(piece)
            await writer.drain()

    async def answer(self, *, bodyless: bool = False) -> Said:
        """Read one answer."""
        reader, _ = await self.streams()
        self.interim = []
        async with asyncio.timeout(60):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"HTTP/1.1 1"):
                    self.interim.append(head)
                    continue
                said = parse(head)
                size = 0 if bodyless else int(said.headers.get("content-length", "0"))
                return parse(head + await reader.readexactly(size), head=bodyless)

    async def ask(self, *pieces: bytes) -> Said:
        """Send a request, and return its answer; a connection that ended after it is opened anew."""
        await self.send(pieces)
        said = await self.answer()
        if said.headers.get("connection") == "close":
            self.close()
        return said

    async def ended(self, seconds: float) -> bool:
        """Tell whether the service closes the connection within so long, saying no more."""
        reader, _ = await self.streams()
        try:
            async with asyncio.timeout(seconds):
                assert await reader.read() == b""
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def request(
    path: str, body: object, auth: str | None, *fields: str, method: str = "POST", version: str = "1.1"
) -> bytes:
    """Return a whole request with a JSON body, as a host sends it."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/{version}", "Host: tms.example.org", f"Content-Length: {len(raw)}"]
    if not any(one.lower().startswith("content-type") for one in fields):
        lines.append("Content-Type: application/json")
    if auth is not None:
        lines.append(f"Authorization: {auth if auth.startswith('Basic ') else f'Bearer {auth}'}")
    return "\r\n".join([*lines, *fields]).encode() + b"\r\n\r\n" + raw
