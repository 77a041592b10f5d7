"""The time of the connections in this process, to be moved on: what takes a minute takes a test no time."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from tms_ca.http import at_once, protocol
from tms_ca.http import guard as guards

TURN_SECONDS = 0.12  # in which the guard looks


class Jump:
    """A clock that goes on by itself, and by as much as it is told: for the loop and for who guards connections."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        patch.setattr(asyncio.get_running_loop(), "time", self.now)
        patch.setattr(guards, "time", SimpleNamespace(monotonic=self.now))
        patch.setattr(guards, "SWEEP_TICKS", 1)
        for module in (protocol, at_once):
            patch.setattr(module, "_now", self.now)

    def now(self) -> float:
        return time.monotonic() + self._ahead

    async def __call__(self, seconds: float) -> None:
        """Let so many seconds pass, and the guard look."""
        self._ahead += seconds
        await asyncio.sleep(TURN_SECONDS)
