"""How often one address may call what takes no credential: a bucket that fills again with time."""

import time
from collections.abc import Callable, Mapping

from aiohttp import web

from tms_ca.core.errors import TooMany

MOST_ADDRESSES = 10_000
BURST_SECONDS = 10  # so much of a minute's number may come at once


class Rates:
    """Buckets in this process, one for each call and address; `per_minute` has the numbers by their names."""

    def __init__(self, per_minute: Mapping[str, int], now: Callable[[], float] = time.monotonic) -> None:
        self._per_second = {name: each / 60 for name, each in per_minute.items()}
        self._now = now
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}  # what is left, and when it was

    def take(self, name: str, call: str, address: str) -> None:
        """Take one of what `address` may do of `call`; `name` says how often that is.

        Raises:
            TooMany: none is left; `retry_after` says when one will be

        """
        rate, now = self._per_second[name], self._now()
        most = max(1.0, rate * BURST_SECONDS)
        left, at = self._buckets.pop((call, address), (most, now))
        left = min(most, left + (now - at) * rate)
        if len(self._buckets) >= MOST_ADDRESSES:  # the one that was not asked for longest is full again, or nearly
            del self._buckets[next(iter(self._buckets))]
        self._buckets[call, address] = (left - 1 if left >= 1 else left, now)
        if left < 1:
            seconds = max(1, round((1 - left) / rate))
            raise TooMany(
                "too_many_requests",
                f"more calls from this address than {rate * 60:.0f} a minute; try again in {seconds} seconds",
                retry_after=seconds,
            )


RATES: web.AppKey[Rates] = web.AppKey("tms_v1_rates", Rates)
