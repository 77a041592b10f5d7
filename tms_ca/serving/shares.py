"""How many connections each worker has, in memory that all of them see."""

import mmap
import struct
from pathlib import Path

ABSENT = 0xFFFFFFFF  # nobody waits for a worker that does not accept
_COUNT = struct.Struct("=I")


class Shares:
    """The counts of one generation of workers; `slot` is the caller's own."""

    def __init__(self, path: Path, slot: int) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._slot = slot
        self._counts = memoryview(self._memory).cast("I")

    @staticmethod
    def create(path: Path, slots: int) -> None:
        """Make the file, with everybody absent."""
        path.write_bytes(_COUNT.pack(ABSENT) * slots)

    def set(self, count: int) -> None:
        """Say how many connections this worker has, or ABSENT."""
        self._counts[self._slot] = count

    def absent(self, slot: int) -> None:
        """Strike out a worker that is gone."""
        self._counts[slot] = ABSENT

    def alone(self) -> bool:
        """Tell whether all the others are absent."""
        return all(count == ABSENT for slot, count in enumerate(self._counts) if slot != self._slot)

    def ahead(self) -> bool:
        """Tell whether another worker has so many connections fewer that the next one should be its."""
        mine, least = self._counts[self._slot], min(self._counts)
        return mine > least + (least >> 3)
