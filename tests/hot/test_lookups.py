"""Rows by their keys: on PostgreSQL many requests share a round trip, and each gets its own row or error."""

import asyncio

import asyncpg
import pytest
from sqlalchemy import insert

from tests.conftest import _Postgres
from tms_ca.core.errors import Unavailable
from tms_ca.store import facts_sql
from tms_ca.store import tables as t
from tms_ca.store.engine import database_url, make_engine
from tms_ca.store.facts import FactsReader
from tms_ca.store.hot_postgres import PostgresDriver
from tms_ca.store.lookups import Lookup

TENANTS = ["a", "b", "c"]
SECONDS = 60


class Counted(PostgresDriver):
    """PostgreSQL's own driver; the round trips of reads are counted."""

    fetches = 0

    async def fetch(self, prepared, args):
        self.fetches += 1
        return await super().fetch(prepared, args)


@pytest.fixture
async def driver(request, postgres: _Postgres):
    if request.config.getoption("--db") == "sqlite":
        pytest.skip("--db sqlite")
    url = database_url(await postgres.fresh())
    engine = make_engine(url)
    async with engine.begin() as connection:
        for number, tenant in enumerate(TENANTS):
            values = {
                "display_name": "", "enabled": True, "mfa_window_seconds": 1, "default_ttl_seconds": 1, "max_ttl_seconds": 1,
            }  # fmt: skip
            await connection.execute(insert(t.tenants).values(tenant=tenant, epoch=number + 1, created_at=1, **values))
            for key in range(0, 50, 2):
                banned = {"fingerprint": f"k{key}", "standing": "revoked", "tenant": tenant}
                await connection.execute(insert(t.forbidden_keys).values(**banned))
    await engine.dispose()
    made = await Counted.open(url)
    made.url = url.set(drivername="postgresql").render_as_string(hide_password=False)
    yield made
    await made.close()


async def test_many_keys_share_round_trips_and_each_gets_its_own_row(driver):
    reader = FactsReader(driver)
    asked = [(tenant, f"k{key}") for key in range(50) for tenant in [*TENANTS, "nowhere"]]
    async with asyncio.timeout(SECONDS):
        found = await asyncio.gather(*(reader.standing(tenant, key) for tenant, key in asked * 2))
    assert driver.fetches <= 3
    for (tenant, key), answer in zip(asked * 2, found, strict=True):
        if tenant == "nowhere":
            assert answer is None
        else:
            epoch, standing = answer
            assert epoch == TENANTS.index(tenant) + 1
            assert (standing is not None) == (int(key[1:]) % 2 == 0), (tenant, key)


async def epoch_of(reader: FactsReader, tenant: str) -> int:
    return (await reader.standing(tenant, "SHA256:none"))[0]


async def test_requests_that_come_one_after_another_have_round_trips_of_their_own(driver):
    reader = FactsReader(driver)
    for number in range(5):
        assert await epoch_of(reader, "b") == 2
        assert driver.fetches == number + 1


async def test_texts_that_mean_something_to_sql_are_keys_like_others(driver):
    reader = FactsReader(driver)
    odd = ["", "'", '"', "\\", "{}", "{a,b}", "NULL", "k0'--", "k0,k2", "%", "é\U0001f600", "x" * 5000]
    async with asyncio.timeout(SECONDS):
        found = await asyncio.gather(*(reader.standing("a", key) for key in [*odd, "k0"]))
    assert found[:-1] == [(1, None)] * len(odd)
    assert found[-1][1] is not None


async def test_a_request_that_went_away_disturbs_nobody(driver):
    reader = FactsReader(driver)
    for late in (False, True):
        tasks = [asyncio.create_task(reader.standing(TENANTS[n % 3], f"k{n}")) for n in range(30)]
        await asyncio.sleep(0)
        if late:
            await asyncio.sleep(0.0005)
        gone = tasks[::3]
        for one in gone:
            one.cancel()
        async with asyncio.timeout(SECONDS):
            found = await asyncio.gather(*tasks, return_exceptions=True)
        for number, answer in enumerate(found):
            if tasks[number] in gone:
                assert isinstance(answer, asyncio.CancelledError) or answer[0] == number % 3 + 1
            else:
                assert (answer[0], answer[1] is not None) == (number % 3 + 1, number % 2 == 0)
    for one in [asyncio.create_task(epoch_of(reader, "a")) for _ in range(3)]:  # a batch of which nobody is left
        await asyncio.sleep(0)
        one.cancel()
    assert await epoch_of(reader, "c") == 3


async def test_an_error_reaches_all_that_wait_and_the_next_batch_works(driver):
    reader = FactsReader(driver)
    assert await epoch_of(reader, "a") == 1
    other = await asyncpg.connect(driver.url)
    for _ in range(3):
        await other.execute("ALTER TABLE tenants RENAME TO elsewhere")
        async with asyncio.timeout(SECONDS):
            found = await asyncio.gather(*(epoch_of(reader, one) for one in TENANTS * 5), return_exceptions=True)
        assert [type(one) for one in found] == [Unavailable] * 15
        await other.execute("ALTER TABLE elsewhere RENAME TO tenants")
        async with asyncio.timeout(SECONDS):
            assert await asyncio.gather(*(epoch_of(reader, one) for one in TENANTS * 5)) == [1, 2, 3] * 5
    await other.close()


async def test_a_key_that_the_database_does_not_take_spoils_its_batch_and_no_other(driver):
    lookup = Lookup(driver, facts_sql.issued_one(), facts_sql.issued_many())
    async with asyncio.timeout(SECONDS):
        found = await asyncio.gather(*(lookup.get(key, "a") for key in (1, 2**63, 2)), return_exceptions=True)
        assert all(isinstance(one, Exception) for one in found)
        assert await asyncio.gather(lookup.get(1, "a"), lookup.get(2, "a")) == [None, None]


async def test_A_06_each_is_answered_by_what_was_true_after_it_asked(driver):
    """Who comes while a batch is under way waits for the next: it may have been told of a change already."""
    reader = FactsReader(driver)
    other = await asyncpg.connect(driver.url)
    for number in range(10):
        transaction = other.transaction()
        await transaction.start()
        await other.execute("LOCK TABLE tenants IN ACCESS EXCLUSIVE MODE")
        early = [asyncio.create_task(epoch_of(reader, "a")) for _ in range(3)]
        await asyncio.sleep(0.005)
        assert not any(one.done() for one in early)
        late = [asyncio.create_task(epoch_of(reader, "a")) for _ in range(3)]
        await asyncio.sleep(0)
        await other.execute("UPDATE tenants SET epoch = $1 WHERE tenant = 'a'", 100 + number)
        await transaction.commit()
        after = [asyncio.create_task(epoch_of(reader, "a")) for _ in range(3)]
        async with asyncio.timeout(SECONDS):
            assert await asyncio.gather(*early, *late, *after) == [100 + number] * 9
    await other.close()


async def test_A_06_no_answer_is_older_than_its_question(driver):
    """Changes and questions at once: whoever asks after a change was committed never hears of the time before."""
    reader = FactsReader(driver)
    other = await asyncpg.connect(driver.url)
    committed, stop, heard = 1, asyncio.Event(), 0

    async def ask() -> None:
        nonlocal heard
        while not stop.is_set():
            least = committed
            found = await epoch_of(reader, "a")
            assert found >= least
            heard += 1

    asking = [asyncio.create_task(ask()) for _ in range(10)]
    while committed < 150 or heard <= 300:
        assert not any(one.done() for one in asking)
        committed = await other.fetchval("UPDATE tenants SET epoch = epoch + 1 WHERE tenant = 'a' RETURNING epoch")
    stop.set()
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*asking)
    assert driver.fetches < heard / 2, "they do not share round trips"
    await other.close()
