"""One time for all that a request waits for in PostgreSQL, and one queue for the changes of a tenant."""

import asyncio
import gc
import weakref

import pytest
from sqlalchemy import func, select, text

from tms_ca.core.errors import Unavailable
from tms_ca.store import deadline
from tms_ca.store.chainwriter import ChainWriter
from tms_ca.store.engine import Database, database_url
from tms_ca.store.hot import Prepared
from tms_ca.store.hot_postgres import PostgresDriver
from tms_ca.store.postgres import Connector

NAP = text("SELECT pg_sleep(0.01)")
LONG_NAP = text("SELECT pg_sleep(600)")
PID = text("SELECT pg_backend_pid()")


@pytest.fixture
async def database(postgres):
    opened = Database(database_url(await postgres.fresh()), ChainWriter(b"k", 1))
    yield opened
    await opened.close()


@pytest.fixture
async def pass_(monkeypatch):
    """Return what lets almost all of a request's time pass; a statement has more than that."""
    loop = asyncio.get_running_loop()
    real, ahead = loop.time, 0.0
    monkeypatch.setattr(deadline, "REQUEST_SECONDS", 30.0)
    monkeypatch.setattr(loop, "time", lambda: real() + ahead)

    def most() -> None:
        nonlocal ahead
        ahead += 29.7

    return most


async def nap(database, kind=NAP) -> None:
    async with database.read() as connection:
        await connection.execute(kind)


async def naps(database, count: int) -> int:
    for _ in range(count):
        await nap(database)
    return count


async def test_two_statements_share_the_time_of_their_request(database, pass_):
    deadline.begin()
    await nap(database)
    pass_()
    async with asyncio.timeout(20):
        with pytest.raises(Unavailable):
            await nap(database, LONG_NAP)


async def test_what_no_request_began_and_what_one_leaves_behind_have_the_time_of_each_statement(database, pass_):
    async def request() -> asyncio.Task[int]:
        deadline.begin()
        pass_()
        pass_()
        return asyncio.create_task(naps(database, 2))

    left = await asyncio.create_task(request())
    assert await asyncio.gather(left, naps(database, 2)) == [2, 2]


async def test_the_hot_path_shares_it_and_gives_up_no_more_than_the_one_connection(database, pass_):
    driver = await PostgresDriver.open(database.url)
    outside = await Connector(database.url).connect()
    try:
        short, long, locked, pid = (
            Prepared(select(what), driver.dialect)
            for what in (func.pg_sleep(0.01), func.pg_sleep(600), func.pg_advisory_lock(7), func.pg_backend_pid())
        )
        await outside.execute("SELECT pg_advisory_lock(7)")

        async def request() -> None:
            deadline.begin()
            await driver.fetch(short, short.args({}))
            pass_()
            with pytest.raises(Unavailable):
                await driver.fetch(long, long.args({}))

        other = asyncio.create_task(driver.fetch(locked, locked.args({})))
        await asyncio.create_task(request())
        assert not other.done(), "it began before, and ends after"
        assert await driver.fetch(pid, [])
        await outside.execute("SELECT pg_advisory_unlock(7)")
        assert await other, "nobody concludes that the server is away"
    finally:
        await driver.close()
        await outside.close()


async def test_other_waits_of_a_request_end_with_its_time(monkeypatch):
    assert deadline.at_most(2.0) == 2.0
    deadline.begin()
    assert deadline.at_most(2.0) == 2.0
    assert deadline.at_most(60.0) <= deadline.REQUEST_SECONDS
    monkeypatch.setattr(deadline, "REQUEST_SECONDS", -1.0)
    deadline.begin()
    assert deadline.at_most(2.0) == 0.0

    async def left_behind() -> float:
        return deadline.at_most(2.0)

    assert await asyncio.create_task(left_behind()) == 2.0


async def test_a_request_whose_time_is_over_leaves_no_lock_and_its_connection_is_not_used_again(database, pass_):
    async def late() -> int:
        deadline.begin()
        async with database.change("default") as transaction:
            pid = (await transaction.connection.execute(PID)).scalar_one()
            pids.append(pid)
            await transaction.connection.execute(NAP)
            pass_()
            await transaction.connection.execute(LONG_NAP)
        return pid

    pids: list[int] = []
    with pytest.raises(Unavailable):
        await asyncio.create_task(late())
    async with database.change("default") as transaction:
        assert (await transaction.connection.execute(PID)).scalar_one() != pids[0]
    assert database.engine.pool.checkedout() == 0


async def test_a_request_that_waits_for_its_turn_is_answered_in_its_time(database, monkeypatch):
    monkeypatch.setattr(deadline, "REQUEST_SECONDS", 0.2)

    async def another() -> None:
        deadline.begin()
        async with database.change("default"):
            pytest.fail("two changes of a tenant at once")

    async with database.change("default"):
        with pytest.raises(Unavailable):
            await asyncio.create_task(another())


async def test_changes_of_a_tenant_come_in_order_and_those_that_wait_hold_no_connection(database):
    done: list[int] = []
    held: list[int] = []

    async def change(number: int) -> None:
        async with database.change("default") as transaction:
            await transaction.connection.execute(PID)
            held.append(database.engine.pool.checkedout())
        done.append(number)

    async with database.change("default"):
        waiting = [asyncio.create_task(change(number)) for number in range(40)]
        await asyncio.sleep(0)
        async with database.change("other") as transaction:
            await transaction.connection.execute(PID)  # another tenant's change does not wait
        assert not any(task.done() for task in waiting)
    await asyncio.gather(*waiting)
    assert done == list(range(40))
    assert set(held) == {1}


async def test_the_task_of_a_request_that_is_over_is_let_go_at_once():
    async def request() -> None:
        deadline.begin()

    gc.disable()
    try:
        task = asyncio.create_task(request())
        await task
        seen = weakref.ref(task)
        del task
        await asyncio.sleep(0)  # the loop has it in its hand until then
        assert seen() is None
    finally:
        gc.enable()
