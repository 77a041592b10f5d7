"""Resident memory at full load: does it grow while the service works?"""

import statistics
import subprocess
import time
from pathlib import Path

from tests.bench.compare import LOAD_CPU, SERVER_CPU, Bench
from tests.bench.load import Load, read, wrk_command
from tests.bench.processes import Server
from tests.bench.report import Outcome, figure, table
from tests.bench.service import service

_LOOK_SECONDS = 5  # a figure is the median of the last so many seconds


def memory(bench: Bench) -> Outcome:
    """Look twice during certificates and login checks at 32 connections each, as many as the service can do."""
    early, late = bench.plan.memory
    with service(bench.directory / "memory", cpu=SERVER_CPU) as ours:
        loads = [ours.certificates(bench.plan.keys), ours.logins(bench.plan.keys)]
        ours.server.settle()
        samples, requests = _watch(bench, ours.server, loads, late)
        stored = sum(file.stat().st_size for file in _files(ours.directory / "data"))
    first, second = (_before(samples, seconds) / 2**20 for seconds in (early, late))
    names = ["1min", "10min"] if (early, late) == (60, 600) else [f"{early}s", f"{late}s"]
    outcome = Outcome("memory", "Resident memory at full load")
    outcome.figures = [
        figure(f"rss_{names[0]}_mib", [first], "MiB", digits=1),
        figure(f"rss_{names[1]}_mib", [second], "MiB", digits=1),
        figure(f"rss_{names[1]}_vs_{names[0]}", [second / first], "ratio", ratio_to=f"rss_{names[0]}_mib"),
    ]
    moments = [early, *range(2 * early, late, max(early, (late - early) // 8)), late]
    cells = [f"{_before(samples, seconds) / 2**20:.1f}" for seconds in moments]
    outcome.lines += table(["after seconds", *map(str, moments)], [["MiB", *cells]])
    did = f"{requests[0]:,.0f} certificates and {requests[1]:,.0f} login checks"
    outcome.lines += ["", f"Meanwhile: {did}; the data directory had {stored / 2**20:,.0f} MiB at the end."]
    return outcome


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def _before(samples: list[tuple[float, int]], seconds: float) -> float:
    """Return the median of the last looks before a moment, in bytes."""
    return statistics.median(size for at, size in samples if seconds - _LOOK_SECONDS <= at <= seconds)


def _watch(
    bench: Bench, server: Server, loads: list[Load], seconds: int
) -> tuple[list[tuple[float, int]], list[float]]:
    """Ask everything at once; return (seconds, bytes) four times a second, and how many requests there were of each."""
    commands = [wrk_command(load, connections=32, seconds=seconds + 1, cpu=LOAD_CPU) for load in loads]
    running = [subprocess.Popen(one, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for one in commands]
    samples: list[tuple[float, int]] = []
    try:
        began = told = time.monotonic()
        while (now := time.monotonic()) - began <= seconds:
            samples.append((now - began, server.resident_bytes()))
            if now - told >= 60:
                told = now
                bench.say(f"  after {now - began:.0f} s: {samples[-1][1] / 2**20:.1f} MiB")
            time.sleep(0.25)
        outputs = [one.communicate(timeout=60)[0] for one in running]
    finally:
        for one in running:
            one.kill()
            one.wait()
    found = [read(output) for output in outputs]
    return samples, [one["requests"] - one["refused"] for one in found]
