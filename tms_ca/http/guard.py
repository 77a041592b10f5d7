"""What one process bears: how many connections, how slow they may be, how much may wait.

Only connections that owe the rest of a request are watched, by one look a second; requests that come in one piece,
and connections that are idle, cost nothing here.
"""

import asyncio
import heapq
import resource
import time
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from aiohttp import web
from aiohttp.streams import StreamReader

from tms_ca.http.admission import Admission
from tms_ca.http.held_back import TICK_SECONDS, HeldBack
from tms_ca.http.memory import Spare
from tms_ca.http.middleware import Networks, is_within, peer_address
from tms_ca.http.refusals import Refusals, overloaded
from tms_ca.http.unsent import Unsent, left

SWEEP_TICKS = 20
HEAD_SECONDS = 14.0  # with the look once a second, a head is there within 15 s or its connection ends
BODY_SECONDS = 60.0
BODY_WINDOW_SECONDS = 20.0
BODY_BYTES_A_SECOND = 100
DOZE_TICKS = 2
DOZE_SECONDS = 0.2  # not at once: to wake for what is not known yet costs as much as a third of a login check
DOZE_IN_A_CROWD_SECONDS = 5.0
IDLE_SECONDS = 75.0
IDLE_ENOUGH_SECONDS = 1.0  # one that has just been answered may be about to ask again
MOST_VICTIMS = 256  # as many idle connections are looked for at once
MOST_TURNED_AWAY = 256
TURNED_AWAY_SECONDS = 2.0
SPARE_DESCRIPTORS = 256  # for the database, files, and connections that are turned away
MOST_CONNECTIONS = 65_536
TRIM_CONNECTIONS = 1000  # what so many leave behind is worth giving back
STILL_LEAVING = 100  # a second: it is not given back before most have left


class Connection(Protocol):
    """What the guard does with a connection."""

    transport: asyncio.Transport | None

    def idle_since(self) -> float | None:
        """Return since when nothing has been asked, None while something is."""

    def end(self, error: web.HTTPException | None) -> None:
        """Close it, saying `error` if nothing else is being said."""

    def fail_body(self, payload: StreamReader, error: web.HTTPException) -> bool:
        """Tell the handler that the rest of the body will not come; False where nobody waits for it."""

    def doze(self) -> None:
        """Keep only what an idle connection needs."""

    def read_again(self) -> None:
        """Go on reading."""


class Watch:
    """A request of which something is still to come: its head, or, with `payload`, its body."""

    __slots__ = ("bytes", "marked_at", "marked_bytes", "payload", "since")

    def __init__(self, since: float, payload: StreamReader | None = None) -> None:
        self.since = self.marked_at = since
        self.payload = payload
        self.bytes = self.marked_bytes = 0

    def late(self, now: float) -> bool:
        """Tell whether it took too long."""
        if self.payload is None:
            return now - self.since > HEAD_SECONDS
        if now - self.since > BODY_SECONDS:
            return True
        if now - self.marked_at < BODY_WINDOW_SECONDS:
            return False
        slow = self.payload.total_bytes - self.marked_bytes < BODY_BYTES_A_SECOND * (now - self.marked_at)
        self.marked_at, self.marked_bytes = now, self.payload.total_bytes
        return slow


def most_connections(wanted: int) -> int:
    """Return how many connections this process takes; `wanted` 0 asks for as many as its descriptors allow."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else max(soft - SPARE_DESCRIPTORS, soft // 2)
    return min(wanted or MOST_CONNECTIONS, possible)


class Guard:
    """The limits of one process, and who is near them."""

    def __init__(
        self,
        admission: Admission,
        refusals: Refusals,
        *,
        allowed_hosts: Collection[str] = (),
        connections: int = 0,
        proxies: Networks = (),
        tell: Callable[[int, int], None] | None = None,
    ) -> None:
        self.admission = admission
        self.refusals = refusals
        self.allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self.most = most_connections(connections)
        self._proxies = proxies
        self._tell = tell  # how many are held back, and the seconds of Retry-After
        self.open = 0
        self.watched: dict[Connection, Watch] = {}
        self.unsent: dict[Connection, Unsent] = {}
        self.awake: dict[Connection, None] = {}
        self.dozing: dict[Connection, float] = {}  # and since when; the first is the one that dozes longest
        self.turned_away: dict[asyncio.Transport, float] = {}
        self.held_back = HeldBack(time.monotonic())
        self._victims: list[Connection] = []
        self._searched_at = 0.0
        self._peak = self._before = 0
        self._ticks = 0
        self._timer: asyncio.TimerHandle | None = None
        self._connections: Iterable[Connection] = ()

    def start(self, connections: Iterable[Connection]) -> None:
        """Begin to look at `connections`, which is all that are open, now and later."""
        self._connections = connections
        loop = asyncio.get_running_loop()
        self._spare = Spare(loop)
        self._timer = loop.call_later(TICK_SECONDS, self._tick)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._spare.stop()
        self._sum_up()

    def room(self) -> bool:
        """Tell whether one more connection can be taken; the one that has been idle longest makes way."""
        if self.open < self.most:
            return True
        now = time.monotonic()
        while True:
            while self._victims:
                victim = self._victims.pop()
                idle = victim.idle_since()
                if idle is not None and now - idle >= IDLE_ENOUGH_SECONDS:
                    victim.end(None)
                    return True
            if now - self._searched_at < IDLE_ENOUGH_SECONDS:
                return False
            self._searched_at = now
            idlest = ((idle, id(c), c) for c in self._connections if (idle := c.idle_since()) is not None)
            self._victims = [connection for _, _, connection in reversed(heapq.nsmallest(MOST_VICTIMS, idlest))]

    def turned(self) -> None:
        """Read on from as many of those that are held back as the loop's last turn had room for."""
        room = self.admission.turned()
        if self.held_back:
            self.held_back.early(room)

    def shared(self, peer: object) -> bool:
        """Tell whether `peer` is a proxy: its connections carry everybody's requests, logins too."""
        return bool(self._proxies) and is_within(peer_address(peer), self._proxies)

    def look_whether_taken(self, connection: Connection, now: float) -> None:
        """Watch the last answer on `connection` for as long as the other side has not taken all of it."""
        if connection.transport is not None and left(connection.transport):
            self.unsent[connection] = Unsent(connection.transport, now)

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)
        self.admission.tick()
        now = time.monotonic()
        self.held_back.tick(now)
        if self.refusals.closing:  # what has come is answered: a connection that is closed with it unread is reset
            self.held_back.early(len(self.held_back))
        if not self.admission.in_turn:
            self.turned()  # else the loop's next turn says so
        self.admission.hold_back(len(self.held_back))
        if self._tell is not None:
            self._tell(len(self.held_back), self.admission.retry_after)
        self._ticks += 1
        if self._ticks % DOZE_TICKS == 0 and not self.held_back:
            self._doze(now, DOZE_SECONDS)
        if self._ticks % SWEEP_TICKS == 0:
            self._sweep(now)
            if self.held_back:  # who waits for their turn is not idle, and there is no time to wake them
                self._doze(now, DOZE_IN_A_CROWD_SECONDS)

    def _sweep(self, now: float) -> None:
        for connection, watch in list(self.watched.items()):
            if watch.late(now):
                self._end_late(connection, watch)
        for connection, unsent in list(self.unsent.items()):
            if unsent.late(now):
                self.refusals.note("too_slow", peer_address(unsent.transport.get_extra_info("peername")))
                unsent.cut_off()
            elif not unsent.left:
                del self.unsent[connection]
        for transport, until in list(self.turned_away.items()):
            if now > until:
                transport.abort()
        for connection, since in list(self.dozing.items()):
            if now - since < IDLE_SECONDS:
                break
            connection.end(None)
        self._sum_up()
        self._peak = max(self._peak, self.open)
        leaving, self._before = self._before - self.open, self.open
        gone = self._peak - self.open >= TRIM_CONNECTIONS and self.open < self._peak // 2
        if gone and leaving < STILL_LEAVING and self._spare.give_back():
            self._peak = self.open
            self.awake, self.dozing = dict(self.awake), dict(self.dozing)  # one that was large stays so

    def _sum_up(self) -> None:
        admission = self.admission
        self.refusals.summary(
            waiting=admission.waiting, held_back=len(self.held_back), retry_after=admission.retry_after
        )

    def _doze(self, now: float, after: float) -> None:
        for connection in list(self.awake):
            idle = connection.idle_since()
            if idle is not None and now - idle >= after:
                del self.awake[connection]
                self.dozing[connection] = now
                connection.doze()
                self.look_whether_taken(connection, now)

    def _end_late(self, connection: Connection, watch: Watch) -> None:
        if watch.payload is None:
            connection.end(web.HTTPRequestTimeout())
        elif watch.payload.is_eof() or connection.fail_body(watch.payload, web.HTTPRequestTimeout()):
            self.watched.pop(connection, None)


GUARD = web.AppKey("guard", Guard)


class TurnedAway(asyncio.Protocol):
    """A connection beyond the limit: it is told so once it has asked, so that the answer is not lost in a reset."""

    def __init__(self, guard: Guard, transport: asyncio.Transport) -> None:
        self._guard = guard
        self._transport = transport
        self._address = peer_address(transport.get_extra_info("peername"))
        guard.turned_away[transport] = time.monotonic() + TURNED_AWAY_SECONDS
        if len(guard.turned_away) > MOST_TURNED_AWAY:
            self.data_received(b"")

    def data_received(self, _: bytes) -> None:
        """Say no, and close."""
        if not self._transport.is_closing():
            self._transport.write(self._guard.refusals.raw(overloaded(), self._address))
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        """Forget it."""
        self._guard.turned_away.pop(self._transport, None)
