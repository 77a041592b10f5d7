"""max_uses: so many real logins and no more, whatever races; helpers ask as often as they like."""

import asyncio
from functools import partial

import pytest

from tests.logins.telling import certificate_of, end_login, lines_of, open_login, second, told
from tests.world import among_many


async def limited(world, uses: int) -> str:
    """Let the portal's only delegation be one for so many logins; return its id."""
    await world.good("POST", f"delegations/{world.delegation['id']}/revoke", auth=world.sessions["alice"])
    made = await world.delegate("alice", "portal", "h1", "alice", constraints={"max_uses": uses})
    return made["id"]


async def uses_left(world, delegation_id: str) -> int | None:
    return (await world.good("GET", f"delegations/{delegation_id}", auth=world.operator))["uses_left"]


async def test_logins_are_counted_down_and_then_refused(world):
    delegation_id = await limited(world, 2)
    certificate = await certificate_of(world)
    for left in (1, 0):
        assert (await world.check(certificate)).status == 200
        body = told(world, certificate)
        reply = await open_login(world, body)
        assert (reply.status, reply.json["counted"], reply.json["uses_left"]) == (201, True, left)
        assert (await open_login(world, body)).json == reply.json  # told again: the same answer, and no count
        assert await uses_left(world, delegation_id) == left
        await end_login(world, body["login_id"])  # an end gives nothing back
    assert (await world.check(certificate)).code == "uses_exhausted"
    assert (await open_login(world, told(world, certificate))).code == "uses_exhausted"
    assert (await world.issue()).code == "uses_exhausted"
    assert (await open_login(world, body)).json == reply.json


async def test_asking_counts_nothing(world):
    delegation_id = await limited(world, 1)
    certificate = await certificate_of(world)
    for _ in range(5):
        assert (await world.check(certificate)).status == 200
    assert await uses_left(world, delegation_id) == 1


async def test_a_refused_login_counts_nothing(world):
    delegation_id = await limited(world, 1)
    certificate = await certificate_of(world)
    assert (await open_login(world, told(world, certificate, account="bob"))).status == 403
    assert await uses_left(world, delegation_id) == 1


async def test_a_yes_says_that_it_is_limited(world):
    unlimited = await lines_of(world, await certificate_of(world))
    assert "X-TMS-Uses" not in unlimited.headers
    await limited(world, 1)
    certificate = await certificate_of(world)
    assert (await lines_of(world, certificate)).headers["X-TMS-Uses"] == "limited"
    assert (await world.check(certificate)).json["limited"] is True


async def test_another_delegation_gives_certificates_when_the_first_is_used_up(world):
    delegation_id = await limited(world, 1)
    first = await certificate_of(world)
    assert (await open_login(world, told(world, first))).status == 201
    other = await world.delegate("alice", "portal", "h1", "alice", lifetime_seconds=3600)
    issued = (await world.issue()).json
    assert issued["delegation_id"] == other["id"] != delegation_id
    assert (await world.check(issued["certificate"])).status == 200
    assert (await world.check(first)).code == "uses_exhausted"


@pytest.mark.parametrize("uses", [0, -1, 1_000_001, True, "5", 1.5])
async def test_a_number_that_is_none_is_refused(world, uses):
    body = {"user": "alice", "host": "h1", "account": "alice", "lifetime_seconds": 3600, "purpose": "x",
            "constraints": {"max_uses": uses}}  # fmt: skip
    reply = await world.call("POST", "delegations", auth=world.clients["portal"], json=body)
    assert (reply.status, reply.code) == (400, "invalid_request")


@pytest.mark.parametrize(("asked", "wish", "granted"), [(5, 3, 3), (5, 5, 5), (None, 3, 3), (5, None, 5), (5, 6, None)])
async def test_approving_narrows_the_number(world, asked, wish, granted):
    constraints = {} if asked is None else {"max_uses": asked}
    made = await world.delegate("alice", "portal", "h1", "alice", approve=False, constraints=constraints)
    body = {} if wish is None else {"max_uses": wish}
    path = f"delegations/{made['id']}/approve"
    reply = await world.call("POST", path, auth=world.sessions["alice"], json=body)
    if granted is None:
        assert (reply.status, reply.code) == (400, "delegation_widened")
        assert reply.json["fields"]["max_uses"] == ["at most 5, which was asked for"]
    else:
        assert (reply.json["uses_left"], reply.json["constraints"]["max_uses"]) == (granted, granted)


async def race(world, certificate: str, racers: int) -> list:
    logins = [partial(open_login, world, told(world, certificate)) for _ in range(racers)]
    return await asyncio.gather(*map(among_many, logins))


async def test_A_08_of_sixty_that_race_for_ten_ten_get_in(world):
    delegation_id = await limited(world, 10)
    certificate = await certificate_of(world)
    replies = await race(world, certificate, 60)
    assert sorted(reply.json["uses_left"] for reply in replies if reply.status == 201) == list(range(10))
    assert {reply.code for reply in replies if reply.status != 201} == {"uses_exhausted"}
    assert await uses_left(world, delegation_id) == 0


async def test_A_08_of_sixty_that_race_for_ten_at_two_services_ten_get_in(world, tmp_path):
    """Two processes' worth of memory on one database: neither may take the other's count for its own."""
    delegation_id = await limited(world, 10)
    certificate = await certificate_of(world)
    async with second(tmp_path / "other", world) as other:
        assert (await other.check(certificate)).status == 200  # now both remember the delegation
        assert (await world.check(certificate)).status == 200
        here, there = await asyncio.gather(race(world, certificate, 30), race(other, certificate, 30))
        replies = here + there
        assert sorted(reply.json["uses_left"] for reply in replies if reply.status == 201) == list(range(10))
        assert {reply.code for reply in replies if reply.status != 201} == {"uses_exhausted"}
        assert {(await one.check(certificate)).code for one in (world, other)} == {"uses_exhausted"}
        assert await uses_left(other, delegation_id) == 0


async def test_a_late_login_is_counted_and_never_below_nothing(world):
    delegation_id = await limited(world, 1)
    certificate = await certificate_of(world)
    first = await open_login(world, told(world, certificate, late=True))
    assert (first.status, first.json["counted"], first.json["uses_left"]) == (201, True, 0)
    again = await open_login(world, told(world, certificate, late=True))
    assert (again.status, again.json["counted"], again.json["uses_left"]) == (201, False, 0)
    assert await uses_left(world, delegation_id) == 0
