"""The second factor is proved by a session, not by whoever knows the password meanwhile."""


async def test_a_password_alone_approves_nothing_while_its_owner_is_mfa_current(world):
    asked = await world.delegate("alice", "portal", "h1", "alice", approve=False)
    proved = world.sessions["alice"]
    thief = await world.log_in("alice")
    refused = await world.call("POST", f"delegations/{asked['id']}/approve", auth=thief, json={})
    assert (refused.status, refused.code) == (403, "mfa_required")
    assert (await world.good("GET", f"delegations/{asked['id']}", auth=proved))["status"] == "pending"
    approved = await world.good("POST", f"delegations/{asked['id']}/approve", auth=proved, json={})
    assert approved["status"] == "approved"


async def test_a_session_that_proves_it_may(world):
    asked = await world.delegate("alice", "portal", "h1", "alice", approve=False)
    await world.log_in("alice")
    await world.verify("alice")
    approved = await world.call("POST", f"delegations/{asked['id']}/approve", auth=world.sessions["alice"], json={})
    assert approved.status == 200


async def test_an_admins_reset_ends_sessions_and_the_window(world):
    assert (await world.issue()).status == 201
    await world.good("DELETE", "users/alice/mfa", auth=world.operator)
    assert (await world.call("GET", "mfa", auth=world.sessions["alice"])).code == "credential_not_good"
    assert (await world.issue()).code == "mfa_never"


async def test_replacing_a_factor_needs_the_present_one(world):
    await world.log_in("alice")
    refused = await world.call("POST", "mfa/totp", auth=world.sessions["alice"])
    assert (refused.status, refused.code) == (409, "mfa_required")
    await world.verify("alice")
    assert (await world.call("POST", "mfa/totp", auth=world.sessions["alice"])).status == 201
