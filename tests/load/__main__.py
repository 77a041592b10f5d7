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
from pathlib import Path
from typing import TypeVar

from tests.load import slowhttptest
from tests.load.flood import flood
from tests.load.slow import ask as ask_once
from tests.load.storm import Ask, Disturbed, Probe, asks, cpu_seconds, press, recovery, watched
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


def _spending(ask: Ask, work: Callable[[], T]) -> tuple[T, float]:
    """Return what `work` does, and the CPU seconds that the service spends on it."""
    pid = ask.service.process.pid
    before = cpu_seconds(pid)
    return work(), cpu_seconds(pid) - before


def _verdict(good: bool, disturbed: Disturbed, text: str, *, late_ms: float = 0.0) -> Verdict:
    busy = disturbed.share > MOST_DISTURBED or late_ms > MOST_LATE_MS
    return (True if good else None if busy else False), f"{text}, others took {disturbed.share:.0%} of its core"


def _storm(ask: Ask, directory: Path) -> Verdict:
    press(ask, directory, connections=32, seconds=2)  # warm
    probe = Probe()
    with watched(ask, _FIRST) as disturbed:
        peak, peak_spent = _spending(ask, lambda: press(ask, directory, connections=64, seconds=SECONDS))
        with probe.beside(ask):
            storm, spent = _spending(ask, lambda: press(ask, directory, connections=2000, seconds=SECONDS))
    # What else the machine does takes from both; each second that the service had says what it was used for.
    each = storm.successes / spent / (peak.successes / peak_spent)
    back = recovery(ask)
    refused = sorted(probe.refused_in)
    longest = f"{refused[-1] * 1000:.0f} ms" if refused else "-"
    text = (
        f"{storm.good:.0f}/s of {peak.good:.0f}/s, {each:.0%} for each second of CPU, {storm.refused} refused, {storm.lost} lost, "
        f"one who asks now and then is refused within {longest} ({len(refused)} times of {len(probe.statuses)}), "
        f"recovered in {back:.1f} s"
    )
    return _verdict(each >= 0.8 and storm.lost == 0 and back <= 5, disturbed, text)


def issuing(service: Service, directory: Path) -> Verdict:
    """Ask for certificates on 2,000 connections that never wait."""
    return _storm(asks(service, directory)[0], directory)


def logins(service: Service, directory: Path) -> Verdict:
    """Ask for login checks on 2,000 connections that never wait."""
    return _storm(asks(service, directory)[1], directory)


def _flood(ask: Ask, directory: Path, times: float) -> Verdict:
    press(ask, directory, connections=32, seconds=2)  # warm
    with watched(ask, _FIRST) as disturbed:
        peak, peak_spent = _spending(ask, lambda: press(ask, directory, connections=64, seconds=SECONDS))
        made, spent = _spending(ask, lambda: flood(ask, directory, rate=times * peak.good, seconds=SECONDS))
    back = recovery(ask)
    share, each = made.good / made.seconds / peak.good, made.good / spent / (peak.successes / peak_spent)
    kept, new = made.refused(new=False), made.refused(new=True)
    issued = sum(row.count for row in made.rows if row.status < 300)
    refusal = (spent * peak.successes / peak_spent - issued) / max(1, kept.count + new.count)
    text = (
        f"{made.offered / made.seconds:.0f}/s asked, {made.good / made.seconds:.0f}/s of {peak.good:.0f}/s answered ({share:.0%}; "
        f"{each:.0%} for each second of CPU), "
        f"a refusal took {refusal:.1%} of the CPU time of a certificate, {kept.count} refused in {kept.p50_ms:.0f} ms, 99 % within {kept.p99_ms:.0f} ms, "
        f"on new connections {new.count} in {new.p50_ms:.0f} ms, 99 % within {new.p99_ms:.0f} ms, "
        f"{made.lost + made.unanswered} lost, recovered in {back:.1f} s, the program that asks was {made.late_p99_ms:.1f} ms late"
    )
    quick = kept.p99_ms <= 100 and new.p99_ms <= 100
    good = share >= 0.8 and quick and not made.lost and not made.unanswered and back <= 5
    return _verdict(good, disturbed, text, late_ms=made.late_p99_ms)


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
