"""The supervisor's private directory: sockets and shared memory that live as long as it does."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "run-"


@contextmanager
def run_directory(data: Path) -> Iterator[Path]:
    """Yield a fresh directory (0700) below RUNTIME_DIRECTORY, which systemd sets, or below `data`; then remove it.

    Directories that a killed supervisor left there are removed first: nobody holds their lock.
    """
    base = Path(os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0] or data)
    for left in base.glob(f"{_PREFIX}*"):
        _remove_if_dead(left)
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _remove_if_dead(directory: Path) -> None:
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        shutil.rmtree(directory, ignore_errors=True)
    finally:
        os.close(lock)
