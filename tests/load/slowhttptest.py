"""slowhttptest (Debian's package) against a running service, while others ask as well."""

import csv
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.load.slow import ask
from tests.ssh.service import Service

CLIENTS = 2000
SECONDS = 75
LOOKED_AT = 72  # seconds after the start, when all of them have been slow for longer than is borne
_COMMON = ("-c", str(CLIENTS), "-r", "500", "-p", "3", "-l", str(SECONDS))
KINDS = {
    "heads": ("/healthz", ("-H", "-i", "5", "-x", "24")),
    "bodies": (
        "/api/v1/tenants/default/sessions",
        ("-B", "-i", "5", "-x", "24", "-s", "60000", "-f", "application/json"),
    ),
    # Windows of 512 bytes at most, of which 32 are read every five seconds; three long answers for each.
    "reads": ("/openapi.json", ("-X", "-w", "1", "-y", "512", "-n", "5", "-z", "32", "-k", "3")),
    "ranges": ("/openapi.json", ("-R", "-t", "GET", "-a", "1", "-b", "3000")),
}


@dataclass(frozen=True)
class Slow:
    """What became of the slow clients, and how long others waited for an answer."""

    closed: int  # as far as they noticed, a second before the end; slow readers do not notice
    all_closed: bool
    left: int  # sockets that the service has more than before, while they are still there
    available: bool  # by its own probe, which waits three seconds
    others: int
    p99_seconds: float


def run(service: Service, kind: str, directory: Path) -> Slow:
    """Let them come, 500 a second."""
    assert shutil.which("slowhttptest"), "slowhttptest is missing: sh deploy/debian-packages.sh storms"
    path, options = KINDS[kind]
    report = directory / f"slow-{kind}"
    command = ["slowhttptest", *_COMMON, *options, "-u", service.url + path, "-g", "-o", str(report)]
    port, before = int(service.url.rpartition(":")[2]), _sockets(service)
    took: list[float] = []
    with tempfile.TemporaryFile("w+") as output:
        running = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        left, begun = None, time.monotonic()
        while running.poll() is None:
            took.append(ask(port))
            time.sleep(0.05)
            if left is None and time.monotonic() - begun > LOOKED_AT:
                left = _sockets(service) - before
        if left is None:  # none of them had anything to wait for
            left = _sockets(service) - before
        output.seek(0)
        text = output.read()
    assert report.with_suffix(".csv").exists(), text[-2000:]
    with report.with_suffix(".csv").open() as rows:
        seconds = list(csv.DictReader(rows))
    # The last row is of a moment before the end; a service that does not answer has 0 in the last column.
    closed = max(int(row["Closed"]) for row in seconds)
    available = all(int(row["Service Available"]) for row in seconds[1:])
    took.sort()
    return Slow(closed, "No open connections left" in text, left, available, len(took), took[int(len(took) * 0.99)])


def _sockets(service: Service) -> int:
    return sum(str(one.readlink()).startswith("socket:") for one in Path(f"/proc/{service.process.pid}/fd").iterdir())
