"""`make storms`: what slow clients, idle ones and five times too many do to a service; each is measured and judged.

It prints one line for each and ends with 1 where one is missed. The load shares the machine with the service.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.load import slowhttptest
from tests.load.flood import flood
from tests.load.slow import ask as ask_once
from tests.load.storm import Ask, Probe, asks, cpu_seconds, press, recovery
from tests.load.test_idle import MIB, gather, resident
from tests.ssh.service import Service

T = TypeVar("T")

SECONDS = 8
IDLE = 10_000
MOST_BEHIND_MS = 50.0
CONNECTIONS = 15_000  # of a flood
Verdict = tuple[bool, str]


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
    time.sleep(3)
    left = resident(pid) - base
    text = f"{held / MIB:.0f} MiB for {IDLE}, a new request {took * 1000:.1f} ms, {left / MIB:.0f} MiB left afterwards"
    return held <= 120 * MIB and took <= 0.05 and left <= 20 * MIB, text


def _spending(ask: Ask, work: Callable[[], T]) -> tuple[T, float]:
    """Return what `work` does, and the CPU seconds that the service spends on it."""
    pid = ask.service.process.pid
    before = cpu_seconds(pid)
    return work(), cpu_seconds(pid) - before


def _storm(ask: Ask, directory: Path) -> Verdict:
    press(ask, directory, connections=32, seconds=2)  # warm
    peak, peak_spent = _spending(ask, lambda: press(ask, directory, connections=64, seconds=SECONDS))
    probe = Probe()
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
    return each >= 0.8 and storm.lost == 0 and back <= 5, text


def issuing(service: Service, directory: Path) -> Verdict:
    """Ask for certificates on 2,000 connections that never wait."""
    return _storm(asks(service, directory)[0], directory)


def logins(service: Service, directory: Path) -> Verdict:
    """Ask for login checks on 2,000 connections that never wait."""
    return _storm(asks(service, directory)[1], directory)


def _flood(ask: Ask, directory: Path) -> Verdict:
    press(ask, directory, connections=32, seconds=2)  # warm
    peak, peak_spent = _spending(ask, lambda: press(ask, directory, connections=64, seconds=SECONDS))
    made, spent = _spending(ask, lambda: flood(ask, rate=5 * peak.good, seconds=SECONDS, connections=CONNECTIONS))
    successes = sum(count for status, count in made.answers.items() if status[0] == "2")
    each = successes / spent / (peak.successes / peak_spent)
    back = recovery(ask)
    refused, p99 = made.answers.get("503", 0), made.p99_ms.get("503", 0.0)
    text = (
        f"{made.offered / made.seconds:.0f}/s asked, {made.good / made.seconds:.0f}/s of {peak.good:.0f}/s answered, "
        f"{each:.0%} for each second of CPU, {refused} refused in {made.p50_ms.get('503', 0.0):.0f} ms, "
        f"99 % of them within {p99:.0f} ms (the program that asks was {made.behind_ms:.0f} ms late itself), "
        f"{made.connections} connections, {made.lost + made.unanswered} lost, recovered in {back:.1f} s"
    )
    if made.behind_ms > MOST_BEHIND_MS:
        return False, f"says nothing, this machine is too busy for the program that asks: {text}"
    return each >= 0.8 and not made.lost and not made.unanswered and p99 <= 100 and back <= 5, text


def issuing_flood(service: Service, directory: Path) -> Verdict:
    """Ask for five times as many certificates as can be issued, whatever the answers."""
    return _flood(asks(service, directory)[0], directory)


def logins_flood(service: Service, directory: Path) -> Verdict:
    """Ask for five times as many login checks as can be answered, whatever the answers."""
    return _flood(asks(service, directory)[1], directory)


STORMS: tuple[Callable[[Service, Path], Verdict], ...] = (
    heads,
    bodies,
    reads,
    ranges,
    idle,
    issuing,
    logins,
    issuing_flood,
    logins_flood,
)


def main(wanted: list[str]) -> int:
    """Run the storms that are `wanted`, all without a name; return the exit code."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    missed = 0
    for storm in STORMS:
        if wanted and storm.__name__ not in wanted:
            continue
        with tempfile.TemporaryDirectory(prefix="tms-storm-") as made:
            service = Service(Path(made) / "data", fresh=True)
            service.init()
            service.start()
            with service:
                good, text = storm(service, Path(made))
        print(f"{'good  ' if good else 'MISSED'} {storm.__name__}: {text}", flush=True)
        missed += not good
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
