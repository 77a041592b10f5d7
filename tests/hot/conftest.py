"""Worlds for the hot path, and certificates that open doors in them."""

import shutil
from collections.abc import AsyncIterator

import pytest

from tests.conftest import running_world
from tests.world import World


@pytest.fixture
async def lite(tmp_path, sqlite_template, clock) -> AsyncIterator[World]:
    """A furnished service on SQLite, where login checks are answered without waiting."""
    shutil.copy(sqlite_template, tmp_path / "tms.db")
    async with running_world(tmp_path / "data", f"sqlite:///{tmp_path / 'tms.db'}", clock) as world:
        await world.furnish()
        yield world
