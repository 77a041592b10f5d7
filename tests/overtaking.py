"""One request has read and not written yet: another one passes it there."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.world import World

Deed = Callable[[], Awaitable[Any]]
_PATIENCE_SECONDS = 0.3


def once_read(patch: pytest.MonkeyPatch, store: Any, name: str, happen: Deed) -> None:
    """Have something happen once, between what `store` reads by that name and what is done with it."""
    read = getattr(store, name)

    async def late(*args: Any, **more: Any) -> Any:
        found = await read(*args, **more)
        patch.setattr(store, name, read)
        await happen()
        return found

    patch.setattr(store, name, late)


class Beside:
    """A deed that is begun within another's transaction: it gets past it, or waits for it, as the database has it."""

    def __init__(self, deed: Deed, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self._deed = deed
        self._patience_seconds = patience_seconds
        self._task: asyncio.Task[Any] | None = None
        self.was_first = False

    async def begin(self) -> None:
        """Begin, and wait as long as it would take where nothing is in the way."""
        self._task = asyncio.ensure_future(self._deed())
        done, _ = await asyncio.wait({self._task}, timeout=self._patience_seconds)
        self.was_first = bool(done)

    async def done(self) -> Any:
        """Return what came of it."""
        assert self._task is not None, "it was never begun"
        return await self._task


def beside(world: World, deed: Deed) -> Beside:
    """Return what gets past on PostgreSQL, however long it takes, and waits for its turn on SQLite."""
    return Beside(deed, _PATIENCE_SECONDS if world.context.directory._database.is_sqlite else 60)
