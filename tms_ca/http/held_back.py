"""Connections that were refused and are not read for a while, so that who asks again at once keeps nobody waiting.

Each is read again while `Retry-After` runs out: at the latest when it is over, and not all of a crowd at once.
"""

from collections import deque
from typing import Protocol

TICK_SECONDS = 0.05


class Connection(Protocol):
    """What is done with one of them."""

    def read_again(self) -> None:
        """Go on reading."""


class HeldBack:
    """Has a list for each twentieth of a second to come, of those that are read again then; times are monotonic."""

    def __init__(self, now: float) -> None:
        self._next_at = now + TICK_SECONDS
        self._ticks: deque[list[Connection]] = deque()
        self._turn = 0
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def add(self, connection: Connection, seconds: float) -> None:
        """Hold `connection` back for most of `seconds`, and no longer."""
        most = max(1, int(seconds / TICK_SECONDS))
        least = most * 3 // 4
        self._turn += 1
        place = least + self._turn % (most - least)
        while len(self._ticks) <= place:
            self._ticks.append([])
        self._ticks[place].append(connection)
        self._number += 1

    def tick(self, now: float) -> None:
        """Read again those whose time has come."""
        due: list[Connection] = []
        while self._next_at <= now:  # a busy loop is late
            self._next_at += TICK_SECONDS
            if self._ticks:
                due += self._ticks.popleft()
        self._read_again(due)

    def early(self, most: int) -> None:
        """Read again so many whose time has not come, the next first."""
        chosen: list[Connection] = []
        for later in self._ticks:
            left = most - len(chosen)
            if left <= 0:
                break
            chosen += later[:left]
            del later[:left]
        self._read_again(chosen)

    def _read_again(self, connections: list[Connection]) -> None:
        self._number -= len(connections)
        for connection in connections:
            connection.read_again()
