"""Servers under measurement: started on a core of their own, watched through /proc, stopped by process id."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SECONDS_TO_START = 60
_SECONDS_TO_STOP = 60


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    address: str  # http://HOST:PORT
    pid: int

    def processes(self) -> list[int]:
        """Return its process and all that came from it."""
        found, open_ = [], [self.pid]
        while open_:
            pid = open_.pop()
            found.append(pid)
            try:
                children = [
                    int(n) for path in Path(f"/proc/{pid}/task").glob("*/children") for n in path.read_text().split()
                ]
            except OSError:  # it ended between the two looks
                continue
            open_ += children
        return found

    def cpu_seconds(self) -> float:
        """Return the processor time of all its processes until now, user's and kernel's, to a hundredth of a second."""
        return sum(self._stat(pid, 11) + self._stat(pid, 12) for pid in self.processes()) / _TICKS_PER_SECOND

    def resident_bytes(self) -> int:
        """Return the resident memory of all its processes; pages that two share are counted twice."""
        return sum(self._stat(pid, 21) for pid in self.processes()) * _PAGE_BYTES

    @staticmethod
    def _stat(pid: int, field: int) -> int:
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return 0
        return int(text.rpartition(")")[2].split()[field])  # the name before it may hold blanks

    def settle(self, seconds: float = 60) -> None:
        """Wait until what it does after its start is done: until it uses less than 3 % of a core."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            before = self.cpu_seconds()
            time.sleep(1)
            if self.cpu_seconds() - before < 0.03:
                return


def printed(out: Path) -> str | None:
    """Return the address in the first line that has one."""
    lines = [line for line in out.read_text().splitlines() if "http" in line]
    return lines[0].split()[-1] if lines else None


@contextmanager
def started(
    command: list[str],
    *,
    cpu: str | None,
    environment: dict[str, str] | None = None,
    address: Callable[[Path], str | None] = printed,
    account: dict[str, object] | None = None,
) -> Iterator[Server]:
    """Run a server, on the cores that `cpu` names, if any; yield it when `address(what it printed)` knows where it answers.

    Raises:
        RuntimeError: it ended or did not answer in time; the text has the end of what it wrote

    """
    pinned = [] if cpu is None else ["taskset", "-c", cpu]
    with tempfile.TemporaryDirectory(prefix="tms-bench-out-") as directory:
        out, log = Path(directory) / "out", Path(directory) / "log"
        with out.open("wb") as out_file, log.open("wb") as log_file:
            process = subprocess.Popen(
                [*pinned, *command], stdin=subprocess.DEVNULL, stdout=out_file, stderr=log_file,
                env={**os.environ, **(environment or {})}, **(account or {}),
            )  # fmt: skip
        try:
            until = time.monotonic() + _SECONDS_TO_START
            while (answers_at := address(out)) is None:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{command[:4]} did not start: {log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.05)
            yield Server(answers_at, process.pid)
            if process.poll() is not None:
                raise RuntimeError(f"{command[:4]} ended by itself: {log.read_text(errors='replace')[-2000:]}")
        finally:
            process.terminate()
            try:
                process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
