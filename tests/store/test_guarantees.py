"""What the hot path's own connections promise, and what is left of a group whose audit events cannot be written."""

import asyncio
import sqlite3
from dataclasses import replace

import pytest
from sqlalchemy import select, text

from tests.store.test_commits import counts, entry, epoch_of
from tms_ca.core.errors import Unavailable
from tms_ca.store.tables import audit_chains, audit_events


async def test_E_02_every_connection_of_a_running_service_is_durable(world, database_kind):
    """Not what a fresh connection would say: those that this service has open and writes with."""
    database, driver = world.context.directory._database, world.context.commits._driver
    driver = getattr(driver, "_driver", driver)  # not what measures it
    if database_kind == "postgres":
        for lines in (driver._readers, driver._writer):
            assert [tuple(row) for row in await lines.fetch("SHOW synchronous_commit", ())] == [("on",)]
        async with database.engine.connect() as connection:
            assert (await connection.execute(text("SHOW synchronous_commit"))).scalar_one() == "on"
        return
    assert (await world.issue()).status == 201
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}

    def promises(connection: sqlite3.Connection) -> dict:
        return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted}

    assert await driver._thread.do(promises, driver._writer) == wanted
    assert promises(driver._reader) == wanted
    assert promises(driver._checkpoints._connection) == wanted  # it flushes the log before the file, then the file
    async with database.read() as one, database.read() as two:
        for connection in (one, two):
            found = {name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar() for name in wanted}
            assert found == wanted


BREAK = {
    "sqlite": ["CREATE TRIGGER broken BEFORE INSERT ON audit_events WHEN NEW.seq % 3 = 0 BEGIN SELECT RAISE(FAIL, 'full'); END"],
    "postgres": [
        "CREATE FUNCTION broken() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'full'; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER broken BEFORE INSERT ON audit_events FOR EACH ROW WHEN (NEW.seq % 3 = 0) EXECUTE FUNCTION broken()",
    ],
}  # fmt: skip
MEND = {"sqlite": "DROP TRIGGER broken", "postgres": "DROP TRIGGER broken ON audit_events"}


async def test_E_03_a_group_of_which_one_event_cannot_be_written_is_not_written(bare_world, database_kind):
    commits, database = bare_world.context.commits, bare_world.context.directory._database
    epoch = await epoch_of(bare_world)

    async def heads():
        async with database.read() as connection:
            return (await connection.execute(select(audit_chains))).all()

    assert await commits.submit(entry(1, epoch))
    before = await heads()
    async with database.engine.begin() as connection:
        for statement in BREAK[database_kind]:
            await connection.execute(text(statement))
    answers = await asyncio.gather(*(commits.submit(entry(n, epoch)) for n in range(2, 12)), return_exceptions=True)
    # A rule of the schema, as a trigger is on SQLite, is tried one by one: what can be written alone, is.
    refused = [n for n, answer in enumerate(answers, start=2) if isinstance(answer, Unavailable)]
    assert refused
    assert all(answer is True for n, answer in enumerate(answers, start=2) if n not in refused)
    kept = 11 - len(refused)
    assert await counts(bare_world) == (kept, kept)
    if kept == 1:
        assert await heads() == before
    async with database.engine.begin() as connection:
        await connection.execute(text(MEND[database_kind]))
    assert await asyncio.gather(*(commits.submit(entry(n, epoch)) for n in refused)) == [True] * len(refused)
    assert await counts(bare_world) == (11, 11)
    assert (await bare_world.context.auditing.verify()).faults == ()


async def test_the_chain_has_the_order_of_the_requests(bare_world):
    commits = bare_world.context.commits
    epoch = await epoch_of(bare_world)
    await asyncio.gather(*(commits.submit(entry(serial, epoch)) for serial in range(1, 601)))
    async with bare_world.context.directory._database.read() as connection:
        query = select(audit_events.c.target, audit_events.c.seq).order_by(audit_events.c.seq)
        rows = (await connection.execute(query.where(audit_events.c.action == "certificates.issue"))).all()
    assert [row.target for row in rows] == [f"serial:{serial}" for serial in range(1, 601)]
    assert [row.seq for row in rows] == list(range(rows[0].seq, rows[0].seq + 600))


async def test_a_request_that_was_given_up_harms_nobody(bare_world):
    commits = bare_world.context.commits
    epoch = await epoch_of(bare_world)
    tasks = [asyncio.ensure_future(commits.submit(entry(serial, epoch))) for serial in range(1, 21)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert answers[1::2] == [True] * 10
    assert await counts(bare_world) == (20, 20)  # on record all the same: nobody holds what is not


@pytest.mark.parametrize("what", ["certificate", "event"])
async def test_E_03_a_value_that_the_database_cannot_hold_spoils_only_itself(bare_world, what):
    """Such as a nul byte, or half a surrogate: nothing lets them come so far, and if one did it would be alone."""
    commits = bare_world.context.commits
    epoch = await epoch_of(bare_world)
    bad = entry(2, epoch)
    if what == "certificate":
        bad = replace(bad, certificate=replace(bad.certificate, key_id="\ud800"))
    else:
        bad = replace(bad, event=replace(bad.event, target="\ud800"))
    answers = await asyncio.gather(
        *(commits.submit(one) for one in (entry(1, epoch), bad, entry(3, epoch))), return_exceptions=True
    )
    assert isinstance(answers[1], Unavailable)
    assert await commits.submit(entry(4, epoch))
    good = 1 + sum(answer is True for answer in answers)
    assert await counts(bare_world) == (good, good)
    assert (await bare_world.context.auditing.verify()).faults == ()
