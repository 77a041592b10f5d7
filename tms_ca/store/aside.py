"""A thread beside the loop's, for what waits for the disk."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Aside:
    """One thread that does what it is handed, one after the other.

    An executor does the same with locks, two futures and a work item for each call: ten times as much as this queue.
    """

    def __init__(self, name: str) -> None:
        self._orders: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        # A daemon: a process that is ended without `close` must not hang; what was committed is on the disk.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, act: Callable[[], object]) -> None:
        """Have `act` done, which must not raise."""
        self._orders.put(act)

    async def do(self, act: Callable[..., T], *args: object) -> T:
        """Return what `act` returns, or raise what it raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def doing() -> None:
            try:
                outcome = act(*args)
            except BaseException as error:  # noqa: BLE001 - raised where somebody waits for it
                tell = partial(_fail, future, error)
            else:
                tell = partial(_finish, future, outcome)
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits
                loop.call_soon_threadsafe(tell)

        self._orders.put(doing)
        return await future

    def close(self) -> None:
        """Wait until everything is done."""
        self._orders.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (act := self._orders.get()) is not None:
            act()


def _finish(future: asyncio.Future[Any], outcome: Any) -> None:
    if not future.done():  # who waited for it may have been cancelled
        future.set_result(outcome)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
