"""`tms-ca migrate` beside others: it waits for short, says whose lock it did not get, and does not run twice."""

import asyncio

import asyncpg
import pytest
from alembic import command

from tms_ca.core.errors import Unavailable
from tms_ca.store import migrate
from tms_ca.store.engine import database_url


@pytest.fixture
async def empty(postgres):
    return await postgres.fresh(template="template0")


async def revision(url: str) -> str | None:
    return await migrate.current(database_url(url))


async def test_two_that_migrate_at_once_take_turns(empty):
    answers = await asyncio.gather(*(migrate.upgrade(database_url(empty)) for _ in range(3)))
    assert answers == [migrate.head()] * 3
    assert await migrate.differences(database_url(empty)) == []


async def test_one_that_does_not_end_is_named_and_nothing_is_changed(empty):
    other = await asyncpg.connect(empty, server_settings={"application_name": "the other"})
    try:
        await other.execute("BEGIN")
        await other.execute(f"SELECT pg_advisory_xact_lock({migrate._ADVISORY_LOCK})")
        with pytest.raises(Unavailable, match="the other") as refused:
            await migrate.upgrade(database_url(empty), patience_seconds=2)
        assert refused.value.code == "migration_locked"
        assert str(other.get_server_pid()) in refused.value.detail
        assert await revision(empty) is None
        await other.execute("ROLLBACK")
        assert await migrate.upgrade(database_url(empty)) == migrate.head()
    finally:
        await other.close()


async def test_a_session_that_holds_a_table_is_waited_for_and_holds_nobody_else_up(postgres):
    """While the migration waits for its table, requests for that table wait no longer than its short lock time-out."""
    url = await postgres.fresh()
    holder = await asyncpg.connect(url, server_settings={"application_name": "forgotten psql"})
    reader = await asyncpg.connect(url)
    try:
        await reader.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await migrate_to(url, "0001")
        await holder.execute("BEGIN; SELECT count(*) FROM audit_chains")
        migrating = asyncio.create_task(migrate.upgrade(database_url(url), patience_seconds=600))
        for _ in range(25):
            async with asyncio.timeout(60):
                await reader.fetchval("SELECT count(*) FROM audit_chains")  # behind the migration that waits for it
            await asyncio.sleep(0.1)
        assert not migrating.done()
        await holder.execute("ROLLBACK")
        assert await migrating == migrate.head()
        assert await migrate.differences(database_url(url)) == []
    finally:
        await holder.close()
        await reader.close()


async def migrate_to(url: str, revision: str) -> None:
    def act(connection):
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    await migrate._run(database_url(url), act)


async def test_a_statement_that_takes_too_long_is_ended(empty, monkeypatch):
    monkeypatch.setattr(migrate, "_STATEMENT_SECONDS", 1.0)

    def slow(connection, *_):
        connection.exec_driver_sql("SELECT pg_sleep(600)")

    monkeypatch.setattr(command, "upgrade", lambda config, _: slow(config.attributes["connection"]))
    with pytest.raises(Unavailable) as refused:
        await migrate.upgrade(database_url(empty))
    assert refused.value.code == "migration_too_slow"


async def test_a_server_that_is_not_there_is_named_without_the_password(tmp_path):
    url = database_url(f"postgresql://tms:hush-hush@/none?host={tmp_path}")
    with pytest.raises(Unavailable) as refused:
        await migrate.upgrade(url)
    assert "hush" not in str(refused.value)
    assert "hush" not in repr(refused.value.__cause__)
