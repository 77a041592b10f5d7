"""A group is one statement: what it writes, what it refuses, and that it is one round trip."""

import asyncio
import dataclasses

import asyncpg
import pytest
from sqlalchemy import select, update

from tests.conftest import OUR_TIMES
from tests.store.test_commits import counts, entry, epoch_of
from tms_ca.core.errors import Unavailable
from tms_ca.store import postgres
from tms_ca.store.engine import database_url
from tms_ca.store.group_statement import CERTIFICATES, EVENTS, STATEMENT
from tms_ca.store.hot import Entry
from tms_ca.store.postgres import Connector
from tms_ca.store.postgres_lines import is_certain, is_spoiled
from tms_ca.store.tables import audit_chains, audit_events, certificates, tenants


@pytest.fixture
async def on_postgres(request, bare_world, database_kind):
    if database_kind != "postgres":
        pytest.skip("SQLite has no round trips")
    return bare_world


def driver_of(world):
    """Return the driver itself, not what measures it."""
    driver = world.context.commits._driver
    return getattr(driver, "_driver", driver)


class Counted:
    """Counts the statements that the writer's connection is given."""

    def __init__(self, world) -> None:
        self._lines = driver_of(world)._writer
        self._fetch = self._lines.fetch
        self.statements: list[str] = []

    def __enter__(self):
        async def fetch(sql, args):
            self.statements.append(sql)
            return await self._fetch(sql, args)

        self._lines.fetch = fetch
        return self

    def __exit__(self, *_):
        self._lines.fetch = self._fetch


async def test_a_group_is_one_round_trip(on_postgres):
    epoch = await epoch_of(on_postgres)
    assert await on_postgres.context.commits.submit(entry(1, epoch))
    with Counted(on_postgres) as counted:
        entries = [entry(serial, epoch) for serial in range(2, 102)]
        assert await asyncio.gather(*map(on_postgres.context.commits.submit, entries)) == [True] * 100
    assert len(counted.statements) <= 2
    assert set(counted.statements) == {STATEMENT}
    assert await counts(on_postgres) == (101, 101)


async def test_void_entries_cost_one_more_and_leave_the_others(on_postgres):
    epoch = await epoch_of(on_postgres)
    assert await on_postgres.context.commits.submit(entry(1, epoch))
    driver, chain = driver_of(on_postgres), on_postgres.context.commits._chain
    refusal = Entry(dataclasses.replace(entry(9, 0).event, outcome="mfa_expired"))
    with Counted(on_postgres) as counted:
        group = [entry(2, epoch), entry(3, epoch - 1), entry(4, epoch + 1), refusal]
        assert await driver.commit(group, chain) == [True, False, False, True]
    assert len(counted.statements) == 2
    async with on_postgres.context.directory._database.read() as connection:
        serials = (
            (await connection.execute(select(certificates.c.serial).order_by(certificates.c.serial))).scalars().all()
        )
    assert serials == [1, 2]
    assert (await on_postgres.context.auditing.verify()).faults == ()


async def test_several_tenants_stand_and_fall_alone(on_postgres):
    await on_postgres.good("POST", "/api/v1/tenants", auth=on_postgres.operator, json={"tenant": "other"})
    driver, chain = driver_of(on_postgres), on_postgres.context.commits._chain
    epoch = await epoch_of(on_postgres)
    assert await on_postgres.context.commits.submit(entry(1, epoch))

    def of(tenant: str, serial: int, seen: int) -> Entry:
        one = entry(serial, seen)
        return Entry(
            dataclasses.replace(one.event, tenant=tenant), dataclasses.replace(one.certificate, tenant=tenant), seen
        )

    database = on_postgres.context.directory._database
    async with database.read() as connection:
        other = (await connection.execute(select(tenants.c.epoch).where(tenants.c.tenant == "other"))).scalar_one()
    group = [entry(2, epoch), of("other", 3, other), of("nowhere", 4, 1)]
    assert await driver.commit(group, chain) == [True, True, False]
    async with database.engine.begin() as connection:
        await connection.execute(update(tenants).where(tenants.c.tenant == "other").values(epoch=other + 1))
    group = [entry(5, epoch), of("other", 6, other)]
    assert await driver.commit(group, chain) == [True, False]
    assert (await on_postgres.context.auditing.verify()).faults == ()


async def test_a_change_that_is_being_made_is_waited_for_and_voids(on_postgres):
    """The share lock: a group comes wholly before a change of its tenant, or wholly after it."""
    epoch = await epoch_of(on_postgres)
    commits = on_postgres.context.commits
    assert await commits.submit(entry(1, epoch))
    changer = await asyncpg.connect(on_postgres.settings.database_url)
    try:
        for end, answer in (("ROLLBACK", True), ("COMMIT", False)):
            await changer.execute("BEGIN; UPDATE tenants SET epoch = epoch + 1 WHERE tenant = 'default'")
            waiting = asyncio.create_task(commits.submit(entry(2 if answer else 3, epoch)))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            await changer.execute(end)
            assert await waiting is answer
    finally:
        await changer.close()
    assert await counts(on_postgres) == (2, 2)


async def test_a_change_that_was_stopped_in_the_middle_is_ended_by_the_server(on_postgres, monkeypatch):
    """Its replica is frozen with the tenant's row in its hands; others wait no longer than a request may take."""
    of_a_request, *_, idle = OUR_TIMES
    assert float(idle.removesuffix("s")) < of_a_request
    await on_postgres.furnish()
    monkeypatch.setitem(postgres.SERVER_SETTINGS, "idle_in_transaction_session_timeout", "1s")
    stopped = await Connector(database_url(on_postgres.settings.database_url)).connect()
    try:
        await stopped.execute("BEGIN")
        await stopped.execute("UPDATE tenants SET epoch = epoch + 1 WHERE tenant = 'default'")
        body = {"delegation_id": on_postgres.delegation["id"], "reason": "test"}
        await on_postgres.good("POST", "revocations", auth=on_postgres.operator, json=body)
        assert (await on_postgres.issue()).status == 403
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await stopped.execute("COMMIT")
    finally:
        stopped.terminate()


async def test_a_chain_that_is_no_longer_there_is_not_written_to(on_postgres):
    epoch = await epoch_of(on_postgres)
    commits = on_postgres.context.commits
    assert await commits.submit(entry(1, epoch))
    async with on_postgres.context.directory._database.engine.begin() as connection:
        await connection.execute(audit_chains.delete().where(audit_chains.c.chain == commits._chain.chain))
    with pytest.raises(Unavailable):
        await commits.submit(entry(2, epoch))
    assert await commits.submit(entry(3, epoch)), "the next begins another"


async def test_what_cannot_be_written_spoils_only_itself(on_postgres):
    """A text that PostgreSQL does not take, and one that cannot even be encoded."""
    epoch = await epoch_of(on_postgres)
    commits = on_postgres.context.commits
    assert await commits.submit(entry(1, epoch))
    bad = [dataclasses.replace(entry(7, epoch).event, target=text) for text in ("nul \0", "half \ud800")]
    group = [entry(2, epoch), *(dataclasses.replace(entry(7, epoch), event=event) for event in bad), entry(3, epoch)]
    answers = await asyncio.gather(*map(commits.submit, group), return_exceptions=True)
    assert [answer is True for answer in answers] == [True, False, False, True]
    assert await counts(on_postgres) == (3, 3)
    assert (await on_postgres.context.auditing.verify()).faults == ()


async def test_a_server_that_runs_serializably_is_asked_again(on_postgres, monkeypatch):
    """40001 and 40P01 say: nothing was done, ask again. Two such answers, and then the real one."""
    epoch = await epoch_of(on_postgres)
    commits = on_postgres.context.commits
    assert await commits.submit(entry(1, epoch))
    database = on_postgres.context.directory._database
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql("CREATE SEQUENCE tries")
        await connection.exec_driver_sql(
            "CREATE FUNCTION again() RETURNS trigger AS $$ BEGIN IF nextval('tries') < 3 THEN "
            "RAISE EXCEPTION 'again' USING ERRCODE = CASE nextval('tries') WHEN 2 THEN '40001' ELSE '40P01' END; END IF; "
            "RETURN NEW; END $$ LANGUAGE plpgsql"
        )
        await connection.exec_driver_sql(
            "CREATE TRIGGER again BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION again()"
        )
    with Counted(on_postgres) as counted:
        assert await commits.submit(entry(2, epoch))
    assert len(counted.statements) == 2
    assert await counts(on_postgres) == (2, 2)
    assert (await on_postgres.context.auditing.verify()).faults == ()


def error(kind: type, **fields: str) -> Exception:
    made = kind("x")
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(("one", "certain", "spoiled"), [
    (error(asyncpg.UniqueViolationError, severity_en="ERROR"), True, True),
    (error(asyncpg.QueryCanceledError, severity_en="ERROR"), True, False),
    (error(asyncpg.StatementCompletionUnknownError, severity_en="ERROR"), False, False),
    (error(asyncpg.AdminShutdownError, severity_en="FATAL"), False, False),
    (TimeoutError(), False, False),
    (ConnectionResetError(), False, False),
    (asyncpg.ConnectionDoesNotExistError("gone"), False, False),
    (asyncpg.InterfaceError("closed"), False, False),
    (asyncpg.DataError("half a surrogate, found by asyncpg"), True, True),
], ids=lambda one: type(one).__name__ if isinstance(one, Exception) else str(one))  # fmt: skip
def test_what_an_error_says_of_the_commit(one, certain, spoiled):
    assert (is_certain(one), is_spoiled(one)) == (certain, spoiled)


def test_every_column_is_in_the_statement():
    for table, part in ((certificates, CERTIFICATES), (audit_events, EVENTS)):
        names = [column.name for column in table.columns if (table.name, column.name) != ("certificates", "id")]
        assert part.insert(1, "true").startswith(
            f"INSERT INTO {table.name} ({', '.join(map(repr, names))})".replace("'", '"')
        )
