"""A backup that was put back under a service that went on: what it remembers is never taken for what is there now."""

import time

import pytest
from sqlalchemy import delete, update

from tests.api.test_revocations import krl, listed
from tests.fakes import FakeClock
from tms_ca.store import tables as t


@pytest.fixture
def clock():
    return FakeClock(int(time.time()) - 3600)  # tenants are older than now, as they are elsewhere


async def tenant_of(world):
    async with world.context.directory._database.read() as connection:
        return {
            table: dict((await connection.execute(table.select().where(table.c.tenant == "default"))).mappings().one())
            for table in (t.tenants, t.krls)
        }


async def put_back(world, before):
    async with world.context.directory._database.transaction() as transaction:
        for table, row in before.items():
            await transaction.connection.execute(update(table).where(table.c.tenant == "default").values(**row))
        await transaction.connection.execute(delete(t.revoked_certificates))
        await transaction.connection.execute(delete(t.revocations))


async def test_as_many_changes_again_are_not_the_same_epoch(world):
    before = await tenant_of(world)
    assert (await world.issue()).status == 201
    await world.good("PATCH", "users/alice", auth=world.operator, json={"display_name": "a change that is forgotten"})
    for _ in range(3):
        assert (await world.issue()).status == 201  # what it rests on is remembered
    await put_back(world, before)
    await world.good("PATCH", "users/alice", auth=world.operator, json={"enabled": False})
    said = await world.issue()
    assert (said.status, said.json["code"]) == (403, "user_disabled")


async def test_the_next_revocation_is_listed_though_as_many_were_before(world, tmp_path):
    forgotten, next_one = [(await world.issue()).json for _ in range(2)]
    before = await tenant_of(world)
    await world.good("POST", "revocations", auth=world.operator, json={"serial": forgotten["serial"], "reason": "x"})
    assert listed(tmp_path, (await krl(world)).body, forgotten["certificate"])
    await put_back(world, before)
    world.clock.move(2)
    await world.good("POST", "revocations", auth=world.operator, json={"serial": next_one["serial"], "reason": "x"})
    assert listed(tmp_path, (await krl(world)).body, next_one["certificate"])
