"""Giving memory back stops the loop: whoever sends a crowd again and again must not stop it again and again."""

import asyncio

from tms_ca.http import memory
from tms_ca.http.memory import Spare


class Seconds:
    """A clock by which everything takes a second."""

    now = 100.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


async def done(spare: Spare) -> None:
    """Wait until it is ready for the next."""
    async with asyncio.timeout(60):
        while spare._begun:
            await asyncio.sleep(0.001)


async def test_H_04_memory_is_given_back_for_a_small_part_of_the_time(monkeypatch):
    monkeypatch.setattr(memory, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(memory, "_MOVE_SECONDS", 0)
    clock = Seconds()
    spare = Spare(asyncio.get_running_loop(), clock)
    assert spare.give_back()
    await done(spare)
    assert not spare.give_back()
    clock.now += 250
    assert spare.give_back()  # the twin
    assert not spare.give_back()  # it is under way
    await done(spare)
    spare.stop()
