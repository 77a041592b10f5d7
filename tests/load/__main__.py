"""`make storms`: what slow clients, idle ones and five times too many do to a service; each is measured and judged.

It prints one line for each and ends with 1 where one is missed. Where too much is asked, the service has the first
core and the load the last; a line that was missed says "busy" where others used them as well.
"""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.load import slowhttptest
from tests.load.flood import flood
from tests.load.slow import ask as ask_once
from tests.load.storm import Ask, Disturbed, Probe, asks, press, recovery, watched
from tests.load.test_idle import MIB, gather, resident
from tests.ssh.service import Service

T = TypeVar("T")

SECONDS = 8
IDLE = 10_000
MOST_LATE_MS = 10.0  # of the program that asks
MOST_DISTURBED = 0.05  # of the service's core
Verdict = tuple[bool | None, str]  # None: missed, on a machine that was too busy to say


def _slow(kind: str, service: Service, directory: Path) -> Verdict:
    found = slowhttptest.run(service, kind, directory)
    closed = found.all_closed or kind == "reads"
    good = closed and found.left <= 10 and found.available and found.p99_seconds <= 0.2
    return good, (
        f"{'all' if found.all_closed else found.closed} of {slowhttptest.CLIENTS} saw their end, {found.left} connections "
        f"left, available to others: {found.available}, p99 of {found.others} others {found.p99_seconds * 1000:.0f} ms"
    )


def heads(service: Service, directory: Path) -> Verdict:
    """Run slowhttptest with 2,000 clients that never end their heads."""
    return _slow("heads", service, directory)


def bodies(service: Service, directory: Path) -> Verdict:
    """... that never end their bodies."""
    return _slow("bodies", service, directory)


def reads(service: Service, directory: Path) -> Verdict:
    """... that hardly read their answers."""
    return _slow("reads", service, directory)


def ranges(service: Service, directory: Path) -> Verdict:
    """... that ask for a thousand ranges at once."""
    return _slow("ranges", service, directory)


def idle(service: Service, _: Path) -> Verdict:
    """Keep 10,000 connections, and close them."""
    port, pid = int(service.url.rpartition(":")[2]), service.process.pid
    ask_once(port)
    base = resident(pid)
    made = gather(port, IDLE)
    time.sleep(2)
    held, took = resident(pid) - base, min(ask_once(port) for _ in range(5))
    for one in made:
        one.close()
    time.sleep(5)
    left = resident(pid) - base
    text = f"{held / MIB:.0f} MiB for {IDLE}, a new request {took * 1000:.1f} ms, {left / MIB:.0f} MiB left afterwards"
    return held <= 120 * MIB and took <= 0.05 and left <= 20 * MIB, text


@dataclass
class Peak:
    """What a service does when no more is asked than can be answered."""

    rate: float  # answers a second
    disturbed: Disturbed
    back: float = 0.0  # seconds until it did so again after a storm


@contextmanager
def _between(ask: Ask, directory: Path) -> Iterator[Peak]:
    """Measure what the service does at its best, before and after the block: the machine changes its mind."""
    press(ask, directory, connections=32, seconds=2)  # warm
    with watched(ask, _FIRST) as disturbed:
        found = Peak(press(ask, directory, connections=64, seconds=SECONDS // 2).good, disturbed)
        yield found
        found.back = recovery(ask)
        found.rate = (found.rate + press(ask, directory, connections=64, seconds=SECONDS // 2).good) / 2


def _verdict(good: bool, peak: Peak, text: str, *, late_ms: float = 0.0) -> Verdict:
    busy = peak.disturbed.share > MOST_DISTURBED or late_ms > MOST_LATE_MS
    text = f"{text}, recovered in {peak.back:.1f} s, others took {peak.disturbed.share:.0%} of its core"
    return (True if good and peak.back <= 5 else None if busy else False), text


def _storm(ask: Ask, directory: Path) -> Verdict:
    probe = Probe()
    with _between(ask, directory) as peak, probe.beside(ask):
        storm = press(ask, directory, connections=2000, seconds=SECONDS)
    share, refused = storm.good / peak.rate, sorted(probe.refused_in)
    longest = f"{refused[-1] * 1000:.0f} ms" if refused else "-"
    text = (
        f"{storm.good:.0f}/s granted, of {peak.rate:.0f}/s without the storm ({share:.0%}), {storm.refused} refused, {storm.lost} lost, one who asks "
        f"now and then is refused within {longest} ({len(refused)} times of {len(probe.statuses)})"
    )
    return _verdict(share >= 0.8 and storm.lost == 0, peak, text)


def _flood(ask: Ask, directory: Path, times: float) -> Verdict:
    with _between(ask, directory) as peak:
        wanted = times * peak.rate
        made = flood(ask, directory, rate=wanted, seconds=SECONDS)
    share = made.good / made.seconds / peak.rate
    kept, patient, new = (made.refused(kind) for kind in ("kept", "patient", "new"))
    text = (
        f"{wanted:.0f}/s asked, {made.good / made.seconds:.0f}/s granted, of {peak.rate:.0f}/s without the storm "
        f"({share:.0%}), 99 % of them within {made.granted_ms():.0f} ms, "
        f"refused on new connections in {new.p50_ms:.0f} ms, 99 % within {new.p99_ms:.0f} ms; of who heeds Retry-After in "
        f"{patient.p50_ms:.0f} ms, 99 % within {patient.p99_ms:.0f} ms; of who does not in {kept.p50_ms:.0f} ms, and "
        f"{made.unsent / made.offered:.0%} of all could not be asked meanwhile; "
        f"{made.lost + made.unanswered} lost, the program that asks was {made.late_p99_ms:.1f} ms late"
    )
    quick = patient.count and new.count and patient.p99_ms <= 100 and new.p99_ms <= 100
    good = share >= 0.8 and quick and not made.lost and not made.unanswered
    return _verdict(bool(good), peak, text, late_ms=made.late_ms)


def issuing(service: Service, directory: Path) -> Verdict:
    """Ask for certificates on 2,000 connections that never wait."""
    return _storm(asks(service, directory)[0], directory)


def logins(service: Service, directory: Path) -> Verdict:
    """Ask for login checks on 2,000 connections that never wait."""
    return _storm(asks(service, directory)[1], directory)


def flood_3(service: Service, directory: Path) -> Verdict:
    """Ask for three times as many certificates as can be issued, at that rate, whatever the answers."""
    return _flood(asks(service, directory)[0], directory, 3)


def flood_5(service: Service, directory: Path) -> Verdict:
    """... for five times as many."""
    return _flood(asks(service, directory)[0], directory, 5)


STORMS: tuple[Callable[[Service, Path], Verdict], ...] = (
    heads,
    bodies,
    reads,
    ranges,
    idle,
    issuing,
    logins,
    flood_3,
    flood_5,
)
SLOW, OVERLOAD = (heads, bodies, reads, ranges), (issuing, logins, flood_3, flood_5)
GROUPS = {"slow": SLOW, "overload": OVERLOAD}
_CORES = os.sched_getaffinity(0)
_FIRST, _LAST = min(_CORES), max(_CORES)


@contextmanager
def _running(storm: Callable[[Service, Path], Verdict], directory: Path) -> Iterator[Service]:
    """A new service; where too much will be asked of it, on a core of its own, and who asks on another."""
    service = Service(directory / "data", fresh=True)
    service.init()
    try:
        if storm in OVERLOAD:
            os.sched_setaffinity(0, {_FIRST})
        service.start()
        if storm in OVERLOAD:
            os.sched_setaffinity(0, {_LAST})
        with service:
            yield service
    finally:
        os.sched_setaffinity(0, _CORES)


def main(wanted: list[str]) -> int:
    """Run the storms that are `wanted`, by name or group, all without one; return the exit code."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    names = {one.__name__ for word in wanted for one in GROUPS.get(word, ())} | set(wanted)
    missed = 0
    for storm in STORMS:
        if wanted and storm.__name__ not in names:
            continue
        with tempfile.TemporaryDirectory(prefix="tms-storm-") as made, _running(storm, Path(made)) as service:
            good, text = storm(service, Path(made))
        word = "good  " if good else "busy  " if good is None else "MISSED"
        print(f"{word} {storm.__name__}: {text}", flush=True)
        missed += not good
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
