"""While a tenant stands still, what is decided in it is committed, and its changes wait - those of other processes, too."""

import asyncio

import pytest

from tests.hot.conftest import another
from tms_ca.store import standstill


def renaming(world):
    return asyncio.create_task(
        world.call("PATCH", "users/alice", auth=world.operator, json={"display_name": "renamed"})
    )


async def name_of(world):
    return (await world.good("GET", "users/alice", auth=world.operator))["display_name"]


@pytest.mark.parametrize("whose", ["own", "other"])
async def test_changes_wait_and_certificates_do_not(world, whose):
    async with another(world) as other:
        changer = world if whose == "own" else other
        async with world.context.standstill.hold("default"):
            changing = renaming(changer)
            for _ in range(3):
                assert (await world.issue()).status == 201
                assert (await other.issue()).status == 201
            assert not changing.done()
            assert await name_of(world) != "renamed"
        assert (await changing).status == 200
        assert await name_of(world) == "renamed"


@pytest.mark.parametrize("whose", ["own", "other"])
async def test_another_tenant_changes_meanwhile(world, whose, monkeypatch):
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "other"})
    monkeypatch.setattr(standstill, "MOST_SECONDS", 600)  # whoever waits at all waits too long
    async with another(world) as other, world.context.standstill.hold("default"):
        changer = world if whose == "own" else other
        async with asyncio.timeout(60):
            await changer.good("POST", "clients", auth=world.operator, json={"client_id": "c"}, tenant="other")


@pytest.mark.parametrize("whose", ["own", "other"])
async def test_nobody_waits_for_one_who_does_not_come_back(world, whose, monkeypatch):
    monkeypatch.setattr(standstill, "MOST_SECONDS", 0.1)
    async with another(world) as other:
        async with world.context.standstill.hold("default"):
            changed = await renaming(world if whose == "own" else other)
            assert changed.status == 200


async def test_a_file_that_cannot_be_made_stops_nobody(world):
    database = world.context.directory._database
    if not database.is_sqlite:
        pytest.skip("PostgreSQL needs no file")
    lock = database._others._path
    database._others.close()
    lock.unlink(missing_ok=True)
    lock.mkdir()
    async with world.context.standstill.hold("default"):
        assert (await world.issue()).status == 201
    assert (await renaming(world)).status == 200
