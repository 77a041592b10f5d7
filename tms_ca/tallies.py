"""Numbers that a request touches: plain integers of this process, handed to prometheus_client once a second.

A counter of prometheus_client takes a lock, and with several workers writes to a file: a microsecond each, of the
seventy that a request has. Here an increment is an increment. A process that is killed takes its last second along.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # tms_ca.registry imports it, and not before it has to
    from prometheus_client import Counter, Gauge, Histogram


class Tally:
    """A number that only grows."""

    __slots__ = ("_counter", "_told", "count")

    def __init__(self, counter: "Counter") -> None:
        self.count = 0
        self._told = 0
        self._counter = counter

    def inc(self) -> None:
        """Count one."""
        self.count += 1

    def fold(self) -> None:
        """Hand over what was counted since the last time."""
        count = self.count
        if count != self._told:
            self._counter.inc(count - self._told)
            self._told = count


class Tallies:
    """Numbers by label; each is looked up once in prometheus_client and then kept."""

    __slots__ = ("_counter", "_tallies")

    def __init__(self, counter: "Counter") -> None:
        self._counter = counter
        self._tallies: dict[tuple[str, ...], Tally] = {}

    def labels(self, *values: str) -> Tally:
        """Return the number with these label values, in the order of the metric's names."""
        found = self._tallies.get(values)
        if found is None:
            found = self._tallies[values] = Tally(self._counter.labels(*values))
        return found

    def fold(self) -> None:
        """Hand over what was counted since the last time."""
        for tally in self._tallies.values():
            tally.fold()


class Level:
    """A number that goes up and down."""

    __slots__ = ("_gauge", "value")

    def __init__(self, gauge: "Gauge") -> None:
        self.value = 0
        self._gauge = gauge

    def inc(self) -> None:
        """One more."""
        self.value += 1

    def dec(self) -> None:
        """One less."""
        self.value -= 1

    def fold(self) -> None:
        """Hand over what it is now."""
        self._gauge.set(self.value)


class Spread:
    """How many observations fell into each bucket of a histogram; `bounds` are the upper ends, without infinity."""

    __slots__ = ("_bounds", "_counts", "_histogram", "_sum", "_told")

    def __init__(self, histogram: "Histogram", bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._told = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._histogram = histogram

    def observe(self, amount: float) -> None:
        """Add one observation, in the unit of the bounds."""
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._sum += amount

    def fold(self) -> None:
        """Hand over what was observed since the last time."""
        if self._counts == self._told:
            return
        # The public observe() takes one at a time; these two are what it would have added to.
        buckets, total = self._histogram._buckets, self._histogram._sum  # noqa: SLF001
        for bucket, count, told in zip(buckets, self._counts, self._told, strict=True):
            if count != told:
                bucket.inc(count - told)
        total.inc(self._sum)
        self._told, self._sum = self._counts.copy(), 0.0
