"""Secrets that may be words: how many wrong ones a minute are looked at, for each name in a tenant.

Secrets that are made here are random, and no number of guesses finds one. A TMS server let people choose theirs.
"""

import hashlib
import re

from tms_ca.core.errors import TooMany
from tms_ca.services.clock import Clock
from tms_ca.services.ids import SECRET_PREFIX

MOST_A_MINUTE = 10
MOST_NAMES = 10_000  # whose wrong secrets are counted at a time
_TMS_SECRET = re.compile(r"[0-9a-f]{48}")  # as services.ids.new_tms_secret makes them, and as the TMS server did
_OURS = tuple(SECRET_PREFIX.values())


def needs_a_name(secret: str) -> bool:
    """Tell whether a secret is none that says by its prefix that it was made here: it is good with a name only."""
    return not secret.startswith(_OURS)


def guessable(secret: str) -> bool:
    """Tell whether a secret may be a word: it has no form of those that are random."""
    return needs_a_name(secret) and _TMS_SECRET.fullmatch(secret) is None


class Guesses:
    """Counts in this process; whoever the names are of, and whether they are anybody's, makes no difference."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wrong: dict[bytes, tuple[int, int]] = {}  # by tenant and name: the minute, and how many in it

    def check(self, tenant: str, name: str) -> None:
        """Return only where another secret may be looked at.

        Raises:
            TooMany: MOST_A_MINUTE were wrong in this minute; `retry_after` says when it ends

        """
        now = self._clock.now()
        minute, wrong = self._wrong.get(_key(tenant, name), (0, 0))
        if minute == now // 60 and wrong >= MOST_A_MINUTE:
            raise TooMany(
                "too_many_requests",
                f"more than {MOST_A_MINUTE} wrong secrets in this minute for this name; the right one is refused, too, "
                f"until it is over: try again in {60 - now % 60} seconds",
                retry_after=60 - now % 60,
            )

    def wrong(self, tenant: str, name: str) -> bool:
        """Note a wrong one; tell whether it was the last that is looked at in this minute."""
        key, this_minute = _key(tenant, name), self._clock.now() // 60
        minute, wrong = self._wrong.pop(key, (0, 0))
        count = wrong + 1 if minute == this_minute else 1
        if len(self._wrong) >= MOST_NAMES:  # the one that nobody was wrong about for longest
            del self._wrong[next(iter(self._wrong))]
        self._wrong[key] = (this_minute, count)
        return count == MOST_A_MINUTE


def _key(tenant: str, name: str) -> bytes:
    """Return what stands for a name, of whatever length that is."""
    return hashlib.sha256(f"{tenant}\0{name}".encode(errors="surrogatepass")).digest()[:16]
