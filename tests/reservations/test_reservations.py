"""Reservations over the API: what they carry, who sees and ends them, and what refuses in spite of them."""

import pytest

from tests.world import Reply, World, _rfc3339

HOUR = 3600
UNKNOWN = "00000000-0000-4000-8000-000000000000"


async def reserve(world: World, *, client_id: str = "portal", **more) -> Reply:
    body = {
        "user": "alice",
        "host": "h1",
        "account": "alice",
        "lifetime_seconds": 48 * HOUR,
        "purpose": "run 7",
        **more,
    }
    body = {name: value for name, value in body.items() if value is not ...}
    return await world.call("POST", "reservations", auth=world.clients[client_id], json=body)


async def child_of(world: World, parent: str, **more) -> Reply:
    return await reserve(world, parent_id=parent, lifetime_seconds=..., **more)


async def proved_again(world: World) -> None:
    """Open the MFA window once more, hours later."""
    await world.log_in("alice")
    await world.verify("alice")


async def end(world: World, name: str, auth: str, query: str = "") -> Reply:
    return await world.call("DELETE", f"reservations/{name}{query}", auth=auth)


@pytest.fixture
async def reserved(world) -> str:
    """A reservation made while the user was MFA-current; the window ended just now."""
    made = await reserve(world)
    assert made.status == 201, made.json
    world.clock.move(12 * HOUR)
    return made.json["id"]


async def test_past_the_window_a_certificate_is_issued_and_opens_with_it_and_not_without(world, reserved):
    assert (await world.issue()).code == "mfa_expired"
    issued = await world.issue(reservation_id=reserved, ttl_seconds=8 * HOUR)
    assert (issued.status, issued.json["reservation_id"]) == (201, reserved)
    assert (await world.check(issued.json["certificate"])).status == 200
    shown = await world.good("GET", f"certificates/{issued.json['serial']}", auth=world.operator)
    assert shown["reservation_id"] == reserved
    events = await world.good("GET", "audit-events?action=certificates.issue", auth=world.operator)
    assert reserved in str(events["items"][0]["detail"])


async def test_a_certificate_of_the_window_may_outlive_it_with_a_reservation(world):
    await world.good("PATCH", "/api/v1/tenants/default", auth=world.operator, json={"mfa_window_seconds": 600})
    name = (await reserve(world, lifetime_seconds=1200)).json["id"]
    without = (await world.issue()).json
    issued = (await world.issue(reservation_id=name)).json
    assert (without["limited_by"], issued["limited_by"]) == ("mfa", "reservation")
    world.clock.move(700)
    assert (await world.check(without["certificate"])).status == 403
    for _ in range(2):  # what is remembered of one certificate is never said of the other
        assert (await world.check(issued["certificate"])).status == 200
    assert (await end(world, name, world.clients["portal"])).status == 204
    assert (await world.check(issued["certificate"])).code == "reservation_unknown"
    await world.verify("alice")
    assert (await world.check(issued["certificate"])).status == 200  # MFA-current: nothing is asked of a reservation


async def test_two_certificates_that_differ_only_in_the_reservation_are_told_apart(world, reserved):
    await proved_again(world)
    bare, carried = (await world.issue(ttl_seconds=8 * HOUR)), (await world.issue(reservation_id=reserved))
    assert [(await world.check(one.json["certificate"])).status for one in (bare, carried)] == [200, 200]
    await world.good("PATCH", "/api/v1/tenants/default", auth=world.operator, json={"mfa_window_seconds": 60})
    world.clock.move(60)
    for _ in range(2):
        assert (await world.check(bare.json["certificate"])).code == "mfa_expired"
        assert (await world.check(carried.json["certificate"])).status == 200


async def test_what_is_asked_for_must_be_what_is_reserved(world, reserved):
    await world.add_client("other")
    await proved_again(world)
    await world.delegate("alice", "other", "h1", "alice")
    await world.link("alice", "h1", "shared")
    await world.delegate("alice", "portal", "h1", "shared")
    assert (await world.issue(reservation_id=reserved)).status == 201
    cases = {
        "reservation_unknown": await world.issue(reservation_id=reserved, client_id="other"),
        "reservation_other": await world.issue(reservation_id=reserved, account="shared"),
    }
    for code, answer in cases.items():
        assert (answer.status, answer.code) == (403, code)
    assert (await world.issue(reservation_id=UNKNOWN)).code == "reservation_unknown"
    world.clock.move(36 * HOUR)
    assert (await world.issue(reservation_id=reserved)).code == "reservation_expired"


async def _patch(world, path, **changes):
    await world.good("PATCH", path, auth=world.operator, json=changes)


async def _revoke(world, **selector):
    await world.good("POST", "revocations", auth=world.operator, json={**selector, "reason": "test"})


async def _only_link(world):
    return (await world.good("GET", "account-links", auth=world.operator))["items"][0]["id"]


async def _end_link(world):
    await _patch(world, f"account-links/{await _only_link(world)}", expires_at=_rfc3339(world.clock.now()))


async def _drop_link(world):
    await world.good("DELETE", f"account-links/{await _only_link(world)}", auth=world.operator)
    await world.link("alice", "h1", "alice")


async def _reset(world):
    await world.good("DELETE", "users/alice/mfa", auth=world.operator)


ENDED = {
    "second factor reset": (_reset, "reservation_unknown"),
    "link ended": (_end_link, "account_link_expired"),
    "link deleted and made anew": (_drop_link, "reservation_unknown"),
    "delegation revoked": (lambda w: _revoke(w, delegation_id=w.delegation["id"]), "reservation_unknown"),
}
DISABLED = {"client_disabled": "clients/portal", "user_disabled": "users/alice", "host_disabled": "hosts/h1"}
REVOKED = {"client_revoked": {"client_id": "portal"}, "user": {"user": "alice"}, "host": {"host": "h1"}}


async def _both(world, reserved, certificate) -> tuple[Reply, Reply]:
    return await world.issue(reservation_id=reserved), await world.check(certificate)


@pytest.mark.parametrize("how", ENDED)
async def test_it_carries_past_the_window_and_not_past_what_it_rests_on(world, reserved, how):
    issued = (await world.issue(reservation_id=reserved)).json["certificate"]
    assert [one.status for one in await _both(world, reserved, issued)] == [201, 200]
    change, code = ENDED[how]
    await change(world)
    asked, login = await _both(world, reserved, issued)
    assert (asked.status, asked.code, login.status) == (403, code, 403)


async def test_it_carries_nobody_who_is_disabled(world, reserved):
    for code, what in DISABLED.items():
        issued = (await world.issue(reservation_id=reserved)).json["certificate"]
        assert [one.status for one in await _both(world, reserved, issued)] == [201, 200]
        await _patch(world, what, enabled=False)
        asked, login = await _both(world, reserved, issued)
        assert (asked.status, asked.code, login.status) == (403, code, 403)
        await _patch(world, what, enabled=True)
        assert [one.status for one in await _both(world, reserved, issued)] == [201, 200]


@pytest.mark.parametrize("whose", REVOKED)
async def test_it_goes_with_who_is_revoked_and_does_not_come_back(world, reserved, whose):
    issued = (await world.issue(reservation_id=reserved)).json["certificate"]
    assert [one.status for one in await _both(world, reserved, issued)] == [201, 200]
    what = {**REVOKED[whose], "reason": "test"}
    revoked = await world.good("POST", "revocations", auth=world.operator, json=what)
    asked, login = await _both(world, reserved, issued)
    code = whose if whose == "client_revoked" else "reservation_unknown"  # the client is looked at first
    assert (asked.status, asked.code, login.status) == (403, code, 403)
    await world.good("POST", f"revocations/{revoked['id']}/lift", auth=world.operator)
    asked, login = await _both(world, reserved, issued)
    assert (asked.status, asked.code, login.status) == (403, "reservation_unknown", 403)


async def test_it_is_made_only_where_everything_stands(world, reserved):
    await world.add_client("other")
    assert (await reserve(world, lifetime_seconds=60)).code == "mfa_expired"  # one never leads to another
    await proved_again(world)
    assert (await reserve(world)).status == 201
    refusals = {
        "delegation_missing": await reserve(world, client_id="other"),
        "delegation_other_account": await reserve(world, account="root"),
        "delegation_other_host": await reserve(world, host="h2"),
    }
    for code, answer in refusals.items():
        assert (answer.status, answer.code) == (403, code)
    events = await world.good("GET", "audit-events?action=reservations.create", auth=world.operator)
    assert {one["outcome"] for one in events["items"]} == {"ok", "mfa_expired", *refusals}


async def test_a_wish_of_another_shape_is_refused(world):
    for wrong in (
        {"lifetime_seconds": 48 * HOUR + 1}, {"lifetime_seconds": 59}, {"lifetime_seconds": ...}, {"purpose": ""},
        {"parent_id": "r1"}, {"parent_id": UNKNOWN}, {"public_key_fingerprint": "MD5:00"},
    ):  # fmt: skip
        answer = await reserve(world, **wrong)
        assert (answer.status, answer.code) == (400, "invalid_request"), wrong
    assert (await reserve(world, lifetime_seconds=48 * HOUR)).status == 201


async def test_a_child_ends_with_its_parent(world, reserved):
    child = await child_of(world, reserved)  # past the window: the parent carries it
    assert child.status == 201, child.json
    name = child.json["id"]
    assert child.json["parent_id"] == reserved
    parent = await world.good("GET", f"reservations/{reserved}", auth=world.operator)
    assert (parent["parent_id"], parent["expires_at"]) == (None, child.json["expires_at"])
    assert (await world.issue(reservation_id=name)).status == 201
    again = await child_of(world, name)
    assert (again.status, again.code) == (409, "reservation_is_child")
    assert (await child_of(world, UNKNOWN)).status == 404
    assert (await child_of(world, reserved, account="root")).code == "reservation_other"
    await world.add_client("other")
    assert (await child_of(world, reserved, client_id="other")).status == 404
    assert (await end(world, name, world.clients["portal"])).status == 204  # one part, and not the others
    assert (await world.issue(reservation_id=name)).code == "reservation_unknown"
    assert (await world.issue(reservation_id=reserved)).status == 201
    world.clock.move(36 * HOUR)
    assert (await child_of(world, reserved)).code == "reservation_expired"


@pytest.mark.parametrize(
    ("query", "code", "left"), [("", "reservation_expired", 1), ("?related=true", "reservation_unknown", 0)]
)
async def test_children_end_when_their_parent_is_taken_back(world, reserved, query, code, left):
    child, other = (await child_of(world, reserved)).json["id"], (await child_of(world, reserved)).json["id"]
    issued = await world.issue(reservation_id=child)
    assert (await end(world, other, world.operator)).status == 204
    assert (await world.check(issued.json["certificate"])).status == 200
    assert (await end(world, reserved, world.operator, query)).status == 204
    for answer in (await world.issue(reservation_id=child), await world.check(issued.json["certificate"])):
        assert (answer.status, answer.code) == (403, code)
    listed = await world.good("GET", f"reservations?parent_id={reserved}", auth=world.operator)
    assert len(listed["items"]) == left
    assert (await end(world, reserved, world.operator, query)).code == "reservation_unknown"


async def test_each_sees_and_ends_their_own(world):
    await world.add_client("other")
    await world.add_user("bob")
    await world.add_user("alice2", mfa=False)
    names = [(await reserve(world)).json["id"] for _ in range(3)]
    for auth in (world.clients["other"], world.sessions["bob"]):
        assert (await world.call("GET", f"reservations/{names[0]}", auth=auth)).status == 404
        assert (await end(world, names[0], auth)).status == 404
        assert (await world.good("GET", "reservations", auth=auth))["items"] == []
    for auth in (world.clients["portal"], world.sessions["alice"], world.operator):
        assert (await world.good("GET", f"reservations/{names[0]}", auth=auth))["purpose"] == "run 7"
        assert {one["id"] for one in (await world.good("GET", "reservations", auth=auth))["items"]} == {*names}
    assert (await world.good("GET", "reservations?user=bob", auth=world.operator))["items"] == []
    unproved = await world.log_in("alice")
    assert (await end(world, names[0], unproved)).code == "mfa_required"
    await world.verify("alice")
    for name, auth in zip(names, (world.sessions["alice"], world.clients["portal"], world.operator), strict=True):
        assert (await end(world, name, auth)).status == 204
        assert (await world.issue(reservation_id=name)).code == "reservation_unknown"
    assert (await end(world, names[0], world.operator, "?related=yes")).status == 400


async def test_children_that_are_left_are_deleted_by_the_name_of_their_parent(world, reserved):
    children = [(await child_of(world, reserved)).json["id"] for _ in range(2)]
    assert (await end(world, reserved, world.operator)).status == 204
    assert (await end(world, reserved, world.operator)).code == "reservation_unknown"
    assert (await end(world, reserved, world.operator, "?related=true")).status == 204
    for name in children:
        assert (await end(world, name, world.operator)).code == "reservation_unknown"
    assert (await end(world, reserved, world.operator, "?related=true")).code == "reservation_unknown"


async def test_a_plain_key_goes_on_with_a_reservation_of_its_own(world):
    await world.good("PATCH", "/api/v1/tenants/default", auth=world.operator, json={"mfa_window_seconds": HOUR})
    kept = await world.good("POST", "public-keys", auth=world.clients["portal"], json=world.issue_body())
    key = kept["fingerprint"]
    asked = {"account": "alice", "fingerprint": key, "key_type": "ssh-ed25519", "nonce": "0" * 16}

    async def login():
        return await world.call("POST", "hosts/h1/keys", auth=world.hosts["h1"], json=asked)

    missing = await reserve(world, public_key_fingerprint="SHA256:" + "A" * 43)
    assert (missing.status, missing.code) == (404, "public_key_unknown")
    certs, keys = (await reserve(world)).json["id"], (await reserve(world, public_key_fingerprint=key)).json["id"]
    assert (await world.issue(reservation_id=keys)).code == "reservation_other"
    world.sessions["alice"] = await world.log_in("alice")
    world.clock.move(HOUR - 60)
    assert (await login()).status == 200
    await world.good("PATCH", "/api/v1/tenants/default", auth=world.operator, json={"mfa_window_seconds": 600})
    assert (await login()).status == 200
    assert (await reserve(world, public_key_fingerprint=key)).code == "mfa_expired"
    assert (await child_of(world, certs, public_key_fingerprint=key)).code == "reservation_other"
    assert (await child_of(world, keys)).code == "reservation_other"
    child = (await child_of(world, keys, public_key_fingerprint=key)).json["id"]
    assert (await end(world, keys, world.clients["portal"])).status == 204
    assert (await login()).code == "reservation_expired"
    assert (await end(world, child, world.clients["portal"])).status == 204
    assert (await login()).code == "mfa_expired"
    assert (await world.issue(reservation_id=certs)).status == 201  # and certificates have theirs


async def test_upkeep_deletes_what_ended_long_ago(world, reserved):
    from tms_ca.cli.init import local_operator

    world.clock.move(89 * 86400)
    assert (await world.context.upkeep.run(local_operator())).deleted["reservations"] == 0
    world.clock.move(4 * 86400)
    assert (await world.context.upkeep.run(local_operator())).deleted["reservations"] == 1
