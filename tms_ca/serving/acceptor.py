"""Accept connections from one listening socket that all workers share.

A socket of its own for each worker (SO_REUSEPORT) would lose what is queued at a worker that ends, and hashes a few
long connections unevenly. With one shared socket the kernel wakes everybody and the idlest wins, so a worker that is
ahead of another lets it go first for a moment; if the other does not come, it accepts all the same.
"""

import asyncio
import contextlib
import ctypes
import errno
import socket
import ssl
import struct
import time

from tms_ca.http import doorstep
from tms_ca.http.doorstep import Door
from tms_ca.http.guard import Guard
from tms_ca.http.runner import Server
from tms_ca.serving.shares import ABSENT, Shares

YIELD_SECONDS = 0.002  # longer than a turn of a busy loop, shorter than anybody notices
COUNT_SECONDS = 0.1
FULL_SECONDS = 0.5  # without descriptors or memory: how long until the next attempt
HANDSHAKE_SECONDS = 10.0
MOST_AT_ONCE = 64
MOST_QUEUED = 4096  # that the system lets wait, where nobody has raised it: listen(2)
UNSENT_BYTES = 64 * 1024  # that the system keeps for a connection, beyond what is on its way
FEW = 6  # how often in a row a worker goes last before it takes more than one connection
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h
# linux/filter.h: load byte 13 of TCP's header, its flags; where SYN (2) is set keep nothing of the packet, else all.
_NO_SYN = [(0x30, 0, 0, 13), (0x45, 0, 1, 2), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)]
_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Acceptor:
    """Hands connections to an aiohttp server."""

    def __init__(
        self, listener: socket.socket, server: Server, guard: Guard, tls: ssl.SSLContext | None,
        shares: Shares | None,
    ) -> None:  # fmt: skip
        self._listener = listener
        self._server = server
        self._guard = guard
        self._tls = tls
        self._shares = shares
        self._loop = asyncio.get_running_loop()
        self._welcoming: set[asyncio.Task[None]] = set()
        self.accepted_at = 0.0  # by the monotonic clock
        self._in_vain = 0
        self._pause: asyncio.TimerHandle | None = None
        self._counting: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to accept."""
        self._listener.setblocking(False)
        # tcp(7); what is accepted inherits it. Else the system takes megabytes of long answers that nobody reads.
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        with contextlib.suppress(OSError):  # there is none, unless somebody left as the last
            self._listener.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
        self._count()
        self._loop.add_reader(self._listener.fileno(), self._ready)

    def leaves_last(self) -> bool:
        """Say that we leave; tell whether all who accept here beside us had said so."""
        if self._counting is not None:
            self._counting.cancel()
        if self._shares is None:
            return True
        self._shares.set(ABSENT)  # before the look: of two who leave at once, one at least is the last
        return self._shares.alone()

    def admit_nobody(self) -> None:
        """Take who has connected, and let nobody else: for whoever accepts here last, shortly before the end.

        Who connects after the last look and before the socket closes would be reset. From here on the system says
        nothing to who would like to connect, who tries again a second later, and is refused.
        """
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _NO_SYN))
        with contextlib.suppress(OSError):  # a system without filters
            program = struct.pack("HP", len(_NO_SYN), ctypes.addressof(code))
            self._listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    def stop(self, *, ours: bool) -> None:
        """Accept no more.

        `ours`: nobody will accept after us, so what is queued is taken now: it would be reset when the socket closes.
        """
        self._loop.remove_reader(self._listener.fileno())
        if ours:
            self._take(MOST_QUEUED)  # whoever comes meanwhile, to be refused, must not keep us from ending
            self._listener.close()
        for timer in (self._pause, self._counting):
            if timer is not None:
                timer.cancel()
        if self._shares is not None:
            self._shares.set(ABSENT)

    def open(self) -> int:
        """Return the number of connections, with those still in their handshake."""
        return len(self._server._connections) + len(self._welcoming)  # noqa: SLF001 - `connections` copies all of them

    def _count(self) -> None:
        if self._shares is not None:
            self._shares.set(self.open())
            self._counting = self._loop.call_later(COUNT_SECONDS, self._count)

    def _ready(self) -> None:
        if self._shares is None:
            self._take(MOST_AT_ONCE)
        elif self._shares.ahead():
            self._sleep(YIELD_SECONDS)
        else:
            self._in_vain = 0
            self._take(1)  # of many at once, the others get their turns

    def _sleep(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._pause = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener.fileno(), self._ready)
        # Nobody came. Perhaps they wait for a processor, so one at a time at first; perhaps they hang.
        self._in_vain += 1
        self._take(min(MOST_AT_ONCE, 1 << max(0, self._in_vain - FEW)))

    def _take(self, most: int) -> None:
        for _ in range(most):
            if not self._accept():
                return

    def _accept(self) -> bool:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:  # among them: nothing there, or the client is gone already
            if error.errno in _FULL and self._pause is None:
                self._sleep(FULL_SECONDS)
            return error.errno == errno.ECONNABORTED
        self.accepted_at = time.monotonic()
        connection.setblocking(False)
        said = Door.UNASKED if self._tls is not None else doorstep.answer(self._guard, connection)
        if said is Door.REFUSED:
            return True
        task = self._loop.create_task(self._welcome(connection, let_in=said is Door.LET_IN))
        self._welcoming.add(task)
        task.add_done_callback(self._welcoming.discard)
        if self._shares is not None:
            self._shares.set(self.open())
        return True

    async def _welcome(self, connection: socket.socket, *, let_in: bool) -> None:
        patience = HANDSHAKE_SECONDS if self._tls is not None else None
        make = self._server.let_in if let_in else self._server
        try:
            await self._loop.connect_accepted_socket(make, connection, ssl=self._tls, ssl_handshake_timeout=patience)
        except (OSError, TimeoutError):  # ssl.SSLError is an OSError: a client that cannot speak to us
            connection.close()
        finally:
            if let_in:
                self._guard.admission.lost(1)  # its request comes now, and is counted by the connection
