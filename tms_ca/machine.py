"""What the kernel says of this process."""

import os
import resource
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds() -> float:
    """Return user and system time since the start of the process."""
    spent = os.times()
    return spent.user + spent.system


def resident_bytes() -> int:
    """Return resident memory; 0 where the kernel does not say."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def open_descriptors() -> int:
    """Return the number of open file descriptors; 0 where the kernel does not say."""
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208 - no Path for each; one is the listing's own
    except OSError:
        return 0


def most_descriptors() -> int:
    """Return how many descriptors this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
