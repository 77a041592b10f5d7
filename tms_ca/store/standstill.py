"""Room for decisions in a tenant that changes without a pause.

A decision is void once its tenant has changed, so that under one change upon another hardly any would be made. Whoever
was disturbed too often asks for a standstill: changes of the tenant that come later wait, those who asked decide and
commit together. It is short, and no change waits for more than one. Nothing rests on it: the epoch is compared as
ever, and a standstill that ends too soon costs one more try.
"""

import asyncio
import fcntl
import hashlib
import os
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from tms_ca.core.errors import TmsError

MOST_SECONDS = 0.5  # of a standstill, and of waiting for one; a few milliseconds are the rule
_NONE = -1  # no file descriptor
_LOOK_SECONDS = 0.005  # between two looks at other processes' standstill
_FLOCK = "hhqqi0q"  # fcntl(2), struct flock: type, whence, start, length, process

Lock = Callable[[str], AbstractAsyncContextManager[object]]  # while it is held, no process changes this tenant


class _Held:
    """One standstill of one tenant in this process."""

    __slots__ = ("begun", "inside", "left", "over")

    def __init__(self) -> None:
        self.inside = 0
        self.begun, self.left, self.over = asyncio.Event(), asyncio.Event(), asyncio.Event()


class Standstill:
    """The standstills of one process; `lock` makes those of the other processes wait."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._held: dict[str, _Held] = {}
        self._keepers: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def hold(self, tenant: str) -> AsyncIterator[None]:
        """Keep changes of `tenant` away while in here. Whoever is in here must not change it."""
        held = self._held.get(tenant)
        if held is None:
            held = self._held[tenant] = _Held()
            keeper = asyncio.create_task(self._keep(tenant, held))
            self._keepers.add(keeper)
            keeper.add_done_callback(self._keepers.discard)
        held.inside += 1
        try:
            await _soon(held.begun)
            yield
        finally:
            held.inside -= 1
            if not held.inside:
                self._end(tenant, held)

    def is_on(self, tenant: str) -> bool:
        """Tell whether `tenant` stands still because of this process, or is about to."""
        return tenant in self._held

    async def passed(self, tenant: str) -> bool:
        """Return when the standstill of `tenant` in this process that is on now is over; False where there is none."""
        held = self._held.get(tenant)
        if held is None:
            return False
        await _soon(held.over)
        return True

    async def close(self) -> None:
        """Return when the last is over."""
        await asyncio.gather(*self._keepers)

    async def _keep(self, tenant: str, held: _Held) -> None:
        try:
            async with self._lock(tenant):
                held.begun.set()
                try:
                    await _soon(held.left)
                finally:
                    self._end(tenant, held)  # who comes from here on is not in it any more
        except TmsError:
            pass  # whoever waits in `hold` asks the same database, and hears of it there
        finally:
            self._end(tenant, held)
            held.begun.set()

    def _end(self, tenant: str, held: _Held) -> None:
        if self._held.get(tenant) is held:
            del self._held[tenant]
        held.left.set()
        held.over.set()


async def _soon(event: asyncio.Event) -> None:
    """Wait for it, and no longer than for a standstill: a database that is away is answered for in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(MOST_SECONDS):
            await event.wait()


class StandstillFile:
    """What processes that share a file of SQLite tell each other: locks on a file beside it, which end with them.

    Each tenant has a byte of it, far beyond its end. The locks are of open files, not of processes (fcntl(2)), so that
    to look at one is not to let go of another. Where there can be none (a full disk, another user's file, a file system
    without), nobody waits.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looker = _NONE

    @contextmanager
    def held(self, tenant: str) -> Iterator[None]:
        """Let the changes of `tenant` by other processes wait that begin from now on."""
        mine = self._open()
        if mine == _NONE:
            yield
            return
        try:
            with suppress(OSError):
                fcntl.fcntl(mine, fcntl.F_OFD_SETLK, _lock(fcntl.F_RDLCK, tenant))
            yield
        finally:
            os.close(mine)

    async def passed(self, tenant: str) -> None:
        """Return when nobody holds it, or after half a second: who holds it may have been stopped."""
        until = asyncio.get_running_loop().time() + MOST_SECONDS
        while self._is_held(tenant) and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - another process's
            await asyncio.sleep(_LOOK_SECONDS)

    def close(self) -> None:
        """Close it."""
        if self._looker != _NONE:
            os.close(self._looker)
            self._looker = _NONE

    def _is_held(self, tenant: str) -> bool:
        if self._looker == _NONE:
            self._looker = self._open()
            if self._looker == _NONE:
                return False
        try:
            found = fcntl.fcntl(self._looker, fcntl.F_OFD_GETLK, _lock(fcntl.F_WRLCK, tenant))
        except OSError:
            return False
        in_the_way: int = struct.unpack(_FLOCK, found)[0]
        return in_the_way != fcntl.F_UNLCK

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return _NONE


def _lock(kind: int, tenant: str) -> bytes:
    byte = int.from_bytes(hashlib.sha256(tenant.encode()).digest()[:7], "big")
    return struct.pack(_FLOCK, kind, os.SEEK_SET, byte, 1, 0)
