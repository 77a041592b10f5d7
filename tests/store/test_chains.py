"""F-06 with several writers: each has its chain, all verify, and a fault is named in its own chain alone."""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import delete, insert, select, update

from tests.store.test_races import second_service
from tests.store.test_tampering import COLUMNS, _key, _other, _rows
from tms_ca.store.tables import audit_chains, audit_events


@pytest.fixture
async def three(world):
    """Three services on one database that have issued and changed things at the same time."""
    async with AsyncExitStack() as stack:
        services = [world, *[await stack.enter_async_context(second_service(world)) for _ in range(2)]]

        async def work(service, number):
            for turn in range(4):
                assert (await service.issue()).status in {201, 503}
                body = {"display_name": f"{number} {turn}"}
                await service.good("PATCH", "users/alice", auth=service.operator, json=body)

        await asyncio.gather(*(work(service, number) for number, service in enumerate(services)))
        for service in services:  # of whom one may have been refused each time
            assert (await service.issue()).status == 201
        yield services


def chains_of(rows) -> dict[str, list]:
    found: dict[str, list] = {}
    for row in rows:
        found.setdefault(row["chain"], []).append(row)
    return found


async def test_F_06_writers_at_once_have_chains_of_their_own_that_verify(three):
    world = three[0]
    chains = chains_of(await _rows(world.context.directory._database))
    assert len(chains) == 1 + 2 * 3  # whoever furnished the world; each one's of changes, and of groups
    for rows in chains.values():
        assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    for service in three:
        verified = await service.context.auditing.verify()
        assert (verified.chains, verified.faults) == (7, ())
        assert verified.events == sum(map(len, chains.values()))


async def put(connection, rows):
    await connection.execute(delete(audit_events))
    await connection.execute(insert(audit_events), rows)


def renumbered(rows):
    return [{**row, "seq": number} for number, row in enumerate(rows, start=1)]


def tampered(dice, rows):
    """Return the rows of one chain, tampered with by one who numbers them anew, and the first bad place."""
    at = dice.randrange(len(rows))
    match dice.choice(["edit", "last", "delete", "insert", "swap", "move", "other chain's"]):
        case "last":
            return rows[:-1], len(rows)
        case "delete":
            return renumbered(rows[:at] + rows[at + 1 :]), at + 1
        case "insert":
            return renumbered([*rows[: at + 1], *rows[at:]]), at + 2
        case "swap" if at + 1 < len(rows):
            return renumbered([*rows[:at], rows[at + 1], rows[at], *rows[at + 2 :]]), at + 1
        case "move" if len(rows) > 1:
            to = dice.randrange(len(rows) - 1)
            rest = rows[:at] + rows[at + 1 :]
            if to != at:
                return renumbered([*rest[:to], rows[at], *rest[to:]]), min(at, to) + 1
    column = dice.choice(COLUMNS)
    return [*rows[:at], {**rows[at], column: _other(rows[at][column])}, *rows[at + 1 :]], at + 1


async def test_F_06_a_fault_is_named_where_it_begins_and_in_its_chain_alone(three):
    database, auditing = three[0].context.directory._database, three[0].context.auditing
    rows = await _rows(database)
    chains = chains_of(rows)
    dice = random.Random(66)
    for number in range(60):
        chain = dice.choice(sorted(chains))
        bad, seq = tampered(dice, chains[chain])
        others = [row for name, kept in chains.items() if name != chain for row in kept]
        async with database.engine.begin() as connection:
            await put(connection, others + bad)
        faults = (await auditing.verify()).faults
        assert [(fault.chain, fault.seq) for fault in faults] == [(chain, seq)], number
    async with database.engine.begin() as connection:
        await put(connection, rows)
    assert (await auditing.verify()).faults == ()


async def test_F_06_a_row_moved_to_another_chain_is_found_in_both(three):
    database, auditing = three[0].context.directory._database, three[0].context.auditing
    chains = chains_of(await _rows(database))
    (one, mine), (other, theirs) = sorted(chains.items())[:2]
    async with database.engine.begin() as connection:
        moved = update(audit_events).where(_key(mine[-1])).values(chain=other, seq=len(theirs) + 1)
        await connection.execute(moved)
    faults = {(fault.chain, fault.seq) for fault in (await auditing.verify()).faults}
    assert faults == {(one, len(mine)), (other, len(theirs) + 1)}


async def test_F_06_a_chain_without_its_head_and_a_head_without_its_chain(three):
    database, auditing = three[0].context.directory._database, three[0].context.auditing
    chains = chains_of(await _rows(database))
    one, other = sorted(chains)[:2]
    async with database.engine.begin() as connection:
        await connection.execute(delete(audit_chains).where(audit_chains.c.chain == one))
        await connection.execute(delete(audit_events).where(audit_events.c.chain == other))
    assert {(fault.chain, fault.seq) for fault in (await auditing.verify()).faults} == {(one, 1), (other, 1)}


async def test_F_06_a_head_of_an_older_day_is_not_the_head_of_today(three):
    """A true head with a true seal, put back together with the events that it covered, is a shorter chain."""
    database, auditing = three[0].context.directory._database, three[0].context.auditing
    async with database.read() as connection:
        old = {row["chain"]: dict(row) for row in (await connection.execute(select(audit_chains))).mappings()}
    chain = three[0].context.commits._chain.chain
    assert (await three[0].issue()).status == 201
    async with database.engine.begin() as connection:
        await connection.execute(update(audit_chains).where(audit_chains.c.chain == chain).values(**old[chain]))
    (fault,) = (await auditing.verify()).faults
    assert (fault.chain, fault.seq) == (chain, old[chain]["head_seq"] + 2)
