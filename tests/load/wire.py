"""Bytes on a socket, and what comes back."""

import asyncio
import json
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


async def exchange(port: int, data: bytes, seconds: float = 10) -> bytes:
    """Send `data`, and read until the service closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        await writer.drain()
        return await asyncio.wait_for(reader.read(), seconds)
    finally:
        writer.close()


async def keep(port: int, data: bytes, seconds: float = 1) -> bytes:
    """Send `data`, and read for so long, or until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = b""
    try:
        writer.write(data)
        async with asyncio.timeout(seconds):
            while piece := await reader.read(65536):
                found += piece
    except TimeoutError:
        pass
    finally:
        writer.close()
    return found
