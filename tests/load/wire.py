"""Bytes on a socket, and what comes back."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """One answer, and whether the connection ended after it."""

    status: int
    headers: dict[str, str]
    body: bytes
    rest: bytes

    @property
    def code(self) -> str:
        return json.loads(self.body)["code"]


def parse(data: bytes, *, head: bool = False) -> Said:
    """Return the first answer in `data`; what follows it is `rest`. `head`: it has no body."""
    top, _, after = data.partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    size = 0 if head else int(headers.get("content-length", "0"))
    return Said(int(first.split(" ")[1]), headers, after[:size], after[size:])


async def exchange(port: int, data: bytes, seconds: float = 60) -> bytes:
    """Send `data`, and read until the service closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), seconds)
    finally:
        writer.close()


async def keep(port: int, data: bytes) -> bytes:
    """Send `data`, and read the answer of a connection that stays, with those of a status of 1xx before it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found, head = b"", b"HTTP/1.1 1"
    try:
        writer.write(data)
        async with asyncio.timeout(60):
            while head.startswith(b"HTTP/1.1 1"):
                head = await reader.readuntil(b"\r\n\r\n")
                found += head
            return found + await reader.readexactly(int(parse(head).headers["content-length"]))
    finally:
        writer.close()


async def in_pieces(port: int, pieces: Sequence[bytes], pause: float = 0.001) -> bytes:
    """Send pieces, and read until the service closes the connection.

    Where one crosses the end of the connection, the system resets it and the answer is lost: then all of it again.
    """
    for _ in range(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(pause)
            return await asyncio.wait_for(reader.read(), 60)
        except ConnectionResetError:
            continue
        finally:
            writer.close()
    raise AssertionError("the answer was lost twenty times")
