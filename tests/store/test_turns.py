"""Whoever waits to write on SQLite looks for its turn all the time, however long it has waited."""

import asyncio
import shutil
import sqlite3
from contextlib import closing, contextmanager

import pytest

from tests.conftest import running_world
from tms_ca.store import turns
from tms_ca.store.engine import database_url
from tms_ca.store.writer import GroupWriter

MANY = 60  # SQLite itself would have looked a dozen times in the time that these take, and then each 100 ms


@pytest.fixture
async def looked(tmp_path, sqlite_template, clock, monkeypatch):
    """A service, its file, and what its connections have asked for a turn to write."""
    asked, real = [], sqlite3.connect

    def connect(*arguments, **options):
        connection = real(*arguments, **options)
        connection.set_trace_callback(lambda statement: asked.append(statement) if "IMMEDIATE" in statement else None)
        return connection

    file = tmp_path / "tms.db"
    shutil.copy(sqlite_template, file)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect)
        async with running_world(tmp_path / "data", f"sqlite:///{file}", clock) as world:
            await world.furnish()
            writer = GroupWriter(database_url(f"sqlite:///{file}"), b"k" * 32, 0, lambda _: None)
            yield world, writer, file, asked
            writer.close()


@contextmanager
def taken(file):
    """Have the turn, as another process does."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


WAYS = {
    "a certificate": lambda world, _: world.issue(),
    "a change": lambda world, _: world.call(
        "PATCH", "users/alice", auth=world.operator, json={"display_name": "x"}
    ),
    "the workers' writer": lambda _, writer: asyncio.to_thread(writer.write, [[]]),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
async def test_a_turn_is_looked_for_without_a_pause(looked, way):
    world, writer, file, asked = looked
    await WAYS[way](world, writer)  # the first certificate begins an audit chain, which is a change
    with taken(file) as other:
        asked.clear()
        working = asyncio.create_task(WAYS[way](world, writer))
        while len(asked) < MANY:
            assert not working.done(), "it has given up, or did not wait"
            await asyncio.sleep(0.001)
        other.execute("ROLLBACK")
        done = await working
    assert done == [[]] if way == "the workers' writer" else done.status in {200, 201}


async def test_E_03_whoever_has_no_turn_in_time_is_told_so_and_the_next_has_one(looked, monkeypatch):
    world, writer, file, _ = looked
    with taken(file), monkeypatch.context() as patch:
        patch.setattr(turns, "BUSY_SECONDS", 0.05)
        for way in ("a certificate", "a change"):
            refused = await WAYS[way](world, writer)
            assert (refused.status, refused.code) == (503, "database_unavailable"), way
        assert (await world.call("GET", "users/alice", auth=world.operator)).status == 200, "reading goes on"
    for way in ("a certificate", "a change"):
        assert (await WAYS[way](world, writer)).status < 300, way
