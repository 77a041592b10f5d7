"""Run the benchmark: `make bench`, or `make bench QUICK=1` for a look in a few minutes."""

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import parts
from tests.bench.compare import QUICK, Bench, Plan
from tests.bench.helper import PART as HELPER
from tests.bench.helper import TARGETS as HELPER_TARGETS
from tests.bench.helper import helper
from tests.bench.memory import memory
from tests.bench.report import (
    HELPER_BEGIN,
    HELPER_END,
    TARGETS,
    Outcome,
    document,
    read_json,
    write_document,
    write_json,
)

ROOT = Path(__file__).parents[2]
PARTS: dict[str, Callable[[Bench], Outcome]] = {
    "rates": parts.rates,
    "latency": parts.latency,
    "workers": parts.workers,
    "postgres": parts.postgres,
    "million": parts.million,
    "memory": memory,
    HELPER: helper,
}
_NUMBERS = ("seconds", "rounds", "keys", "scale")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short rounds; writes bench.json only")
    names = [*PARTS, *(target.name for target in (*TARGETS, *HELPER_TARGETS))]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"some parts only: {', '.join(names)}")
    parser.add_argument("--json", type=Path, default=ROOT / "bench.json", help="where the figures go")
    parser.add_argument("--docs", type=Path, help="where the tables go; of a whole run: docs/performance.md")
    for name in _NUMBERS:
        kind = float if name == "scale" else int
        parser.add_argument(
            f"--{name}", type=kind, help="instead of the plan's; writes no docs unless --docs says where"
        )
    return parser.parse_args()


def wanted(only: list[str] | None) -> list[str]:
    """Return the parts to run; a figure's name stands for the part that measures it."""
    by_target = {target.name: target.part for target in (*TARGETS, *HELPER_TARGETS)}
    named = {by_target.get(name, name) for name in only or PARTS}
    return [name for name in PARTS if name in named]


def stamp(plan: Plan) -> str:
    return (
        f"Measured {_day()} with Python {platform.python_version()} ({_whose_python()}) on {_machine()}, in rounds of"
        f" {plan.seconds} seconds, {plan.rounds} of each. The machine's load average was {os.getloadavg()[0]:.2f} when"
        " it began."
    )


def _whose_python() -> str:
    system = Path(sys.executable).resolve().is_relative_to("/usr/bin")
    return "the system's" if system else "not the system's"


def stamp_of_helper() -> str:
    version = subprocess.run(["/usr/bin/python3", "-V"], capture_output=True, text=True, check=True).stdout.strip()
    curl = subprocess.run(["curl", "-V"], capture_output=True, text=True, check=True).stdout.split()
    load = os.getloadavg()[0]
    return f"Measured {_day()} with {version} and curl {curl[1]} on {_machine()}; load average {load:.2f} at the end."


def _day() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


def _machine() -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores ({model})"


def unable() -> str | None:
    """Return why nothing can be measured here, or None."""
    if not {0, 1} <= os.sched_getaffinity(0):
        return f"the benchmark needs cores 0 and 1, and may use {sorted(os.sched_getaffinity(0))}"
    missing = [name for name in ("wrk", "taskset") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}; make bench installs them" if missing else None


def main() -> int:
    """Run the parts; what one of them cannot measure, the others still do."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    if why := unable():
        print(why, file=sys.stderr)
        return 1
    changed = {name: getattr(options, name) for name in _NUMBERS if getattr(options, name) is not None}
    plan = replace(QUICK if options.quick else Plan(), **changed)
    names, outcomes, failures, head = wanted(options.only), [], {}, stamp(plan)
    kept = read_json(options.json) if options.only else []  # figures of the parts that do not run now
    with tempfile.TemporaryDirectory(prefix="tms-bench-") as directory:
        for name in names:
            print(f"{name}: {PARTS[name].__doc__.splitlines()[0]}", file=sys.stderr, flush=True)
            began = time.monotonic()
            try:
                outcomes.append(PARTS[name](Bench(plan, Path(directory))))
            except (RuntimeError, OSError, ValueError) as error:
                failures[name] = str(error)
                print(f"{name} failed: {error}", file=sys.stderr, flush=True)
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            shutil.rmtree(Path(directory), ignore_errors=True)
            write_json(options.json, outcomes, kept)  # after each part: what is measured is not lost with the rest
    lines = document(head, [one for one in outcomes if one.part != HELPER], failures)
    of_helper = [line for one in outcomes if one.part == HELPER for line in (stamp_of_helper(), "", *one.lines)]
    print("\n".join([*([] if names == [HELPER] else lines), "", *of_helper]))
    docs = options.docs
    if docs is None and not (options.quick or changed or failures) and (not options.only or names == [HELPER]):
        docs = ROOT / "docs" / "performance.md"
    if docs is not None:
        if names != [HELPER]:
            write_document(docs, lines)
        if of_helper:
            write_document(docs, of_helper, HELPER_BEGIN, HELPER_END)
    print(f"\nwrote {options.json}" + (f" and {docs}" if docs else "; the docs are as they were"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
