"""An admin's word that a user is MFA-current: what it opens, what it does not prove, and when it ends."""

import pytest

from tests.reservations.test_reservations import HOUR, reserve
from tests.world import _rfc3339


@pytest.fixture
async def bob(world):
    """A user who never proved a factor, with a link and a delegation that an admin has put in their place."""
    await world.add_user("bob", mfa=False)
    await world.link("bob", "h1", "bob")
    asked = await world.delegate("bob", "portal", "h1", "bob", approve=False)
    from sqlalchemy import update

    from tms_ca.store.tables import delegations

    now = world.clock.now()
    approved = {"status": "approved", "starts_at": now, "expires_at": now + 30 * 86400, "decided_at": now}
    async with world.context.directory._database.change("default") as transaction:
        which = delegations.c.delegation_id == asked["id"]
        await transaction.connection.execute(update(delegations).where(which).values(**approved))
    return {"user": "bob", "account": "bob"}


async def say(world, until) -> None:
    await world.good("PATCH", "users/bob", auth=world.operator, json={"mfa_until": until})


async def test_it_lets_certificates_and_keys_be_issued_and_used_until_it_ends(world, bob):
    assert (await world.issue(**bob)).code == "mfa_never"
    until = world.clock.now() + 2 * HOUR
    await say(world, _rfc3339(until))
    issued = await world.issue(**bob, ttl_seconds=8 * HOUR)
    assert (issued.json["limited_by"], issued.json["valid_before"]) == ("mfa", _rfc3339(until))
    assert (await world.check(issued.json["certificate"], account="bob")).status == 200
    world.clock.move(HOUR)
    await say(world, _rfc3339(world.clock.now()))  # sooner than it was said before
    assert (await world.check(issued.json["certificate"], account="bob")).code == "mfa_expired"
    assert (await world.issue(**bob)).code == "mfa_expired"
    assert (await reserve(world, **bob)).code == "mfa_expired"


@pytest.mark.parametrize("how", ["null", "reset"])
async def test_it_is_taken_back(world, bob, how):
    await say(world, "2099-01-01T00:00:00Z")
    name = (await reserve(world, **bob)).json["id"]
    issued = await world.issue(**bob, reservation_id=name)
    assert issued.status == 201
    if how == "null":
        await say(world, None)
    else:
        await world.good("DELETE", "users/bob/mfa", auth=world.operator)
    assert (await world.good("GET", "users/bob", auth=world.operator))["mfa_until"] is None
    assert (await world.check(issued.json["certificate"], account="bob")).code == "mfa_never"
    assert (await world.issue(**bob)).code == "mfa_never"


async def test_it_proves_nothing_for_a_session(world, bob):
    await say(world, "2099-01-01T00:00:00Z")
    shown = await world.good("GET", "mfa", auth=world.sessions["bob"])
    assert (shown["enrolled"], shown["verified_at"], shown["expires_at"]) == (False, None, "2099-01-01T00:00:00Z")
    asked = await world.delegate("bob", "portal", "h1", "bob", approve=False)
    for what in (f"delegations/{asked['id']}/approve", f"delegations/{world.delegation['id']}/deny"):
        assert (await world.call("POST", what, auth=world.sessions["bob"], json={})).code == "mfa_required"
    name = (await reserve(world, **bob)).json["id"]
    refused = await world.call("DELETE", f"reservations/{name}", auth=world.sessions["bob"])
    assert (refused.status, refused.code) == (403, "mfa_required")


async def test_only_admins_give_it(world, bob):
    for auth in (world.sessions["bob"], world.clients["portal"], world.hosts["h1"]):
        answer = await world.call("PATCH", "users/bob", auth=auth, json={"mfa_until": "2099-01-01T00:00:00Z"})
        assert answer.code == "role_not_allowed"
    assert (await world.issue(**bob)).code == "mfa_never"
    await say(world, "2099-01-01T00:00:00Z")
    events = (await world.good("GET", "audit-events?action=users.update", auth=world.operator))["items"]
    assert "mfa_until" in str(events[0]["detail"])
