"""Processes that are stopped where they stand: a signal is obeyed some time after it was sent, by each thread by itself."""

import contextlib
import os
import signal
import time
from pathlib import Path

SECONDS = 60.0


def running(pid: int) -> bool:
    """Tell whether any thread of a process is neither stopped nor at its end: proc(5), /proc/[pid]/stat."""
    states = set()
    with contextlib.suppress(OSError):  # it has ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                states.add(Path(f"/proc/{pid}/task/{thread}/stat").read_text().rpartition(")")[2].split()[0])
    return bool(states - {"T", "t", "Z", "X"})


def still(pid: int) -> None:
    """Wait until nothing of a process runs any more, that was told to stop or to end."""
    until = time.monotonic() + SECONDS
    while running(pid):
        assert time.monotonic() < until, f"{pid} goes on"
        time.sleep(0.001)


def halt(pid: int) -> None:
    """Stop a process (SIGSTOP); once this returns it does nothing more, not even what it was about to do."""
    os.kill(pid, signal.SIGSTOP)
    still(pid)
