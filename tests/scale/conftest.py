"""A service on a database with much in it: TMS_SCALE says how much, `make scale` sets it to 1, a million."""

import asyncio
import os

import pytest

from tests.scale.fill import fill


@pytest.fixture(scope="session")
def scale() -> float:
    return float(os.environ.get("TMS_SCALE", "0.02"))


async def _fill(world, scale):
    url, key = world.settings.database_url, world.settings.master_key
    await asyncio.to_thread(fill, url, scale=scale, master_key=key, now=world.clock.now())
    return world


@pytest.fixture
async def crowded(world, scale):
    """A furnished world among a crowd."""
    return await _fill(world, scale)


@pytest.fixture
async def few(world, scale):
    """A tenth of it, where many tests alter what they find."""
    return await _fill(world, scale / 10)
