"""As many requests a second as it is told, whatever becomes of them: a service that answers late is not asked less.

Each request has its moment beforehand, and its latency counts from that moment. flood.c does it, on a core of its own.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.load.storm import Ask

CONNECTIONS = 4000
_PROGRAM = Path(__file__).with_suffix(".c")


@dataclass(frozen=True)
class Row:
    """What was answered with one status, on connections that stay or on those of one request."""

    new: bool
    status: int
    count: int
    p50_ms: float
    p99_ms: float
    longest_ms: float


@dataclass(frozen=True)
class Flood:
    """What came of it."""

    seconds: float
    offered: int
    lost: int  # connections that ended without an answer
    unanswered: int  # seconds after the last was sent
    reopened: int  # connections that the service closed with an answer
    good: int  # successes while it went on
    late_p99_ms: float  # how late the program that asks was itself
    rows: tuple[Row, ...]

    def refused(self, *, new: bool) -> Row:
        """Return what became of those who were told that there is no time."""
        found = [row for row in self.rows if row.status == 503 and bool(row.new) == new]
        return found[0] if found else Row(new, 503, 0, 0.0, 0.0, 0.0)


def flood(
    ask: Ask, directory: Path, *, rate: float, seconds: float, connections: int = CONNECTIONS, one_in: int = 100
) -> Flood:
    """Ask at that rate; one in so many on a connection of its own."""
    assert shutil.which("cc"), "a C compiler is missing: sh deploy/debian-packages.sh storms"
    program, whole = directory / "flood", directory / "request"
    subprocess.run(["cc", "-O2", "-o", program, _PROGRAM], check=True)
    whole.write_bytes(ask.bytes())
    words = [str(ask.port), str(whole), f"{rate:.0f}", f"{seconds:g}", str(connections), str(one_in)]
    last_core = max(os.sched_getaffinity(0))
    ended = subprocess.run(
        ["taskset", "-c", str(last_core), str(program), *words], check=True, capture_output=True, text=True
    )
    found = json.loads(ended.stdout)
    return Flood(**{**found, "rows": tuple(Row(**row) for row in found["rows"])})
