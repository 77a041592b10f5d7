"""`make storms`: what slow clients, idle ones and five times too many do to a service; each is measured and judged.

It prints one line for each and ends with 1 where one is missed. The load shares the machine with the service.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.load.slow import ask as ask_once
from tests.load.storm import Ask, Probe, asks, press, recovery
from tests.load.test_idle import MIB, gather, resident
from tests.ssh.service import Service

SECONDS = 8
IDLE = 10_000
Verdict = tuple[bool, str]


def slow(service: Service, _: Path) -> Verdict:
    """Run slowhttptest with 2,000 clients that never end their heads, and ask meanwhile."""
    if shutil.which("slowhttptest") is None:
        return False, "slowhttptest is missing: sh deploy/debian-packages.sh storms"
    command = ["slowhttptest", "-c", "2000", "-H", "-i", "5", "-r", "500", "-u", service.url + "/healthz", "-x", "24",
               "-p", "3", "-l", "60"]  # fmt: skip
    port = int(service.url.rpartition(":")[2])
    took: list[float] = []
    with tempfile.TemporaryFile("w+") as output:
        running = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True)
        while running.poll() is None:
            took.append(ask_once(port))
            time.sleep(0.05)
        output.seek(0)
        text = output.read()
    closed = max((int(line.split()[-1]) for line in text.splitlines() if line.startswith("closed:")), default=0)
    available = "service available:   NO" not in text and "NO" not in text.rpartition("service available:")[2][:20]
    p99 = sorted(took)[int(len(took) * 0.99)]
    good = closed >= 1990 and available and p99 <= 0.2
    return (
        good,
        f"{closed} of 2000 closed, available to others: {available}, p99 of {len(took)} others {p99 * 1000:.0f} ms",
    )


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


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _storm(ask: Ask, directory: Path) -> Verdict:
    press(ask, directory, connections=32, seconds=2)
    pid = ask.service.process.pid
    spent = [cpu_seconds(pid)]
    peak = press(ask, directory, connections=64, seconds=SECONDS)
    spent.append(cpu_seconds(pid))
    probe = Probe()
    with probe.beside(ask):
        storm = press(ask, directory, connections=2000, seconds=SECONDS)
    spent.append(cpu_seconds(pid))
    # What else the machine does takes from both; each second that the service had says what it was used for.
    each = storm.good * storm.seconds / (spent[2] - spent[1]) / (peak.good * peak.seconds / (spent[1] - spent[0]))
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


STORMS: tuple[Callable[[Service, Path], Verdict], ...] = (slow, idle, issuing, logins)


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
