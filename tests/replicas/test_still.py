"""A replica that is stopped in the middle of what it says to PostgreSQL keeps nothing from the others for long."""

import asyncio
import struct

import asyncpg
import pytest

from tests.replicas.conftest import in_our_times
from tms_ca.store import migrate
from tms_ca.store.engine import database_url
from tms_ca.store.jobs_lock import JobsLock
from tms_ca.store.postgres import Connector
from tms_ca.store.postgres_still import Still

ROW = "UPDATE tenants SET epoch = epoch WHERE tenant = 'default'"


def message(kind: bytes, *fields: bytes) -> bytes:
    """Return a message as the protocol has it: postgresql.org/docs/current/protocol-message-formats.html."""
    body = b"".join(fields)
    return kind + struct.pack("!I", 4 + len(body)) + body


PREPARE = [
    message(b"P", b"\0", b"SELECT 1\0", struct.pack("!H", 0)),
    message(b"D", b"S\0"),
    message(b"H"),
]


async def take_row(connection) -> None:
    """Begin a change of the tenant."""
    await connection.execute("BEGIN")
    await connection.execute(ROW)


def stop(connection, *said: bytes) -> None:
    """Say this and no more, and read nothing, as a process does that is stopped there."""
    connection._transport.pause_reading()
    connection._transport.write(b"".join(said))


async def stopped(connection) -> None:
    """Take the tenant's row, and stop where asyncpg has asked for the next statement to be prepared."""
    await take_row(connection)
    stop(connection, *PREPARE)


async def rename(world) -> int:
    return (await world.call("PATCH", "users/alice", auth=world.operator, json={"display_name": "renamed"})).status


async def until_renamed(world) -> None:
    async with asyncio.timeout(60):
        while await rename(world) != 200:
            await asyncio.sleep(0.05)


@pytest.fixture
async def url(postgres):
    return await postgres.fresh()


async def test_A_05_what_holds_a_tenant_and_stands_still_in_a_statement_is_ended(url, tmp_path, clock):
    async with in_our_times(tmp_path / "data", url, clock) as world:
        held = await Connector(database_url(url)).connect()
        await stopped(held)
        assert await rename(world) == 503  # it waited in vain, and looks
        await until_renamed(world)
        assert (await world.issue()).status == 201
        held.terminate()


async def test_A_05_it_is_ended_too_where_all_who_wait_came_from_a_queue(url, tmp_path, clock):
    """The first who waits meets one that goes on; the others have waited for it, and have no time for the row."""
    async with in_our_times(tmp_path / "data", url, clock) as world:
        held = await Connector(database_url(url)).connect()
        await take_row(held)
        waiting = []

        async def come() -> None:
            while not waiting or not waiting[-1].done() or waiting[-1].result() != 200:
                waiting.append(asyncio.create_task(rename(world)))
                await asyncio.sleep(0.5)

        coming = asyncio.create_task(come())
        while sum(one.done() for one in waiting) < 3:  # so that who was told by the server has looked
            await held.execute("SELECT 1")
            await asyncio.sleep(0.05)
        stop(held, *PREPARE)
        async with asyncio.timeout(60):
            while 200 not in {one.result() for one in waiting if one.done()}:
                await asyncio.sleep(0.05)
        coming.cancel()
        held.terminate()
        await asyncio.gather(*waiting)


async def test_A_05_what_reads_no_more_of_a_long_answer_is_ended(url, tmp_path, clock):
    async with in_our_times(tmp_path / "data", url, clock) as world:
        held = await Connector(database_url(url)).connect()
        await take_row(held)
        stop(held, message(b"Q", b"SELECT repeat('x', 1000) FROM generate_series(1, 200000)\0"))
        await until_renamed(world)
        held.terminate()


async def test_who_goes_on_between_two_looks_is_left_alone(url, monkeypatch, caplog):
    connector = Connector(database_url(url))
    held, beside = await connector.connect(), await connector.connect()
    since = (
        "SELECT state_change FROM pg_stat_activity WHERE pid = $1 AND state = 'active' AND wait_event = 'ClientRead'"
    )
    pid = held.get_server_pid()
    await stopped(held)
    pause = asyncio.sleep

    async def next_statement(_: float) -> None:
        before = await beside.fetchval(since, pid)
        held._transport.write(message(b"S") + b"".join(PREPARE))
        async with asyncio.timeout(60):
            while await beside.fetchval(since, pid) in {before, None}:
                await pause(0.01)

    async with asyncio.timeout(60):
        while await beside.fetchval(since, pid) is None:
            await pause(0.01)
    monkeypatch.setattr(asyncio, "sleep", next_statement)
    await Still(connector)._look()
    monkeypatch.undo()
    assert await beside.fetchval(since, pid) is not None
    assert caplog.messages == []
    await Still(connector)._look()  # the twin
    async with asyncio.timeout(60):
        while await beside.fetchval(since, pid) is not None:
            await asyncio.sleep(0.01)  # it was told to end
    assert "stood still" in caplog.text
    for one in (held, beside):
        one.terminate()


async def test_A_05_certificates_that_wait_in_vain_end_it_too(url, tmp_path, clock):
    """A lock of the whole table is what the statement of a group waits for."""
    async with in_our_times(tmp_path / "data", url, clock) as world:
        held = await Connector(database_url(url)).connect()
        await held.execute("BEGIN")
        await held.execute("LOCK TABLE certificates")
        stop(held, *PREPARE)
        assert (await world.issue()).status == 503
        async with asyncio.timeout(60):
            while (await world.issue()).status != 201:
                await asyncio.sleep(0.05)
        held.terminate()


async def test_whoever_works_and_whoever_is_not_ours_is_left_alone(url, tmp_path, clock):
    async with in_our_times(tmp_path / "data", url, clock) as world:
        works = await Connector(database_url(url)).connect(statement_timeout="120s")
        working = asyncio.create_task(works.fetchval("SELECT 'done' FROM pg_sleep(5)", timeout=120))
        another = await asyncpg.connect(url, server_settings={"application_name": "psql"})
        await stopped(another)
        assert await rename(world) == 503  # it waited in vain, and looks
        assert await working == "done"
        sessions = "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
        assert "psql" in {row[0] for row in await works.fetch(sessions)}
        another.terminate()
        await works.close()
        await until_renamed(world)


async def test_the_lock_of_a_job_is_asked_for_by_a_statement_that_was_prepared_before(url, monkeypatch):
    """Nobody waits for this lock, so nobody would look."""
    said = []
    for name in ("prepare", "execute", "fetchval"):
        plain = getattr(asyncpg.Connection, name)

        async def noted(connection, query, *args, _plain=plain, _name=name, **more):
            said.append((_name, query))
            return await _plain(connection, query, *args, **more)

        monkeypatch.setattr(asyncpg.Connection, name, noted)
    await migrate.upgrade(database_url(url))
    said.clear()
    async with JobsLock(database_url(url)).only_here("retention") as here:
        assert here
        begun = said.index(("execute", "BEGIN"))
        assert [name for name, query in said[:begun] if "advisory" in query] == ["prepare"]
        assert [one for one in said[begun + 1 :] if "advisory" in one[1]] == []
