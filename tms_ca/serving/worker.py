"""One process that serves, alone or under a supervisor: start, accept, and end without a failed request.

Ending has three steps. While it still accepts, /readyz says 503 and each answer closes its connection, so that those
who ask before they send go elsewhere. Then it accepts no more, and connections that are kept open may bring one more
request, which is answered in the same manner. What is idle after that is closed, what is in flight is finished.
"""

import asyncio
import gc
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from tms_ca.app import CLOSING, build_app, open_context
from tms_ca.http.runner import Runner
from tms_ca.observe import Log
from tms_ca.services.readiness import Readiness
from tms_ca.serving.acceptor import Acceptor
from tms_ca.serving.notify import READY as MANAGER_READY
from tms_ca.serving.notify import STOPPING, notify, reloading
from tms_ca.serving.post import BEAT, READY, RETIRED_END_SECONDS, Leash, Order, Post, Role
from tms_ca.serving.shares import Shares
from tms_ca.serving.tls import tls_context
from tms_ca.settings import Settings
from tms_ca.tracing import open_tracing

IDLE_SECONDS = 75.0
GC_ALLOCATIONS = 20_000  # the default of 700 costs a tenth of the throughput and most of the p99
BEAT_SECONDS = 1.0
HALF_OPEN_SECONDS = 0.05  # for who was just connecting when nobody else was let in
RECENT_SECONDS = 3.0  # where nobody is connected, and nobody has come for so long, the end need not wait
FINISH_SECONDS = 4.0  # for what is in flight once nothing new is taken; aiohttp may take it twice
END_SECONDS = 9.0  # whatever hangs: bar none, the process is gone by then


@dataclass(frozen=True, slots=True)
class _Manner:
    """How long each step of an end may last, in seconds."""

    welcome: float  # accept, and answer with Connection: close
    patience: float  # wait for one more request on each connection that is kept
    end: float


_MANNERS = {
    Order.STOP: _Manner(1.0, 2.0, END_SECONDS),
    Order.NOW: _Manner(0.0, 0.0, END_SECONDS),
    Order.RETIRE: _Manner(0.0, 10.0, RETIRED_END_SECONDS),
}
_AGAIN = _Manner(0.5, 0.5, END_SECONDS)  # alone and restarted: those who connect meanwhile must wait


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` on the fastest loop there is."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)


class Worker:
    """Serves on `listener`; afterwards `again` tells whether the process shall be restarted in its place."""

    def __init__(self, load: Callable[[], Settings], listener: socket.socket, post: Post, *, announce: bool) -> None:
        self.again = False
        self._load = load
        self._settings = load()
        self._listener = listener
        self._post = post
        self._announce = announce
        self._ends_alone = False  # the other workers go on
        self._log = Log()
        self._order: Order | None = None
        self._ordered = asyncio.Event()

    async def serve(self) -> None:
        """Serve until an order or a signal says otherwise.

        Raises:
            TmsError: the database is not there, or not of this release
            ValueError, OSError: the master key or the TLS files are not usable

        """
        loop = asyncio.get_running_loop()
        leash = self._obey(loop)
        tls = tls_context(self._settings)
        writer = Path(self._post.writer) if self._post.writer else None
        async with (
            open_tracing(self._settings.tracing_endpoint) as tracing,
            open_context(self._settings, writer=writer, tracing=tracing) as context,
        ):
            app = build_app(context, self._settings, self._log)
            runner = Runner(
                app,
                access_log=None,
                auto_decompress=False,  # a small body must not unfold into a large one
                keepalive_timeout=IDLE_SECONDS,
                shutdown_timeout=FINISH_SECONDS,
                max_line_size=8190,
                max_field_size=16384,
            )
            await runner.setup()
            assert runner.server is not None
            # What is here by now stays: the collector need not walk it again, and need not run for every few requests.
            gc.collect()
            gc.freeze()
            gc.set_threshold(GC_ALLOCATIONS, 20, 50)
            shares = Shares(Path(self._post.shares), self._post.slot) if self._post.shares else None
            acceptor = Acceptor(self._listener, runner.server, runner.guard, tls, shares)
            acceptor.start()
            self._say_ready(leash)
            beating = None if leash is None else loop.create_task(self._beat(leash))
            try:
                await self._ordered.wait()
                await self._end(app, context.readiness, acceptor)
            finally:
                if beating is not None:
                    beating.cancel()
                await runner.cleanup()
                self._log.flush()

    def _say_ready(self, leash: Leash | None) -> None:
        address = self._settings.listen.address
        if self._announce:
            print(f"tms-ca answers on {address}", flush=True)  # noqa: T201 - the command's one line of output
        if leash is None:
            notify(MANAGER_READY)
        else:
            leash.tell(READY)
        self._log.write(level="info", message="serving", address=address, pid=os.getpid())

    def _obey(self, loop: asyncio.AbstractEventLoop) -> Leash | None:
        loop.add_signal_handler(signal.SIGTERM, self._take, Order.STOP)
        if self._post.role is Role.ALONE:
            loop.add_signal_handler(signal.SIGINT, self._take, Order.NOW)
            # At a terminal, SIGHUP says that the terminal is gone.
            hang_up = partial(self._take, Order.NOW) if os.isatty(0) else self._restart
            loop.add_signal_handler(signal.SIGHUP, hang_up)
            return None
        # Both come from the terminal to all of its processes, and the supervisor decides what they mean.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        leash = Leash(self._post.control)
        self._ends_alone = True

        def take(order: Order) -> None:  # which all have been given
            if order is not Order.RETIRE:  # a new generation goes on with the same socket
                self._ends_alone = False
            self._take(order)

        def hear() -> None:
            if not leash.hear(take):
                loop.remove_reader(leash.socket.fileno())

        loop.add_reader(leash.socket.fileno(), hear)
        return leash

    def _take(self, order: Order) -> None:
        if self._order is None or (self._order is Order.RETIRE and order is not Order.RETIRE):
            self.again = self.again and order is Order.RETIRE
            self._order = order
            self._ordered.set()
        elif self._post.role is Role.ALONE:  # asked twice: somebody cannot wait
            self._gone("ended at once, at the second signal")

    def _restart(self) -> None:
        """Check what the next process will need; only then end, to make room for it."""
        try:
            tls_context(self._load())
        except (ValueError, OSError) as error:
            self._log.write(level="error", message="not restarted: the settings do not load", error=str(error))
            return
        if self._order is None:
            self.again = True
            notify(reloading())
            self._take(Order.RETIRE)

    async def _beat(self, leash: Leash) -> None:
        while True:
            leash.tell(BEAT)
            await asyncio.sleep(BEAT_SECONDS)

    async def _end(self, app: web.Application, readiness: Readiness, acceptor: Acceptor) -> None:
        assert self._order is not None
        manner = _AGAIN if self.again else _MANNERS[self._order]
        self._log.write(level="info", message="restarting" if self.again else "stopping", pid=os.getpid())
        asyncio.get_running_loop().call_later(manner.end, self._gone, "ended with requests unfinished")
        app[CLOSING].set()
        if self._order is Order.STOP:
            readiness.ending = True
            if self._post.role is Role.ALONE:
                notify(STOPPING)
        begun = self._order
        if acceptor.open() or time.monotonic() - acceptor.accepted_at < RECENT_SECONDS:
            await self._linger(manner.welcome, begun, lambda: True)
        ours = not self.again and begun is not Order.RETIRE
        if ours and not self._ends_alone and acceptor.leaves_last():
            acceptor.admit_nobody()
            await self._linger(HALF_OPEN_SECONDS, begun, lambda: True)
        acceptor.stop(ours=ours)
        await self._linger(manner.patience, begun, acceptor.open)

    async def _linger(self, seconds: float, begun: Order, worth: Callable[[], object]) -> None:
        """Wait while it is `worth` it, and while no other order has overtaken `begun`."""
        until = time.monotonic() + seconds
        while worth() and self._order is begun and time.monotonic() < until:  # noqa: ASYNC110 - three things to watch
            await asyncio.sleep(0.02)

    def _gone(self, why: str) -> None:
        self._log.write(level="warning", message=why, pid=os.getpid())
        self._log.flush()
        os._exit(0)
