"""As many requests a second as it is told, whatever becomes of them: a service that answers late is not asked less.

Each request has its moment beforehand, and its latency counts from that moment. flood.c does it, on a core of its own.
"""

import atexit
import functools
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.load.storm import Ask

CONNECTIONS, PATIENT = 4000, 300  # of whom all have been refused once within the first second
_PROGRAM = Path(__file__).with_suffix(".c")


@dataclass(frozen=True)
class Row:
    """What was answered with one status, to one kind of client.

    `kept` asks on a connection that stays, again whatever it was told; `patient` waits as long as Retry-After says
    first; `new` asks once.
    """

    kind: str
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
    unsent: int  # every connection waited for its answer
    lost: int  # connections that ended without an answer
    unanswered: int  # seconds after the last was sent
    reopened: int  # connections that the service closed with an answer
    good: int  # successes while it went on
    late_p99_ms: float  # how late the program that asks was itself
    blocked_ms: float  # of which it waited so long in all for the service to take connections
    rows: tuple[Row, ...]

    @property
    def late_ms(self) -> float:
        """Return how late the program was that asks, through no fault of the service's."""
        return max(0.0, self.late_p99_ms - self.blocked_ms)

    def granted_ms(self) -> float:
        """Return within what time 99 of 100 successes came, of the kind of clients that waited longest for theirs."""
        return max((row.p99_ms for row in self.rows if row.status < 300), default=0.0)

    def refused(self, kind: str) -> Row:
        """Return what became of those who were told that there is no time."""
        found = [row for row in self.rows if row.status == 503 and row.kind == kind]
        return found[0] if found else Row(kind, 503, 0, 0.0, 0.0, 0.0)


@functools.cache
def _compiled() -> str:
    """Return the program, made once; it goes with this process."""
    assert shutil.which("cc"), "a C compiler is missing: sh deploy/debian-packages.sh storms"
    directory = tempfile.mkdtemp(prefix="tms-flood-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    subprocess.run(["cc", "-O2", "-o", f"{directory}/flood", _PROGRAM], check=True)
    return f"{directory}/flood"


def flood(
    ask: Ask,
    directory: Path,
    *,
    rate: float,
    seconds: float,
    connections: int = CONNECTIONS,
    patient: int = PATIENT,
    few: int = 100,
    grace: float = 5.0,
) -> Flood:
    """Ask at that rate; one in `few` is new, and one in `few` is patient. `grace`: seconds for what comes late."""
    whole = directory / "request"
    whole.write_bytes(ask.bytes())
    words = [str(ask.port), str(whole), f"{rate:.0f}", f"{seconds:g}", str(connections), str(patient), str(few)]
    last_core = max(os.sched_getaffinity(0))
    ended = subprocess.run(
        ["taskset", "-c", str(last_core), _compiled(), *words], check=True, capture_output=True, text=True,
        env={**os.environ, "FLOOD_GRACE": str(grace)},
    )  # fmt: skip
    found = json.loads(ended.stdout)
    return Flood(**{**found, "rows": tuple(Row(**row) for row in found["rows"])})
