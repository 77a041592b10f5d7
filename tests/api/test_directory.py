"""Everything with a name: made, read, changed, deleted; what is deleted takes its certificates, and comes back bare."""

import pytest

from tests.api.stores import events
from tests.api.test_revocations import krl, listed
from tests.world import PASSWORD, basic

LATER = "2099-01-01T00:00:00Z"
# noun: its name's field, what is made, what is changed
NOUNS = {
    "clients": ("client_id", {"display_name": "P"}, {"display_name": "Q", "max_ttl_seconds": 600, "expires_at": LATER}),
    "users": ("user", {"display_name": "P"}, {"display_name": "Q", "enabled": False}),
    "hosts": ("host", {"addresses": ["h.example"]}, {"addresses": [], "principal_format": "account", "enabled": False}),
}


async def call(world, method, path, status, code=None, **options):
    reply = await world.call(method, path, **{"auth": world.operator, **options})
    assert (reply.status, reply.code) == (status, code or ""), reply.json
    return reply.json


@pytest.mark.parametrize("noun", NOUNS)
async def test_made_read_changed_and_deleted(world, noun):
    field, first, change = NOUNS[noun]
    body = {field: "new1", **first}
    made = await call(world, "POST", noun, 201, json=body)
    secret = made.pop("secret", None)
    assert (secret is not None) is (noun != "users")
    assert {name: made[name] for name in body} == body
    assert made["enabled"] is True
    await call(world, "POST", noun, 409, "exists", json=body)
    assert await call(world, "GET", f"{noun}/new1", 200) == made
    changed = await call(world, "PATCH", f"{noun}/new1", 200, json=change)
    assert changed == {**made, **change} == await call(world, "GET", f"{noun}/new1", 200)
    assert await call(world, "PATCH", f"{noun}/new1", 200, json={}) == changed
    await call(world, "DELETE", f"{noun}/new1", 204)
    singular = noun.removesuffix("s")
    for method, more in (("GET", {}), ("PATCH", {"json": change}), ("DELETE", {})):
        await call(world, method, f"{noun}/new1", 404, f"{singular}_unknown", **more)
    deeds = [one["action"] for one in await events(world, target="new1") if one["outcome"] == "ok"]
    assert deeds == [f"{noun}.create", f"{noun}.update", f"{noun}.update", f"{noun}.delete"]


async def test_a_name_is_the_tenants_own(world):
    await call(world, "POST", "/api/v1/tenants", 201, json={"tenant": "other"})
    for noun, (field, first, _) in NOUNS.items():
        for tenant in ("default", "other"):
            await call(world, "POST", noun, 201, json={field: "same", **first}, tenant=tenant)
        await call(world, "DELETE", f"{noun}/same", 204, tenant="other")
        await call(world, "GET", f"{noun}/same", 200)


async def test_tenants_are_coherent(bare_world):
    world, tenants = bare_world, "/api/v1/tenants"
    made = await call(world, "POST", tenants, 201, json={"tenant": "t2", "max_ttl_seconds": 600})
    assert (made["default_ttl_seconds"], made["max_ttl_seconds"]) == (600, 600)
    await call(world, "POST", tenants, 409, "exists", json={"tenant": "t2"})
    refused = await call(world, "PATCH", f"{tenants}/t2", 400, "invalid_request", json={"default_ttl_seconds": 601})
    assert list(refused["fields"]) == ["default_ttl_seconds"]
    await call(world, "POST", tenants, 400, "invalid_request",
               json={"tenant": "t3", "default_ttl_seconds": 601, "max_ttl_seconds": 600})  # fmt: skip
    body = {"tenant": "t4", "default_ttl_seconds": 86400}
    longest = await call(world, "POST", tenants, 201, json=body)
    assert (longest["default_ttl_seconds"], longest["max_ttl_seconds"]) == (86400, 86400)
    changed = await call(world, "PATCH", f"{tenants}/t2", 200, json={"display_name": "Two", "mfa_window_seconds": 60})
    assert (changed["display_name"], changed["mfa_window_seconds"]) == ("Two", 60)
    await call(world, "GET", f"{tenants}/t9", 404, "tenant_unknown")
    await call(world, "POST", "clients", 404, "tenant_unknown", json={"client_id": "x"}, tenant="t9")


async def test_admins_manage_their_tenant_until_they_are_deleted(world):
    made = await call(world, "POST", "admins", 201, json={"admin_id": "boss"})
    boss = basic("boss", made["secret"])
    await call(world, "POST", "admins", 409, "exists", json={"admin_id": "boss"})
    assert [one["admin_id"] for one in (await call(world, "GET", "admins", 200))["items"]] == ["boss"]
    await call(world, "GET", "clients", 200, auth=boss)
    await call(world, "DELETE", "admins/boss", 204)
    await call(world, "GET", "clients", 401, "credential_not_good", auth=boss)
    await call(world, "DELETE", "admins/boss", 404, "admin_unknown")


async def test_identities_are_linked_once_and_to_somebody(world):
    body = {"issuer": "https://idp.example/x?y=1", "subject": "42 é", "user": "alice"}
    assert await call(world, "POST", "identities", 201, json=body) == {
        **body,
        "created_at": (await call(world, "GET", "identities", 200))["items"][0]["created_at"],
    }
    await world.add_user("bob", mfa=False)
    await call(world, "POST", "identities", 409, "exists", json={**body, "user": "bob"})
    await call(world, "POST", "identities", 404, "reference_unknown", json={**body, "subject": "7", "user": "nobody"})
    assert (await call(world, "GET", "identities", 200, auth=world.sessions["bob"]))["items"] == []
    assert len((await call(world, "GET", "identities?user=alice", 200))["items"]) == 1
    path = "identities?issuer=https://idp.example/x%3Fy=1&subject=42%20%C3%A9"
    await call(world, "DELETE", path, 204)
    await call(world, "DELETE", path, 404, "identity_unknown")


async def test_links_refer_to_what_is_there_and_are_unique(world):
    body = {"user": "alice", "host": "h1", "account": "x1", "expires_at": LATER}
    made = await call(world, "POST", "account-links", 201, json=body)
    await call(world, "POST", "account-links", 409, "exists", json=body)
    for wrong in ({"user": "nobody"}, {"host": "h9"}):
        await call(world, "POST", "account-links", 404, "reference_unknown", json={**body, **wrong, "account": "x2"})
    changed = await call(
        world, "PATCH", f"account-links/{made['id']}", 200, json={"expires_at": "2098-01-01T00:00:00Z"}
    )
    assert changed == {**made, "expires_at": "2098-01-01T00:00:00Z"}
    await world.add_user("bob", mfa=False)
    await call(world, "GET", f"account-links/{made['id']}", 404, "account_link_unknown", auth=world.sessions["bob"])
    await call(world, "GET", f"account-links/{made['id']}", 200, auth=world.sessions["alice"])
    await call(world, "DELETE", f"account-links/{made['id']}", 204)
    await call(world, "DELETE", f"account-links/{made['id']}", 404, "account_link_unknown")


async def _delete(world, what):
    if what == "account-links":
        what = f"account-links/{(await world.good('GET', 'account-links', auth=world.operator))['items'][0]['id']}"
    await call(world, "DELETE", what, 204)


async def _again(world, what):
    """Make anew, under the old name, what was deleted."""
    if what == "clients/portal":
        await world.add_client("portal")
    elif what == "users/alice":
        await world.add_user("alice")
    elif what == "hosts/h1":
        await world.add_host("h1")
    else:
        await world.link("alice", "h1", "alice")


INHERITS_NOTHING = {
    "clients/portal": "delegation_missing",
    "users/alice": "delegation_missing",
    "hosts/h1": "account_link_missing",
    "account-links": 201,  # the delegation and the factor were not the link's
}


@pytest.mark.parametrize("what", INHERITS_NOTHING)
async def test_a_deletion_ends_certificates_for_good(world, tmp_path, what):
    issued = (await world.issue()).json
    old_secret = {"clients/portal": world.clients["portal"], "hosts/h1": world.hosts["h1"]}.get(what)
    assert (await world.check(issued["certificate"])).status == 200
    await _delete(world, what)
    assert listed(tmp_path, (await krl(world)).body, issued["certificate"])
    if what != "hosts/h1":
        assert (await world.check(issued["certificate"])).code == "certificate_revoked"
    if old_secret:
        assert (await world.call("GET", "clients", auth=old_secret)).code == "credential_not_good"

    await _again(world, what)
    assert (await world.check(issued["certificate"])).code == "certificate_revoked"
    assert listed(tmp_path, (await krl(world)).body, issued["certificate"])
    if old_secret:
        assert (await world.call("GET", "clients", auth=old_secret)).code == "credential_not_good"
    wish = await world.issue()
    expected = INHERITS_NOTHING[what]
    assert wish.status == 201 if expected == 201 else wish.code == expected, wish.json


async def test_a_deleted_user_leaves_no_session_factor_identity_or_link_behind(world):
    session = world.sessions["alice"]
    await call(world, "POST", "identities", 201, json={"issuer": "https://i", "subject": "1", "user": "alice"})
    await _delete(world, "users/alice")
    await call(world, "GET", "mfa", 401, "credential_not_good", auth=session)
    await call(world, "POST", "users", 201, json={"user": "alice", "password": PASSWORD})
    assert (await call(world, "GET", "identities", 200))["items"] == []
    assert (await call(world, "GET", "account-links", 200))["items"] == []
    assert (await call(world, "GET", "delegations", 200))["items"] == []
    await call(world, "GET", "mfa", 401, "credential_not_good", auth=session)
    fresh = await world.log_in("alice")
    assert await call(world, "GET", "mfa", 200, auth=fresh) == {
        "enrolled": False,
        "verified_at": None,
        "expires_at": None,
    }


@pytest.mark.parametrize(("noun", "name"), [("clients", "portal"), ("hosts", "h1")])
async def test_two_secrets_at_once_so_that_one_can_be_rolled_out(world, noun, name):
    def credential(secret):
        return basic(name, secret) if noun == "clients" else secret

    path = f"{noun}/{name}/secrets"
    old = world.clients[name] if noun == "clients" else world.hosts[name]
    (first,) = (await call(world, "GET", path, 200))["items"]
    assert set(first) == {"credential_id", "created_at", "expires_at", "node"}
    new = credential((await call(world, "POST", path, 201))["secret"])
    for auth in (old, new):
        await call(world, "GET", f"{noun}/{name}", 200, auth=auth)
    await call(world, "POST", path, 409, "too_many_secrets")
    await call(world, "DELETE", f"{path}/{first['credential_id']}", 204)
    await call(world, "DELETE", f"{path}/{first['credential_id']}", 404, "secret_unknown")
    await call(world, "GET", f"{noun}/{name}", 401, "credential_not_good", auth=old)
    await call(world, "GET", f"{noun}/{name}", 200, auth=new)
    (left,) = (await call(world, "GET", path, 200))["items"]
    assert left["credential_id"] != first["credential_id"]
    other = "hosts/h1/secrets" if noun == "clients" else "clients/portal/secrets"
    await call(world, "DELETE", f"{other}/{left['credential_id']}", 404, "secret_unknown")
    await call(world, "POST", f"{noun}/nobody/secrets", 404, f"{noun.removesuffix('s')}_unknown")
    await call(world, "GET", f"{noun}/nobody/secrets", 404, f"{noun.removesuffix('s')}_unknown")


async def test_a_secret_is_good_only_with_its_own_name(world):
    import base64

    _, _, secret = base64.b64decode(world.clients["portal"].removeprefix("Basic ")).decode().partition(":")
    await call(world, "GET", "clients", 200, auth=secret)  # as a bearer
    for name in ("other", "", "Portal", "portal "):
        await call(world, "GET", "clients", 401, "credential_not_good", auth=basic(name, secret))
    for wrong in (secret[:-1], secret + "x", secret.swapcase()):
        await call(world, "GET", "clients", 401, "credential_not_good", auth=basic("portal", wrong))


async def test_what_is_disabled_and_enabled_again_goes_on_where_it_was(world):
    issued = (await world.issue()).json
    for path, code in (
        ("clients/portal", "client_disabled"),
        ("users/alice", "user_disabled"),
        ("/api/v1/tenants/default", "tenant_disabled"),
    ):
        await call(world, "PATCH", path, 200, json={"enabled": False})
        assert (await world.check(issued["certificate"])).code == code
        await call(world, "PATCH", path, 200, json={"enabled": True})
        assert (await world.check(issued["certificate"])).status == 200
        assert (await world.issue()).status == 201


NO_REDIRECTS = [
    *("http://portal.example/back", "javascript:alert(1)", "data:text/html,x", "https://a@portal.example/", "ftp://x"),
    *("https://portal.example/#x", "https://portal.example/ x", "https://portal.example\\@evil.example/", "", "/back"),
    *("http://127.0.0.1.evil.example/", "http://localhost.evil.example/", "https://", "https://portal.example/é"),
    *(
        "http://127.0.0.1@evil.example/",
        "http://127.0.0.1:80.evil.example/",
        "https://[::1",
        "https://x:y/",
        "https:///x",
    ),
]


async def test_D_11_a_redirect_uri_leads_to_the_web_and_nowhere_else(world):
    good = ["https://portal.example/back?x=1", "http://127.0.0.1:9999/back", "http://localhost/b", "http://[::1]:1/b"]
    await call(world, "POST", "clients", 201, json={"client_id": "good", "redirect_uris": good})
    for bad in NO_REDIRECTS:
        body = {"redirect_uris": [*good, bad]}
        refused = await call(world, "PATCH", "clients/good", 400, "invalid_request", json=body)
        assert list(refused["fields"]) == ["redirect_uris.4"], bad
