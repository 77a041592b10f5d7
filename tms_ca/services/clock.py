"""The time, as something that a test can replace."""

import time
from typing import Protocol


class Clock(Protocol):
    """Unix time."""

    def now(self) -> int:
        """Return whole seconds."""

    def now_ms(self) -> int:
        """Return milliseconds."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        """Return whole seconds."""
        return int(time.time())

    def now_ms(self) -> int:
        """Return milliseconds."""
        return int(time.time() * 1000)
