"""How often one address (of IPv6 one /64) may call what takes no credential: a bucket that fills again with time."""

import time
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address, IPv6Network

from aiohttp import web

from tms_ca.core.errors import TooMany
from tms_ca.http.context import ADDRESS

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
        rate, now, address = self._per_second[name], self._now(), _place(address)
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


def _place(address: str) -> str:
    """Return whose bucket it is: of IPv6 the /64, because one machine has all of its addresses."""
    if ":" not in address:
        return address
    try:
        found = IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found.ipv4_mapped or IPv6Network((int(found), 64), strict=False))


RATES: web.AppKey[Rates] = web.AppKey("tms_v1_rates", Rates)


def bound(request: web.Request, name: str) -> None:
    """Take one of what the request's address may do of the open call `name`.

    Raises:
        TooMany: none is left

    """
    request.config_dict[RATES].take("open", name, request[ADDRESS])
