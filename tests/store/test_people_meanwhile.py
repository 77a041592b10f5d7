"""A password or a second factor that is changed while another request looks at it: neither undoes the other."""

import asyncio

from tests.api.stores import query
from tests.overtaking import Beside, once_read
from tests.world import PASSWORD
from tms_ca.store import people

OF_THE_ADMIN, OF_THE_THIEF = "what the admin has set", "what the thief would like"


async def test_a_password_that_an_admin_sets_is_not_undone_by_who_knew_the_old_one(world, monkeypatch):
    async def reset():
        await world.good("PATCH", "users/alice", auth=world.operator, json={"password": OF_THE_ADMIN})

    once_read(monkeypatch, people, "password_hash", reset)
    body = {"current_password": PASSWORD, "new_password": OF_THE_THIEF}
    refused = await world.call("POST", "password", auth=world.sessions["alice"], json=body)
    assert (refused.status, refused.code) == (401, "login_failed")
    thief, admin = [
        await world.call("POST", "sessions", json={"user": "alice", "password": one})
        for one in (OF_THE_THIEF, OF_THE_ADMIN)
    ]
    assert (thief.status, admin.status) == (401, 201)


async def test_a_code_confirms_the_factor_that_it_is_of(bare_world, monkeypatch):
    """Another seed that is asked for at that moment is not confirmed by it, nor does it take the confirmed one away."""
    world = bare_world
    token = await world.add_user("bob", mfa=False)
    world.seeds["bob"] = (await world.good("POST", "mfa/totp", auth=token))["seed"]
    other = Beside(lambda: world.call("POST", "mfa/totp", auth=token))
    once_read(monkeypatch, people, "totp_factor", other.begin)
    await world.verify("bob")
    said = await other.done()
    assert (said.status, said.code) == (409, "mfa_required")
    await world.verify("bob")  # the seed that was proved is the one that counts


async def test_a_factor_that_is_confirmed_while_another_is_made_stays(bare_world, monkeypatch):
    world = bare_world
    token = await world.add_user("bob", mfa=False)
    world.seeds["bob"] = (await world.good("POST", "mfa/totp", auth=token))["seed"]
    confirming = Beside(lambda: world.verify("bob"))
    once_read(monkeypatch, people, "totp_factor", confirming.begin)
    said = await world.call("POST", "mfa/totp", auth=token)
    confirmed = await asyncio.gather(confirming.done(), return_exceptions=True)
    if said.status == 201:  # it came first, so that the code was of a seed that is gone
        assert isinstance(confirmed[0], AssertionError)
        world.seeds["bob"] = said.json["seed"]
    await world.verify("bob")


async def test_seeds_that_are_asked_for_at_once_leave_one_that_counts(bare_world):
    token = await bare_world.add_user("bob", mfa=False)
    asked = [bare_world.call("POST", "mfa/totp", auth=token) for _ in range(6)]
    said = await asyncio.gather(*asked)
    assert {reply.status for reply in said} == {201}
    assert await query(bare_world, "SELECT count(*) FROM totp_factors") == [(1,)]
