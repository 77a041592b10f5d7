"""How long logins are kept: as long as certificates after their end, and never less than the session is open."""

import pytest

from tests.logins.telling import certificate_of, end_login, open_login, records, report, told
from tms_ca.cli.init import local_operator
from tms_ca.services.upkeep import Upkeep
from tms_ca.store.retention import DAY, Retention


async def tidy(world, days: int | None = 7, **options):
    upkeep = Upkeep(world.context.records._database, world.context.vault, world.clock, Retention(days))
    return (await upkeep.run(local_operator(), **options)).deleted


async def test_a_login_goes_so_many_days_after_its_end(world):
    body = told(world, await certificate_of(world))
    await open_login(world, body)
    world.clock.move(DAY)
    await end_login(world, body["login_id"])
    world.clock.move(7 * DAY)
    assert (await tidy(world))["logins"] == 0
    world.clock.move(1)
    assert (await tidy(world, dry_run=True))["logins"] == 1
    assert len(await records(world)) == 1
    assert (await tidy(world))["logins"] == 1
    assert await records(world) == []


async def test_without_the_setting_everything_stays(world):
    body = told(world, await certificate_of(world))
    await open_login(world, body)
    await end_login(world, body["login_id"])
    world.clock.move(1000 * DAY)
    await tidy(world, None)
    assert len(await records(world)) == 1


async def test_an_open_session_keeps_its_login_and_its_certificate(world):
    """A year later, a revocation still finds it."""
    await world.good("PATCH", "/api/v1/tenants/default", auth=world.operator, json={"on_revocation": "end"})
    await world.good("POST", f"delegations/{world.delegation['id']}/revoke", auth=world.sessions["alice"])
    await world.delegate("alice", "portal", "h1", "alice", lifetime_seconds=366 * DAY)
    body, other = told(world, await certificate_of(world)), await certificate_of(world)
    await open_login(world, body)
    world.clock.move(360 * DAY)
    deleted = await tidy(world)
    assert (deleted["logins"], deleted["certificates"]) == (0, 1)  # the other one
    assert other
    assert await report(world, body["login_id"]) == []
    await world.good("POST", "revocations", auth=world.operator, json={"user": "alice", "reason": "left"})
    assert [one["login_id"] for one in await report(world, body["login_id"])] == [body["login_id"]]
    await end_login(world, body["login_id"])
    world.clock.move(8 * DAY)
    assert (await tidy(world))["certificates"] == 1


@pytest.mark.parametrize("removed", [True, False])
async def test_an_open_login_on_a_host_that_is_gone_ends_with_the_retention(world, removed):
    await open_login(world, told(world, await certificate_of(world)))
    if removed:
        await world.good("DELETE", "hosts/h1", auth=world.operator)
    world.clock.move(7 * DAY)
    assert (await tidy(world))["logins"] == 0
    world.clock.move(1)
    assert (await tidy(world))["logins"] == (1 if removed else 0)
