"""A commit of which nobody knows whether it happened: nothing leaves, the chain holds, and the service goes on."""

import asyncio
import tempfile
from pathlib import Path
from random import Random

import pytest

from tests.conftest import running_world
from tests.store.lossy import lossy
from tests.store.test_commits import counts


@pytest.fixture
async def behind(request, postgres, tmp_path, clock):
    """A world on PostgreSQL whose connections pass through a proxy."""
    with tempfile.TemporaryDirectory(prefix="tms-lossy-") as directory:  # short: a socket's path has 107 characters
        async with (
            lossy(await postgres.fresh(), Path(directory)) as (proxy, url),
            running_world(tmp_path / "data", url, clock) as world,
        ):
            await world.furnish()
            yield world, proxy


async def test_E_01_a_group_whose_commit_is_lost_is_refused_and_the_next_is_written(behind):
    world, proxy = behind
    assert (await world.issue()).status == 201
    proxy.lose = True
    lost = await world.issue()
    assert (lost.status, lost.code) == (503, "database_unavailable")
    assert proxy.lost == 1
    for _ in range(3):
        assert (await world.issue()).status == 201
    assert (await counts(world))[0] == 5  # the lost one is on record: a row too many, never one too few
    verified = await world.context.auditing.verify()
    assert verified.faults == ()
    assert verified.chains == 3  # of the changes, of the groups before it, of the groups after it


async def test_E_01_a_change_whose_commit_is_lost_is_refused_and_the_next_is_made(behind):
    world, proxy = behind
    proxy.lose = True
    lost = await world.call("PATCH", "users/alice", auth=world.operator, json={"enabled": False})
    assert (lost.status, lost.code) == (503, "database_unavailable")
    assert proxy.lost == 1
    assert (await world.issue()).status == 403
    await world.good("PATCH", "users/alice", auth=world.operator, json={"enabled": True})
    assert (await world.issue()).status == 201
    assert (await world.context.auditing.verify()).faults == ()


async def test_a_client_that_goes_away_at_any_moment_leaves_the_chain_whole(world):
    dice = Random(3)
    path = "/api/v1/tenants/default/users/alice"
    for number in range(40):
        body = f'{{"display_name": "name {number}"}}'.encode()
        _, writer = await asyncio.open_connection(world.base.host, world.base.port)
        head = f"PATCH {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {world.operator}\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        await writer.drain()
        await asyncio.sleep(0.001 * dice.randrange(10))
        writer.transport.abort()
        if number % 5 == 0:
            assert (await world.issue()).status in {201, 503}
    async with asyncio.timeout(60):
        while (said := await world.issue()).status != 201:  # before the last of those changes is over
            assert (said.status, said.code) == (503, "changed_meanwhile")
    user = await world.good("GET", "users/alice", auth=world.operator)
    assert user["display_name"].startswith("name ")
    assert (await world.context.auditing.verify()).faults == ()
