"""A service on a database with much in it: TMS_SCALE says how much, `make scale` sets it to 1, a million."""

import asyncio
import os

import pytest

from tests.scale.fill import fill


@pytest.fixture(scope="session")
def scale() -> float:
    return float(os.environ.get("TMS_SCALE", "0.02"))


@pytest.fixture
async def crowded(world, scale):
    """A furnished world among a crowd."""
    await asyncio.to_thread(fill, world.settings.database_url, scale=scale, master_key=world.settings.master_key,
                            now=world.clock.now())  # fmt: skip
    return world
