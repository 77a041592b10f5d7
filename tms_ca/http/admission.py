"""Who is let in when more is asked than can be answered: so many that nobody waits long, and logins before the rest.

What waits is known, and so is what one request takes; the product is how long the next would wait. Beyond its target
a request is refused at once, which costs a tenth of a certificate, so that the work that is begun is work that
somebody still waits for. Issuing is asked twice: what it puts into the queue of the group commit must get out, too.
Refusing takes time as well: there is so much of it and no more. Who is refused beyond it is held back, and is told to
come again when all of them can have been answered.
"""

import math
import time
from collections.abc import Callable
from typing import Protocol

from tms_ca.http.glance import WATCHED, Glance
from tms_ca.http.held_back import TICK_SECONDS
from tms_ca.store.hot import MOST_IN_A_GROUP

LOGIN_CHECKS = frozenset({"check_login", "login_keys"})
ISSUING = frozenset({"issue_certificate"})
ALWAYS = WATCHED  # those who watch must see what goes on

LOGIN_CHECK_SECONDS = 0.05  # how long a login check may wait for its turn: one that is refused is a login refused
OTHER_SECONDS = 0.025
# Certificates that wait for their commit, while one group is written: with four groups a fifth fewer were issued when
# three times as many were asked for as can be (tests/load/flood.c).
MOST_FOR_COMMIT = 2 * MOST_IN_A_GROUP
STALLED_SECONDS = 2.0  # a group that takes longer: the disk or the database does not answer
RETRY_MOST = 10  # seconds
REFUSING_SHARE = 0.05  # of the time; who comes back after Retry-After takes as much again at most

_EACH_AT_FIRST = 300e-6
_EACH_LEAST, _EACH_MOST = 20e-6, 2e-3
_WEIGHT = 0.02
_MOST_WORTH = 4.0
_REFUSAL_AT_FIRST, _REFUSAL_MOST = 10e-6, 500e-6
_WITH_THE_SYSTEM = 2.0  # measured is our part of a refusal; to read the request and to send the answer takes as long
_MOST_AWAKE = 1.0  # seconds that pass between two looks of a process that is busy, and not stopped
_MOST_SAVED = 0.2  # seconds; after a longer turn of the loop nobody is refused at once for as much longer
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
        self.in_turn = 0.0  # requests that were answered at once in this turn of the loop: those after them waited
        self.seconds_each = _EACH_AT_FIRST
        self.retry_after = 1  # seconds
        self.asked = Glance().endpoint  # what some bytes ask for, where that is one whole request, else None
        self._commits = commits
        self._clock = clock
        self._stalled = False
        self._entries = 0
        self._tick_seconds = TICK_SECONDS
        self._refusing = 0.0  # seconds since the last tick
        self._each_refusal = _REFUSAL_AT_FIRST * _WITH_THE_SYSTEM
        self._begun_at = 0.0
        self._looked_at = clock()
        self._standing = 0.0  # seconds for which no group was written although some wait
        self.gate = 0  # with fewer than so many waiting, everybody is let in unasked
        self._set_gate()

    def admit(self, endpoint: str) -> bool:
        """Tell whether a request for `endpoint` may go on."""
        if endpoint in ALWAYS:
            return True
        if endpoint in ISSUING and (self._stalled or self._commits_late()):
            return False
        patience = LOGIN_CHECK_SECONDS if endpoint in LOGIN_CHECKS else OTHER_SECONDS
        return (self.waiting + self.in_turn) * self.seconds_each < patience

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
        # The first of a connection takes longer; the process may also have been stopped meanwhile, which is nobody's.
        self.in_turn += min(max(1.0, seconds / self.seconds_each), _MOST_WORTH)
        self._learn(seconds)

    def refused(self, seconds: float) -> bool:
        """Count a refusal that took so long; tell whether there is time for more of them before the next tick."""
        took = min(seconds, _REFUSAL_MOST) * _WITH_THE_SYSTEM
        self._refusing += took
        self._each_refusal += (took - self._each_refusal) * _WEIGHT
        return self._refusing < REFUSING_SHARE * self._tick_seconds

    def hold_back(self, number: int) -> None:
        """Set `retry_after` by how many are held back: by then there is time to refuse each of them once more."""
        self.retry_after = min(max(1, math.ceil(number * self._each_refusal / REFUSING_SHARE)), RETRY_MOST)

    def turned(self) -> int:
        """Begin with the requests of the loop's next turn; return how many more there was room for in the last."""
        if not self.gate:
            self._set_gate()
        room = self.gate - self.waiting - int(self.in_turn)
        self.in_turn = 0.0
        return max(0, room)

    def _learn(self, seconds: float) -> None:
        # One long pause of the whole process says nothing about each request; that it lasts, many of them say.
        each = min(max(min(seconds, 2 * self.seconds_each), _EACH_LEAST), _EACH_MOST)
        self.seconds_each += (each - self.seconds_each) * _WEIGHT
        if self._commits_late():
            self.gate = 0

    def tick(self) -> None:
        """Look at what has become of the time; for a call every 50 ms or so."""
        now = self._clock()
        passed, self._looked_at = now - self._looked_at, now
        self._tick_seconds = min(passed, _MOST_SAVED)
        self._refusing = 0.0
        if self.waiting == 0 and self.seconds_each > _EACH_AT_FIRST:
            self.seconds_each = max(self.seconds_each * _DECAY, _EACH_AT_FIRST)
        if self._commits is not None:
            # A process that was stopped itself knows nothing of the disk: it was not there to see what was written.
            self._standing += min(passed, _MOST_AWAKE)
            if self._commits.entries != self._entries or not self._commits.waiting:
                self._standing = 0.0
            self._entries = self._commits.entries
            self._stalled = self._standing > STALLED_SECONDS
        self._set_gate()

    def _set_gate(self) -> None:
        # While the commits are late, everybody is asked: certificates are refused, whoever else waits.
        late = self._stalled or self._commits_late()
        self.gate = 0 if late else max(1, int(OTHER_SECONDS / self.seconds_each))

    def _commits_late(self) -> bool:
        return self._commits is not None and self._commits.waiting >= MOST_FOR_COMMIT
