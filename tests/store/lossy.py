"""A proxy before PostgreSQL that loses an answer: what was asked is done, and nobody hears of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class Lossy:
    """Passes everything on, until `lose` is set: then the next commit is done, and its connection ends unanswered.

    A change commits with COMMIT, a group with the statement that has its events.
    """

    def __init__(self, server: Path) -> None:
        self._server = server
        self.lose = False
        self.lost = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, down = await asyncio.open_unix_connection(str(self._server))
        losing = asyncio.Event()

        async def ask() -> None:
            while chunk := await reader.read(65536):
                if self.lose and (b"COMMIT" in chunk or b"certificates.issue" in chunk):
                    self.lose = False
                    losing.set()
                down.write(chunk)
                await down.drain()

        async def answer() -> None:
            while chunk := await upstream.read(65536):
                if losing.is_set():
                    self.lost += 1
                    return
                writer.write(chunk)
                await writer.drain()

        tasks = [asyncio.ensure_future(ask()), asyncio.ensure_future(answer())]
        with contextlib.suppress(ConnectionError):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in (down, writer):
            stream.close()
            with contextlib.suppress(ConnectionError):
                await stream.wait_closed()


@asynccontextmanager
async def lossy(url: str, directory: Path) -> AsyncIterator[tuple[Lossy, str]]:
    """Put a lossy proxy before the cluster of `url`; yield it and the URL that leads through it."""
    base, _, host = url.partition("?host=")
    proxy = Lossy(Path(host) / ".s.PGSQL.5432")
    server = await asyncio.start_unix_server(proxy.serve, str(directory / ".s.PGSQL.5432"))
    try:
        yield proxy, f"{base}?host={directory}"
    finally:
        server.close()
