"""What PostgreSQL undoes because two transactions met is asked again by the service, and done once."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tests.conftest import running_world
from tms_ca.core.errors import Unavailable
from tms_ca.store import again
from tms_ca.store.chainwriter import ChainWriter
from tms_ca.store.engine import Database, database_url

CHANGERS, EACH = 6, 3
ISOLATION = [f"default_transaction_isolation = '{kind}'" for kind in ("repeatable read", "serializable")]


@pytest.fixture
async def altered(postgres, request, tmp_path, clock):
    """A service on a database with a setting of its own, and the database's URL."""
    if request.config.getoption("--db") == "sqlite":
        pytest.skip("PostgreSQL is not wanted")
    url = await postgres.fresh()
    admin = await asyncpg.connect(url)
    await admin.execute(f'ALTER DATABASE "{await admin.fetchval("SELECT current_database()")}" SET {request.param}')
    await admin.close()
    async with running_world(tmp_path / "data", url, clock) as world:
        await world.furnish()
        yield world, url


async def deadlock(world, url, monkeypatch):
    """Have a change of alice meet a transaction that locks the same two rows the other way round; return its answer."""
    other, outside, change = await asyncpg.connect(url), await asyncpg.connect(url), Database.change
    crossing = []

    @asynccontextmanager
    async def met(*args, **more):
        async with change(*args, **more) as transaction:
            if not crossing:
                crossing.append(asyncio.create_task(other.execute("UPDATE tenants SET display_name = 'other'")))
                await waiting(outside, 1)
            yield transaction

    monkeypatch.setattr(Database, "change", met)
    await other.execute("SET deadlock_timeout = '600s'; BEGIN")  # so that the server's choice is the service
    await other.execute("UPDATE users SET display_name = 'other' WHERE \"user\" = 'alice'")
    changing = asyncio.create_task(world.call("PATCH", "users/alice", auth=world.operator, json={"display_name": "x"}))
    async with asyncio.timeout(60):
        while not crossing:
            await asyncio.sleep(0.005)
    await crossing[0]
    await other.execute("COMMIT")
    await other.close()
    await outside.close()
    return await changing


@pytest.mark.parametrize("altered", ["deadlock_timeout = '50ms'"], indirect=True)
async def test_a_change_that_a_deadlock_undid_is_made_anew(altered, monkeypatch):
    world, url = altered
    admin = await asyncpg.connect(url)
    before = await admin.fetchval("SELECT count(*) FROM audit_events WHERE action LIKE 'users.%'")
    said = await deadlock(world, url, monkeypatch)
    assert (said.status, said.json["display_name"]) == (200, "x"), said.body
    events = await admin.fetchval("SELECT count(*) FROM audit_events WHERE action LIKE 'users.%'") - before
    await admin.close()
    assert events == 1, "it was done once"


@pytest.mark.parametrize("altered", ["default_transaction_isolation = 'serializable'"], indirect=True)
async def test_changes_at_once_all_succeed_on_a_server_that_is_serializable(altered):
    world, _ = altered

    async def rename(number):
        for each in range(EACH):
            wish = {"display_name": f"{number}-{each}"}
            said = await world.call("PATCH", "users/alice", auth=world.operator, json=wish)
            assert said.status == 200, said.body
            assert (await world.issue()).status == 201

    await asyncio.gather(*(rename(number) for number in range(CHANGERS)))


async def crossed(database, url):
    """Make a change whose rows another transaction locks the other way round."""
    other, outside = await asyncpg.connect(url), await asyncpg.connect(url)
    await other.execute("SET deadlock_timeout = '600s'; BEGIN")
    await other.execute("UPDATE users SET display_name = 'other' WHERE \"user\" = 'alice'")
    crossing = None
    try:
        async with database.change("default") as transaction:
            crossing = asyncio.create_task(other.execute("UPDATE tenants SET display_name = 'other'"))
            await waiting(outside, 1)
            await transaction.connection.exec_driver_sql("UPDATE users SET display_name = 'x' WHERE \"user\" = 'alice'")
    finally:
        await crossing
        await other.close()
        await outside.close()


@pytest.mark.parametrize("altered", ["deadlock_timeout = '50ms'"], indirect=True)
async def test_only_what_has_committed_nothing_is_begun_anew(altered):
    _, url = altered
    database = Database(database_url(url), ChainWriter(b"k" * 32, 1))
    again.begin()
    with pytest.raises(again.Undone):
        await crossed(database, url)
    again.begin()
    async with database.transaction():
        pass
    with pytest.raises(Unavailable) as said:
        await crossed(database, url)
    assert type(said.value) is Unavailable
    await database.close()


@pytest.mark.parametrize("altered", ISOLATION, indirect=True)
async def test_A_05_a_revocation_ends_what_was_written_while_it_waited_whatever_the_servers_isolation(altered):
    world, url = altered
    assert (await world.issue()).status == 201
    other = await asyncpg.connect(url)
    begun, wish = other.transaction(), {"user": "alice", "reason": "left"}
    await begun.start()
    await other.execute("SELECT FROM audit_chains FOR UPDATE")  # so that a group holds its tenant, and is not written
    issuing = asyncio.create_task(world.issue())
    await waiting(other, 1)
    revoking = asyncio.create_task(world.call("POST", "revocations", auth=world.operator, json=wish))
    await waiting(other, 2)
    await begun.commit()
    await other.close()
    issued = await issuing
    assert issued.status == 201, "it came before the revocation"
    assert (await revoking).status == 201
    known = await world.good("GET", f"certificates/{issued.json['serial']}", auth=world.operator)
    assert known["revocation_id"] is not None


async def waiting(outside, number):
    """Return once so many wait for a lock in this database: who waits for a transaction's has some of it, too."""
    here = "SELECT pid FROM pg_locks JOIN pg_database d ON d.oid = database WHERE datname = current_database()"
    async with asyncio.timeout(60):
        while await outside.fetchval(f"SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN ({here})") < number:
            await asyncio.sleep(0.005)
