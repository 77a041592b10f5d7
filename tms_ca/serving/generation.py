"""Workers that were started together, and the writer that they hand their groups to.

A restart makes another generation, with a writer of its own: what one release hands over, only the same release reads.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from tms_ca.observe import Log
from tms_ca.registry import RUN_DIR, forget
from tms_ca.serving.child import START_SECONDS, Child
from tms_ca.serving.post import Order, Post, Role
from tms_ca.serving.shares import Shares
from tms_ca.store.handover import reachable

BACKLOG = 64
STEADY_SECONDS = 10.0  # a process that has lived so long is replaced at once, others after a pause that doubles
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 8.0


class StartFailed(Exception):
    """A process of a new generation ended before it answered; its own words are in the log."""


class Generation:
    """`count` workers on `listener`, each replaced when it dies; `number` tells generations apart."""

    def __init__(
        self, number: int, count: int, listener: socket.socket, directory: Path, log: Log, *, with_writer: bool
    ) -> None:
        self._directory = directory
        self._log = log
        self._leaving = False
        self._keepers: list[asyncio.Task[None]] = []
        self._workers: dict[int, Child] = {}
        self._writer: Child | None = None
        self._writer_socket: socket.socket | None = None
        self._count = count
        self._shares_file = directory / f"shares-{number}"
        self._address = directory / f"writer-{number}"
        shares = str(self._shares_file)
        writer = str(self._address) if with_writer else ""
        self._post = Post(Role.WORKER, listener.fileno(), writer=writer, shares=shares)

    async def start(self, *, one_first: bool) -> None:
        """Start everything and wait until it answers; `one_first`: the others only when one worker does.

        Raises:
            StartFailed: something ended instead; nothing of this generation is left

        """
        Shares.create(self._shares_file, self._count)
        self._shares = Shares(self._shares_file, 0)
        try:
            if self._post.writer:
                self._writer_socket = _listen(self._address)
                self._writer = await self._start_writer()
            slots = list(range(self._count))
            first = 1 if one_first else self._count
            for some in (slots[:first], slots[first:]):
                for slot in some:
                    self._workers[slot] = await self._start_worker(slot)
                for child in [self._workers[slot] for slot in some]:
                    await _answering(child)
            if self._writer is not None:
                await _answering(self._writer)
        except BaseException:
            await self.kill()
            raise
        for slot, worker in self._workers.items():
            self._keep(worker, partial(self._start_worker, slot))
        if self._writer is not None:
            self._keep(self._writer, self._start_writer)

    async def leave(self, order: Order, seconds: float) -> None:
        """Give the workers `order` and see them to their end, then the writer; kill what takes longer."""
        self._leaving = True
        for worker in self._workers.values():
            worker.order(order)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await _all_ended(self._workers.values())
                if self._writer is not None:
                    self._writer.order(Order.STOP)
                    await _all_ended([self._writer])
        await self.kill()

    async def kill(self) -> None:
        """End what is left, at once."""
        self._leaving = True
        children = [*self._workers.values(), *([self._writer] if self._writer is not None else [])]
        for child in children:
            child.kill()
        await _all_ended(children)
        for worker in self._workers.values():
            _forget(worker, self._directory)
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        if self._writer_socket is not None:
            self._writer_socket.close()
        for file in (self._address, self._shares_file):
            file.unlink(missing_ok=True)

    def _keep(self, child: Child, start: Callable[[], Awaitable[Child]]) -> None:
        self._keepers.append(asyncio.create_task(self._replace(child, start)))

    async def _replace(self, child: Child, start: Callable[[], Awaitable[Child]]) -> None:
        pause = 0.0
        while True:
            code = await child.ended()
            role = child.post.role
            if role is Role.WORKER:
                self._shares.absent(child.post.slot)
                _forget(child, self._directory)
            if self._leaving:
                return
            steady = time.monotonic() - child.began_at > STEADY_SECONDS
            pause = 0.0 if steady else min(max(pause * 2, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
            self._log.write(
                level="error", message=f"{role} ended, starting another", pid=child.process.pid, exit=code, pause=pause
            )
            await asyncio.sleep(pause)
            if self._leaving:
                return
            child = await start()

    async def _start_worker(self, slot: int) -> Child:
        child = self._workers[slot] = await Child.start(replace(self._post, slot=slot), self._environment())
        return child

    async def _start_writer(self) -> Child:
        assert self._writer_socket is not None
        post = Post(Role.WRITER, self._writer_socket.fileno())
        self._writer = await Child.start(post, self._environment())
        return self._writer

    def _environment(self) -> dict[str, str]:
        return {RUN_DIR: str(self._directory)}


def _listen(path: Path) -> socket.socket:
    """Bind here, once: while a writer is replaced, workers wait in this queue instead of being refused."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(reachable(path))
    listener.listen(BACKLOG)
    return listener


async def _answering(child: Child) -> None:
    if not await child.answers(START_SECONDS):
        code = child.process.returncode
        what = f"does not answer after {START_SECONDS:.0f} s" if code is None else f"ended with {code}"
        raise StartFailed(f"the {child.post.role} {what}; see the lines above")


async def _all_ended(children: Iterable[Child]) -> None:
    await asyncio.gather(*(child.ended() for child in children))


def _forget(worker: Child, directory: Path) -> None:
    """Drop what the metrics say of a worker that is gone; a full disk must not keep it from being replaced."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        forget(worker.process.pid, directory)
