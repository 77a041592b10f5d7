"""Delegations: asked for by a client, narrowed or refused by the user, never widened by anyone."""

import pytest

from tests.api.stores import events
from tests.world import basic

CONSTRAINTS = {
    "max_ttl_seconds": 600,
    "source_address": ["10.0.0.0/8"],
    "force_command": "backup",
    "extensions": ["permit-port-forwarding", "permit-pty"],
    "max_uses": 10,
}
ASKED = {"host": "*.cluster", "account": "a*", "lifetime_seconds": 86400}


async def decide(world, delegation, verb, *, user="alice", **narrowing):
    body = narrowing if verb == "approve" else None
    return await world.call("POST", f"delegations/{delegation['id']}/{verb}", auth=world.sessions[user], json=body)


async def ask(world, **more):
    body = {"user": "alice", "account": "alice", "host": "h1", "lifetime_seconds": 600, "purpose": "nightly", **more}
    return await world.call("POST", "delegations", auth=world.clients["portal"], json=body)


async def read(world, delegation, auth=None):
    return await world.call("GET", f"delegations/{delegation['id']}", auth=auth or world.clients["portal"])


async def test_a_client_asks_and_polls_until_the_user_has_decided(world):
    asked = (await ask(world, constraints=CONSTRAINTS)).json
    assert asked["status"] == "pending"
    assert asked["approval_url"] == f"{world.context.public_url}/t/default/delegations/{asked['id']}"
    assert len(asked["user_code"]) == 11
    assert asked["constraints"] == CONSTRAINTS
    assert (await read(world, asked)).json["status"] == "pending"
    assert "user_code" not in (await read(world, asked)).json
    approved = await decide(world, asked, "approve")
    assert approved.json["status"] == "approved"
    polled = (await read(world, asked)).json
    assert polled == approved.json
    assert polled["constraints"] == CONSTRAINTS
    world.clock.move(600)
    assert (await read(world, asked)).json["status"] == "expired"


NARROWER = {
    "host": "n1.cluster",
    "account": "alice",
    "lifetime_seconds": 3600,
    "max_ttl_seconds": 300,
    "source_address": ["10.1.0.0/16"],
    "force_command": "backup",
    "extensions": ["permit-pty"],
    "max_uses": 3,
}
WIDER = {
    "host": ["*", "*.cluster2", "*cluster", "h1", "**"],
    "account": ["*", "b*", "root", "*a"],
    "lifetime_seconds": [86401, 366 * 86400],
    "max_ttl_seconds": [601, 86400],
    "source_address": [["0.0.0.0/0"], ["10.0.0.0/7"], ["10.1.0.0/16", "192.0.2.0/24"], ["2001:db8::/32"]],
    "force_command": ["sh", "backup ", "backup; sh"],
    "extensions": [["permit-agent-forwarding"], ["permit-pty", "permit-X11-forwarding"]],
    "max_uses": [11, 1000],
}


@pytest.mark.parametrize("field", NARROWER)
async def test_each_field_may_be_narrowed_and_never_widened(world, field):
    for wider in WIDER[field]:
        asked = (await ask(world, **ASKED, constraints=CONSTRAINTS)).json
        refused = await decide(world, asked, "approve", **{field: wider})
        assert (refused.status, refused.code) == (400, "delegation_widened"), (field, wider)
        wrong = "constraints" if field in {"source_address", "force_command", "extensions"} else field
        assert list(refused.json["fields"]) == [wrong]
        assert (await read(world, asked)).json["status"] == "pending"
    asked = (await ask(world, **ASKED, constraints=CONSTRAINTS)).json
    approved = await decide(world, asked, "approve", **{field: NARROWER[field]})
    assert approved.status == 200, approved.json
    whole = {**ASKED, **CONSTRAINTS, field: NARROWER[field]}
    assert {**{name: approved.json[name] for name in ASKED}, **approved.json["constraints"]} == whole


async def test_a_narrowed_delegation_is_what_certificates_get(world):
    await world.add_host("n1.cluster")
    await world.add_host("n2.cluster")
    for host in ("n1.cluster", "n2.cluster"):
        await world.link("alice", host, "alice")
    asked = (await ask(world, **ASKED, constraints=CONSTRAINTS)).json
    await decide(world, asked, "approve", **NARROWER)
    issued = (await world.issue(host="n1.cluster")).json
    assert issued["critical_options"] == {"force-command": "backup", "source-address": "10.1.0.0/16"}
    assert issued["extensions"] == ["permit-pty"]
    assert issued["limited_by"] == "delegation"
    assert (await world.issue(host="n2.cluster")).code == "delegation_other_host"
    assert (await world.issue(host="n1.cluster", extensions=["permit-port-forwarding"])).code == "extension_not_allowed"


@pytest.mark.parametrize(
    ("host", "account", "yes", "no"),
    [
        ("*", "*", [("n1.cluster", "alice"), ("h1", "alice")], []),
        ("*.cluster", "alice", [("n1.cluster", "alice")], [("h1", "alice"), ("n1.cluster", "bob")]),
        ("n*.cluster", "a*", [("n1.cluster", "alice")], [("n1.cluster", "bob"), ("h1", "alice")]),
        ("n1.cluster", "*", [("n1.cluster", "bob")], [("h1", "alice")]),
        ("n?.cluster", "alice", None, None),
        ("n[1].cluster", "alice", None, None),
        ("n1.cluster", "al%", None, None),
    ],
)
async def test_only_a_star_is_special_in_a_pattern(world, host, account, yes, no):
    await world.good("POST", f"delegations/{world.delegation['id']}/revoke", auth=world.sessions["alice"])
    await world.add_host("n1.cluster")
    for place, name in (("n1.cluster", "alice"), ("n1.cluster", "bob")):
        await world.link("alice", place, name)
    asked = await ask(world, host=host, account=account)
    if yes is None:
        assert (asked.status, asked.code) == (400, "invalid_request")
        return
    assert (await decide(world, asked.json, "approve")).status == 200
    for place, name in yes:
        assert (await world.issue(host=place, account=name)).status == 201, (place, name)
    for place, name in no:
        assert (await world.issue(host=place, account=name)).status == 403, (place, name)


@pytest.mark.parametrize("underscore", ["a_ice", "al_ce"])
async def test_an_underscore_is_no_pattern_in_the_database(world, underscore):
    await world.good("POST", f"delegations/{world.delegation['id']}/revoke", auth=world.sessions["alice"])
    asked = (await ask(world, account=underscore)).json
    await decide(world, asked, "approve")
    assert (await world.issue()).code in {"delegation_other_account", "delegation_revoked"}


@pytest.mark.parametrize("verb", ["approve", "deny"])
async def test_what_is_decided_is_decided(world, verb):
    asked = (await ask(world)).json
    assert (await decide(world, asked, verb)).status == 200
    for again in ("approve", "deny"):
        refused = await decide(world, asked, again)
        assert (refused.status, refused.code) == (409, "delegation_not_pending")
    assert [one["outcome"] for one in await events(world, action=f"delegations.{verb}", target=asked["id"])] == ["ok"]


async def test_nobody_decides_after_a_day(world):
    asked = (await ask(world)).json
    world.clock.move(86400)
    await world.log_in("alice")
    await world.verify("alice")
    assert (await read(world, asked)).json["status"] == "expired"
    refused = await decide(world, asked, "approve")
    assert (refused.status, refused.code) == (409, "delegation_not_pending")


async def test_a_revoked_delegation_ends_its_certificates_and_is_not_revoked_twice(world):
    issued = (await world.issue()).json
    assert (await decide(world, world.delegation, "revoke")).json["status"] == "revoked"
    assert (await world.check(issued["certificate"])).code == "certificate_revoked"
    assert (await world.issue()).code == "delegation_revoked"
    assert (await decide(world, world.delegation, "revoke")).code == "already_revoked"


async def test_a_pending_delegation_may_be_revoked_and_then_not_approved(world):
    asked = (await ask(world)).json
    assert (await decide(world, asked, "revoke")).json["status"] == "revoked"
    assert (await decide(world, asked, "approve")).code == "delegation_not_pending"


async def test_it_is_the_users_to_decide_and_not_seen_by_others(world):
    await world.add_user("bob")
    await world.add_client("batch")
    asked = (await ask(world)).json
    for verb in ("approve", "deny", "revoke"):
        refused = await decide(world, asked, verb, user="bob")
        assert refused.status == 404, verb
        made = await world.call("POST", f"delegations/{asked['id']}/{verb}", auth=world.clients["portal"], json={})
        assert (made.status, made.code) == (403, "role_not_allowed")
        by_admin = await world.call("POST", f"delegations/{asked['id']}/{verb}", auth=world.operator, json={})
        assert (by_admin.status, by_admin.code) == (403, "role_not_allowed")
    for auth in (world.clients["batch"], world.sessions["bob"]):
        assert (await read(world, asked, auth)).code == "delegation_unknown"
        assert (await world.good("GET", "delegations", auth=auth))["items"] == []
    for auth in (world.clients["portal"], world.sessions["alice"], world.operator):
        assert (await read(world, asked, auth)).json["status"] == "pending"
    assert (await decide(world, asked, "approve")).status == 200


async def test_a_redirect_uri_is_one_of_the_registered_to_the_letter(world):
    registered = "https://portal.example/back?x=1"
    await world.good("PATCH", "clients/portal", auth=world.operator, json={"redirect_uris": [registered]})
    for other in (
        *("https://portal.example/back", registered + "&y=2", registered + "/", registered.upper(), registered + "#"),
        *("https://portal.example:443/back?x=1", "https://portal.example.evil/back?x=1", "javascript:alert(1)", " "),
        *(registered + "\0", "https://portal.example/back%3Fx=1", "https://portal.example/./back?x=1"),
    ):
        refused = await ask(world, redirect_uri=other)
        assert (refused.status, refused.code) == (400, "redirect_uri_not_registered"), other
    assert (await ask(world, redirect_uri=registered)).json["redirect_uri"] == registered
    assert (await ask(world)).json["redirect_uri"] is None


async def test_a_user_that_is_not_there_is_404(world):
    refused = await ask(world, user="nobody")
    assert (refused.status, refused.code) == (404, "user_unknown")


async def test_lists_are_filtered_by_user_client_and_status(world):
    asked = (await ask(world)).json
    made = await world.good("POST", "admins", auth=world.operator, json={"admin_id": "boss"})
    boss = basic("boss", made["secret"])
    for query, ids in (
        ("status=pending", [asked["id"]]),
        ("status=approved", [world.delegation["id"]]),
        ("status=denied", []),
        ("user=alice", [asked["id"], world.delegation["id"]]),
        ("user=bob", []),
        ("client_id=portal&status=pending", [asked["id"]]),
    ):
        found = await world.good("GET", f"delegations?{query}", auth=boss)
        assert sorted(one["id"] for one in found["items"]) == sorted(ids), query
