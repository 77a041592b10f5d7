"""Who is let in when more is asked than can be answered: so many that nobody waits long, and logins before the rest.

What waits is known, and so is what one request takes; the product is how long the next would wait. Beyond its target
a request is refused at once, which costs a twentieth of answering it, so that the work that is begun is work that
somebody still waits for. Issuing is asked twice: what it puts into the queue of the group commit must get out, too.
"""

import math
import time
from collections.abc import Callable, Collection
from typing import Protocol

LOGIN_CHECKS = frozenset({"check_login", "login_keys"})
ISSUING = frozenset({"issue_certificate"})
ALWAYS = frozenset({"healthz", "readyz", "metrics"})  # those who watch must see what goes on

LOGIN_CHECK_SECONDS = 0.05  # how long a login check may wait for its turn: one that is refused is a login refused
OTHER_SECONDS = 0.025
COMMIT_SECONDS = 0.5  # how long a certificate may wait for its commit
STALLED_SECONDS = 2.0  # a group that takes longer: the disk or the database does not answer
RETRY_SECONDS = 1.0

_EACH_AT_FIRST = 300e-6
_EACH_LEAST, _EACH_MOST = 20e-6, 2e-3
_WEIGHT = 0.02
_ENOUGH = 32  # fewer entries than that are no queue
_DECAY = 0.9  # for each tick without anybody waiting: what was measured in a bad moment is forgotten


class Queue(Protocol):
    """What Admission looks at of the group commit."""

    entries: int

    @property
    def waiting(self) -> int:
        """Return how many entries wait."""


class Admission:
    """Counts what waits in this process; `waiting` and `gate` are read for every request, the rest seldom."""

    def __init__(self, commits: Queue | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.waiting = 0  # requests that have arrived and have not begun
        self.in_turn = 0  # requests that were answered at once in this turn of the loop: those after them waited
        self.gate = 0  # with fewer than so many waiting, everybody is let in unasked
        self.seconds_each = _EACH_AT_FIRST
        self._commits = commits
        self._clock = clock
        self._commits_late = False
        self._entries = 0
        self._per_second = 0.0
        self._begun_at = 0.0
        self._looked_at = self._moved_at = clock()
        self._set_gate()

    def admit(self, endpoint: str) -> float | None:
        """Return None when a request for `endpoint` may go on, else after how many seconds to try again."""
        if endpoint in ALWAYS:
            return None
        if self._commits_late and endpoint in ISSUING:
            return RETRY_SECONDS
        patience = LOGIN_CHECK_SECONDS if endpoint in LOGIN_CHECKS else OTHER_SECONDS
        return RETRY_SECONDS if (self.waiting + self.in_turn) * self.seconds_each >= patience else None

    def came(self, number: int) -> None:
        """Count requests that have arrived; each must begin, or be `lost`."""
        self.waiting += number
        self._begun_at = 0.0

    def lost(self, number: int) -> None:
        """Forget requests that arrived and will not begin: their connection has ended."""
        self.waiting -= number

    def begun(self) -> None:
        """Learn from a request that begins: how long the one before it took, where nothing was read between them."""
        now = self._clock()
        self.waiting -= 1
        if self._begun_at:
            self._learn(now - self._begun_at)
        self._begun_at = now

    def took(self, seconds: float) -> None:
        """Learn from a request that was answered at once."""
        self.in_turn += 1
        self._learn(seconds)

    def turned(self) -> None:
        """Begin with the requests of the loop's next turn."""
        self.in_turn = 0

    def _learn(self, seconds: float) -> None:
        # One long pause of the whole process says nothing about each request; that it lasts, many of them say.
        each = min(max(min(seconds, 2 * self.seconds_each), _EACH_LEAST), _EACH_MOST)
        self.seconds_each += (each - self.seconds_each) * _WEIGHT

    def tick(self) -> None:
        """Look at the queue of the group commit; for a call every 50 ms or so."""
        now = self._clock()
        if self.waiting == 0 and self.seconds_each > _EACH_AT_FIRST:
            self.seconds_each = max(self.seconds_each * _DECAY, _EACH_AT_FIRST)
        if self._commits is not None:
            self._look(self._commits, now)
        self._set_gate()

    def _look(self, commits: Queue, now: float) -> None:
        length, done = commits.waiting, commits.entries - self._entries
        seconds = now - self._looked_at
        self._looked_at, self._entries = now, commits.entries
        if done or not length:
            self._moved_at = now
        if length and seconds > 0:
            self._per_second += (done / seconds - self._per_second) * 0.2
        behind = length / self._per_second if self._per_second else (math.inf if length > _ENOUGH else 0.0)
        stalled = now - self._moved_at > STALLED_SECONDS
        self._commits_late = stalled or (length > _ENOUGH and behind > COMMIT_SECONDS)

    def _set_gate(self) -> None:
        # While the commits are late, everybody is asked: certificates are refused, whoever else waits.
        self.gate = 0 if self._commits_late else max(1, int(OTHER_SECONDS / self.seconds_each))


def endpoint_of(first_line: bytes) -> str:
    """Return the name of what the first line of a request asks for, as far as `admit` tells them apart."""
    method, _, rest = first_line.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if method == b"POST":
        for end, name in _POSTED:
            if path.endswith(end):
                return name
    elif method in {b"GET", b"HEAD"} and path in _WATCHED:
        return path[1:].decode()
    return "other"


_POSTED: Collection[tuple[bytes, str]] = (
    (b"/principals", "check_login"),
    (b"/keys", "login_keys"),
    (b"/certificates", "issue_certificate"),
)
_WATCHED = frozenset(b"/" + name.encode() for name in ALWAYS)
