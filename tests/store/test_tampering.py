"""F-06: whatever single row of the audit trail is changed, verify names the first place that does not hold."""

import random

import pytest
from sqlalchemy import delete, insert, select, update

from tests.conftest import running_world
from tms_ca.store.tables import audit_chains, audit_events

COLUMNS = ["at_ms", "tenant", "actor", "action", "outcome", "target", "detail", "request_id", "address", "hash"]


async def _rows(database):
    async with database.read() as connection:
        query = select(audit_events).order_by(audit_events.c.chain, audit_events.c.seq)
        return [dict(row) for row in (await connection.execute(query)).mappings()]


def _other(value):
    if isinstance(value, int):
        return value + 1
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    return value + "x"


def _key(row):
    return (audit_events.c.chain == row["chain"]) & (audit_events.c.seq == row["seq"])


async def _edit(connection, dice, rows):
    row, column = dice.choice(rows), dice.choice(COLUMNS)
    await connection.execute(update(audit_events).where(_key(row)).values(**{column: _other(row[column])}))
    return row["chain"], row["seq"]


async def _remove(connection, dice, rows):
    row = dice.choice(rows)
    await connection.execute(delete(audit_events).where(_key(row)))
    return row["chain"], row["seq"]


async def _append(connection, dice, rows):
    row = dict(dice.choice(rows))
    row["seq"] = max(other["seq"] for other in rows if other["chain"] == row["chain"]) + 1
    await connection.execute(insert(audit_events).values(**row))
    return row["chain"], row["seq"]


async def _swap(connection, dice, rows):
    chain = dice.choice([row["chain"] for row in rows])
    mine = [row for row in rows if row["chain"] == chain]
    at = dice.randrange(len(mine) - 1) if len(mine) > 1 else 0
    first, second = mine[at], mine[min(at + 1, len(mine) - 1)]
    if first is second:
        return await _edit(connection, dice, mine)
    for row, other in ((first, second), (second, first)):
        values = {name: other[name] for name in COLUMNS}
        await connection.execute(update(audit_events).where(_key(row)).values(**values))
    return first["chain"], first["seq"]


TAMPERS = [_edit, _edit, _edit, _remove, _append, _swap]


async def test_F_06_two_hundred_tampers_are_two_hundred_finds(tmp_path, fresh_database, clock):
    data = tmp_path / "data"
    async with running_world(data, fresh_database, clock) as world:
        await world.furnish()
        for _ in range(5):
            assert (await world.issue()).status == 201
    from tms_ca.app import open_context

    async with open_context(world.settings, clock) as context:
        from tests.store.test_commits import entry

        database, auditing = context.directory._database, context.auditing
        await context.commits.submit(entry(4711, -1))  # void: begins this process's chain and writes nothing
        rows = await _rows(database)
        honest = await auditing.verify()
        assert honest.faults == ()
        assert honest.events == len(rows) > 20
        dice = random.Random(6)
        for number in range(200):
            tamper = TAMPERS[number % len(TAMPERS)]
            async with database.engine.begin() as connection:
                chain, seq = await tamper(connection, dice, rows)
            faults = (await auditing.verify()).faults
            assert [(fault.chain, fault.seq) for fault in faults] == [(chain, seq)], (tamper, number)
            async with database.engine.begin() as connection:
                await connection.execute(delete(audit_events))
                await connection.execute(insert(audit_events), rows)
        assert (await auditing.verify()).faults == ()


@pytest.mark.parametrize("column", ["head_seq", "head_hash", "head_mac"])
async def test_F_06_a_changed_head_is_found(world, column):
    database, auditing = world.context.directory._database, world.context.auditing
    async with database.engine.begin() as connection:
        head = (await connection.execute(select(audit_chains))).mappings().first()
        await connection.execute(update(audit_chains).values(**{column: _other(head[column])}))
    assert len((await auditing.verify()).faults) == 1


async def test_F_06_a_shortened_chain_is_found_even_with_a_head_to_match(world):
    """Who can write the database but has no master key cannot seal a shorter chain."""
    database, auditing = world.context.directory._database, world.context.auditing
    rows = await _rows(database)
    async with database.engine.begin() as connection:
        await connection.execute(delete(audit_events).where(_key(rows[-1])))
        await connection.execute(update(audit_chains).values(head_seq=rows[-2]["seq"], head_hash=rows[-2]["hash"]))
    assert [fault.what for fault in (await auditing.verify()).faults] == ["the head's seal is not ours"]


async def test_F_06_events_without_a_head_are_found(world):
    database, auditing = world.context.directory._database, world.context.auditing
    async with database.engine.begin() as connection:
        await connection.execute(delete(audit_chains))
    assert len((await auditing.verify()).faults) == 1
