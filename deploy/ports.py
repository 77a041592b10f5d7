"""Ports that a process may listen on, for the demo and the tests."""

import contextlib
import functools
import itertools
import random
import socket
from collections.abc import Iterator
from pathlib import Path


@functools.cache
def _ports() -> Iterator[int]:
    """Return the ports in the order in which this process takes them, beginning anywhere."""
    # Below those that the system gives by itself: a port of these could be anybody's before it is listened on.
    end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    first = max(1024, end - 20_000)
    begun = random.SystemRandom().randrange(first, end)
    return itertools.cycle([*range(begun, end), *range(first, begun)])


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody takes until it is used, unless by its number."""
    for port in _ports():
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("the ports go round")
