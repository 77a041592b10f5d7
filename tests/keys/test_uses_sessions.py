"""Sessions that plain keys opened: what ends them, what does not, and what they keep on record."""

from tests.keys.uses import by_key, escrow, fingerprint, key_of
from tests.logins.telling import end_login, open_login, report
from tms_ca.cli.init import local_operator
from tms_ca.store import retention


async def settle(world, **settings):
    await world.good("PATCH", "/api/v1/tenants/default", auth=world.operator, json=settings)


async def revoke(world, **selector):
    await world.good("POST", "revocations", auth=world.operator, json={**selector, "reason": "test"})


async def revoke_key_id(world):
    await revoke(world, key_id=(await key_of(world))["key_id"])


async def take_back(world):
    path = "public-keys/" + fingerprint(world).replace("/", "%2F").replace("+", "%2B")
    await world.good("DELETE", path, auth=world.clients["portal"])


async def cut_link(world):
    (link,) = (await world.good("GET", "account-links", auth=world.operator))["items"]
    await world.good("DELETE", f"account-links/{link['id']}", auth=world.operator)


TAKEN_BACK = {
    "fingerprint": lambda w: revoke(w, public_key_fingerprint=fingerprint(w)),
    "user": lambda w: revoke(w, user="alice"),
    "client": lambda w: revoke(w, client_id="portal"),
    "delegation": lambda w: revoke(w, delegation_id=w.delegation["id"]),
    "key_id": revoke_key_id,
    "taken back": take_back,
    "link": cut_link,
    "disabled": lambda w: w.good("PATCH", "users/alice", auth=w.operator, json={"enabled": False}),
}


async def test_a_session_ends_with_what_it_rests_on_where_the_tenant_wants_that(world):
    """One after the other, each from a state in which the session may go on."""
    await settle(world, on_revocation="end", warning_seconds=45)
    link = (await world.good("GET", "account-links", auth=world.operator))["items"][0]
    assert link["account"] == "alice"
    for name, act in TAKEN_BACK.items():
        if name == "fingerprint":
            continue  # for good: last
        await escrow(world)
        body = by_key(world)
        assert (await open_login(world, body)).status == 201, name
        world.clock.move(60)
        assert await report(world, body["login_id"]) == [], name
        await act(world)
        (ending,) = await report(world, body["login_id"])
        assert (ending["login_id"], ending["after_seconds"]) == (body["login_id"], 45), name
        assert ending["message"].startswith("This session ends in 45 seconds: "), name
        await report(world)  # it is gone
        for revocation in (await world.good("GET", "revocations", auth=world.operator))["items"]:
            if revocation["selector"] in ("user", "client_id") and revocation["lifted_at"] is None:
                await world.good("POST", f"revocations/{revocation['id']}/lift", auth=world.operator)
        if name == "delegation":
            world.delegation = await world.delegate("alice", "portal", "h1", "alice")
        if name == "link":
            await world.link("alice", "h1", "alice")
    await world.good("PATCH", "users/alice", auth=world.operator, json={"enabled": True})
    await escrow(world)
    body = by_key(world)
    assert (await open_login(world, body)).status == 201
    await settle(world, on_revocation="leave")
    await TAKEN_BACK["fingerprint"](world)
    assert await report(world, body["login_id"]) == []
    await settle(world, on_revocation="end")
    assert [one["reason"] for one in await report(world, body["login_id"])] == ["key_revoked"]


async def test_a_session_outlives_its_uses_its_key_and_the_window_unless_the_tenant_says_otherwise(world):
    await settle(world, on_revocation="end")
    await escrow(world, max_uses=1, ttl_seconds=3600)
    body = by_key(world)
    assert (await open_login(world, body)).status == 201
    assert await report(world, body["login_id"]) == []
    world.clock.move(3601)
    assert await report(world, body["login_id"]) == []
    await settle(world, end_at_expiry=True)
    assert [one["reason"] for one in await report(world, body["login_id"])] == ["public_key_expired"]
    # Escrowed anew, it carries what it has opened.
    await escrow(world, ttl_seconds=3600)
    assert await report(world, body["login_id"]) == []


async def test_a_key_stays_on_record_as_long_as_a_session_with_it(world):
    await escrow(world)
    body = by_key(world)
    assert (await open_login(world, body)).status == 201
    world.clock.move((retention.ENDED_KEPT_DAYS + 2) * retention.DAY)
    await world.context.upkeep.run(local_operator())
    assert (await key_of(world))["fingerprint"] == fingerprint(world)
    await settle(world, on_revocation="end")
    # The reason is the true one, and not that the key is gone.
    assert [one["reason"] for one in await report(world, body["login_id"])] == ["delegation_expired"]
    await end_login(world, body["login_id"])
    await world.context.upkeep.run(local_operator())
    path = "public-keys/" + fingerprint(world).replace("/", "%2F").replace("+", "%2B")
    assert (await world.call("GET", path, auth=world.operator)).code == "public_key_unknown"
