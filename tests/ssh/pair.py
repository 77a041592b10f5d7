"""Two services on one database, each in processes of its own, and people."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from tests.ssh.service import People, Service


@contextlib.asynccontextmanager
async def pair(
    data: Path, environment: Mapping[str, str], *, workers: int = 1
) -> AsyncIterator[tuple[People, Service]]:
    """Yield people of the first service, which has so many workers, and the second service."""
    first = Service(data, workers=workers, environment=dict(environment))
    await asyncio.to_thread(first.init)
    second = Service(first.data, environment=dict(environment), operator=first.operator)
    with contextlib.ExitStack() as stack:
        for one in (first, second):
            stack.enter_context(one)
            await asyncio.to_thread(one.start)
        people = People(first, "alice")
        await asyncio.to_thread(people.furnish)
        yield people, second
