"""Several workers on one machine: started, replaced when they die, restarted one generation after the other."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tms_ca.observe import Log
from tms_ca.serving.generation import Generation, StartFailed
from tms_ca.serving.notify import READY, STOPPING, notify, reloading
from tms_ca.serving.post import RETIRED_END_SECONDS, Order
from tms_ca.serving.tls import tls_context
from tms_ca.settings import Settings
from tms_ca.store import migrate
from tms_ca.store.engine import database_url

STOP_SECONDS = 9.5


class Supervisor:
    """Runs `count` workers on `listener`, and on SQLite one writer for all of them.

    SIGTERM and SIGINT end everything, a second one at once. SIGHUP reads the settings again with `load` and puts a
    new generation in the place of the old one, once it answers; where it does not, everything stays as it is.
    """

    def __init__(
        self,
        listener: socket.socket,
        count: int,
        directory: Path,
        load: Callable[[], Settings],
        announce: Callable[[Settings], None],
    ) -> None:
        self._listener = listener
        self._count = count
        self._directory = directory
        self._load = load
        self._announce = announce
        self._log = Log()
        self._number = 0
        self._current: Generation | None = None
        self._old: dict[Generation, asyncio.Task[None]] = {}
        self._restart = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM.

        Raises:
            SettingsError: the settings do not load
            StartFailed: the first generation does not answer

        """
        loop = asyncio.get_running_loop()
        orders: asyncio.Queue[Order] = asyncio.Queue()
        loop.add_signal_handler(signal.SIGTERM, orders.put_nowait, Order.STOP)
        loop.add_signal_handler(signal.SIGINT, orders.put_nowait, Order.NOW)
        # At a terminal, SIGHUP says that the terminal is gone.
        hang_up = partial(orders.put_nowait, Order.NOW) if os.isatty(0) else self._restart.set
        loop.add_signal_handler(signal.SIGHUP, hang_up)
        serving, order = asyncio.create_task(self._serve()), asyncio.create_task(orders.get())
        await asyncio.wait([serving, order], return_when=asyncio.FIRST_COMPLETED)
        if not order.done():
            order.cancel()
            await serving  # it raises, or would go on for ever
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        notify(STOPPING)
        self._log.write(level="info", message="stopping", pid=os.getpid())
        self._listener.close()  # each worker takes what is queued before it closes the socket for its part
        leaving, again = asyncio.create_task(self._leave(await order)), asyncio.create_task(orders.get())
        await asyncio.wait([leaving, again], return_when=asyncio.FIRST_COMPLETED)
        if not leaving.done():  # asked twice: somebody cannot wait
            leaving.cancel()
            await asyncio.gather(leaving, *(generation.kill() for generation in self._all()), return_exceptions=True)
        again.cancel()
        self._log.flush()

    async def _serve(self) -> None:
        settings = self._load()
        if _is_sqlite(settings):  # once, before the workers would do it side by side
            await migrate.upgrade(database_url(settings.database_url))
        self._current = await self._start(settings, one_first=False)
        self._announce(settings)
        notify(READY)
        while True:
            await self._restart.wait()
            self._restart.clear()
            notify(reloading())
            await self._renew()
            notify(READY)

    async def _start(self, settings: Settings, *, one_first: bool) -> Generation:
        self._number += 1
        generation = Generation(
            self._number, self._count, self._listener, self._directory, self._log, with_writer=_is_sqlite(settings)
        )
        await generation.start(one_first=one_first)
        return generation

    async def _renew(self) -> None:
        """Put a new generation in the place of the current one, or leave that as it is."""
        self._log.write(level="info", message="restarting workers", pid=os.getpid())
        try:
            settings = self._load()
            tls_context(settings)
            generation = await self._start(settings, one_first=True)
        except (ValueError, OSError, StartFailed) as error:
            self._log.write(level="error", message="not restarted: the old workers go on", error=str(error))
            return
        old, self._current = self._current, generation
        assert old is not None
        self._old[old] = asyncio.create_task(self._retire(old))
        self._log.write(level="info", message="new workers answer, the old ones finish", pid=os.getpid())

    async def _retire(self, old: Generation) -> None:
        await old.leave(Order.RETIRE, RETIRED_END_SECONDS)
        del self._old[old]

    async def _leave(self, order: Order) -> None:
        for retiring in self._old.values():
            retiring.cancel()
        await asyncio.gather(*(generation.leave(order, STOP_SECONDS) for generation in self._all()))

    def _all(self) -> list[Generation]:
        return [*self._old, *([self._current] if self._current is not None else [])]


def _is_sqlite(settings: Settings) -> bool:
    return database_url(settings.database_url).get_backend_name() == "sqlite"
