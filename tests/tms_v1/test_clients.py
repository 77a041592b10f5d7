"""Clients under /v1/tms: registered, shown, changed, given new secrets, deleted."""

import re

import pytest

from tests.api.stores import events
from tests.tms_v1.keymode import KeyMode
from tests.tms_v1.wire import Tms
from tests.world import basic

SECRET = re.compile(r"[0-9a-f]{48}")
BODY = {"client_id": "gate", "tenant": "default", "app_name": "gateway", "app_version": "1.2"}
DISALLOWED = (
    "Client creation is disallowed due either to running in MVP mode or by explicit assignment of the new_clients "
    "configuration parameter."
)
MEMBERS = {
    "id": int, "tenant": str, "app_name": str, "app_version": str, "client_id": str, "created": str, "updated": str,
}  # fmt: skip


def own(client_id, secret, tenant="default"):
    return {"X-TMS-TENANT": tenant, "X-TMS-CLIENT-ID": client_id, "X-TMS-CLIENT-SECRET": secret}


async def register(tms: Tms, headers=None, status=201, **changed):
    return await tms.good("POST", "client", tms.admin if headers is None else headers, BODY | changed, status)


async def test_a_client_s_life(tms):
    made = await register(tms)
    assert set(made) == {"result_code", "result_msg", "client_id", "client_secret"}
    assert (made["result_msg"], made["client_id"]) == ("success", "gate")
    assert SECRET.fullmatch(made["client_secret"])
    mine = own("gate", made["client_secret"])

    shown = await tms.good("GET", "client/gate", mine)
    assert set(shown) == {*MEMBERS, "enabled", "result_code", "result_msg"}
    assert all(type(shown[name]) is kind for name, kind in MEMBERS.items())
    assert shown["enabled"] is True
    assert (shown["app_name"], shown["app_version"], shown["tenant"]) == ("gateway", "1.2", "default")
    assert shown["created"] == shown["updated"] == "2026-05-28T20:26:40+00:00"
    assert await tms.good("GET", "client/gate", tms.admin) == shown

    listed = await tms.good("GET", "client/list", mine)
    assert (listed["num_clients"], listed["result_msg"]) == (1, "success")
    one = {name: value for name, value in shown.items() if not name.startswith("result")}
    assert listed["clients"] == [one | {"enabled": 1}]
    assert type(listed["clients"][0]["enabled"]) is int
    every = await tms.good("GET", "client/list", tms.admin)
    assert [client["client_id"] for client in every["clients"]] == ["gate", "portal"]
    assert every["clients"][1]["app_name"] == ""  # of a client that /api/v1 made

    tms.clock.move(90)
    assert await tms.good("PATCH", "client/upd/gate?app_version=%5E2&enabled=true&more=ignored", mine) == {
        "result_code": "0", "result_msg": "2 update(s) to client gate completed", "fields_updated": 2,
    }  # fmt: skip
    changed = await tms.good("GET", "client/gate", mine)
    assert changed | {"app_version": "1.2", "updated": shown["updated"]} == shown
    assert (changed["app_version"], changed["updated"]) == ("^2", "2026-05-28T20:28:10+00:00")
    nothing = await tms.good("PATCH", "client/upd/gate", mine)
    assert (nothing["fields_updated"], nothing["result_msg"]) == (0, "No updates specified")

    rotated = await tms.good("PATCH", "client/secret/gate", mine)
    assert rotated | {"client_secret": ""} == {
        "result_code": "0", "result_msg": "Secret updated for client gate", "client_id": "gate", "tenant": "default",
        "client_secret": "",
    }  # fmt: skip
    new = own("gate", rotated["client_secret"])
    assert SECRET.fullmatch(rotated["client_secret"])
    assert (await tms.call("GET", "client/gate", mine)).status == 401
    assert (await tms.call("GET", "client/gate", new)).status == 200

    gone = await tms.good("DELETE", "client/del/gate", new)
    assert (gone["num_deleted"], gone["result_msg"]) == (1, "Client gate deleted")
    assert (await tms.call("GET", "client/gate", new)).status == 401
    again = await tms.good("DELETE", "client/del/gate", tms.admin)
    assert (again["num_deleted"], again["result_msg"]) == (0, "Client gate NOT FOUND - Nothing deleted")
    assert await tms.no("GET", "client/gate", tms.admin, None, 404) == "NOT_FOUND"
    await register(tms)
    assert (await tms.good("GET", "client/gate", tms.admin))["id"] > shown["id"]
    said = [(event["action"], event["actor"]) for event in await events(tms.world, target="gate", outcome="ok")]
    assert said == [
        ("clients.create", "admin:boss"), ("clients.update", "client:gate"), ("clients.delete", "client:gate"),
        ("clients.create", "admin:boss"),
    ]  # fmt: skip


async def test_a_secret_made_here_is_good_in_the_other_api_too_and_nowhere_else(tms):
    from tests.world import basic

    await tms.world.good("POST", "/api/v1/tenants", auth=tms.world.operator, json={"tenant": "other"})
    made = await register(tms)
    secret = made["client_secret"]
    seen = await tms.world.good("GET", "clients/gate", auth=basic("gate", secret))
    assert (seen["client_id"], seen["enabled"], seen["display_name"]) == ("gate", True, "gateway")
    assert (await tms.world.call("GET", "clients/gate", auth=basic("portal", secret))).status == 401
    await tms.good("GET", "client/list", own("gate", secret))
    assert (await tms.call("GET", "client/list", own("gate", secret, "other"))).status == 401
    assert (await tms.call("GET", "client/list", own("portal", secret))).status == 401
    # Two that were rolled out by /api/v1 stop together.
    await tms.world.good("POST", "clients/gate/secrets", auth=tms.world.operator)
    await tms.good("PATCH", "client/secret/gate", tms.admin)
    held = await tms.world.good("GET", "clients/gate/secrets", auth=tms.world.operator)
    assert len(held["items"]) == 1


async def test_enabled_is_honoured_and_an_admin_brings_a_client_back(tms):
    mine = own("gate", (await register(tms))["client_secret"])
    done = await tms.good("PATCH", "client/upd/gate?enabled=false", mine)
    assert done["fields_updated"] == 1
    text = await tms.no("GET", "client/gate", mine, None, 403)
    assert text == "ERROR: FORBIDDEN - the client is disabled; an admin can enable it"
    await tms.no("PATCH", "client/upd/gate?enabled=true", mine, None, 403)
    assert (await tms.good("GET", "client/gate", tms.admin))["enabled"] is False
    await tms.good("PATCH", "client/upd/gate?enabled=true", tms.admin)
    await tms.good("GET", "client/gate", mine)


@pytest.mark.parametrize("query", ["enabled=yes", "enabled=1", "enabled="])
async def test_enabled_is_a_word(tms, query):
    reply = await tms.call("PATCH", f"client/upd/portal?{query}", tms.client)
    assert reply.status == 400
    assert reply.body.startswith(b"failed to parse parameter `enabled`: ")


async def test_what_cannot_be_registered_or_changed_says_why(tms):
    async def no(status, **changed):
        return await tms.no("POST", "client", tms.admin, BODY | changed, status)

    assert await no(400, app_version="abc") == "unexpected character 'a' while parsing major version number"
    assert await no(400, client_id="a b") == "ERROR: client_id: 'a b' cannot be a client_id: 1-32 of A-Z a-z 0-9 . _ -"
    assert await no(400, app_name="x" * 101) == "ERROR: app_name: expected at most 100 characters, got 101"
    long = "1" + " " * 255
    assert await no(400, app_version=long) == "ERROR: app_version: expected at most 255 characters, got 256"
    assert (await no(400, app_name="a\u202eb")).startswith("ERROR: app_name: ")
    assert await no(400, tenant="nowhere") == "Tenant not enabled."
    text = await tms.no("PATCH", "client/upd/portal?app_version=abc", tms.client, None, 400)
    assert text == "ERROR: unexpected character 'a' while parsing major version number"
    for method, path, done in (
        ("PATCH", "client/upd/nobody?enabled=true", "0 update(s) to client nobody completed"),
        ("PATCH", "client/upd/a%20b?enabled=true", "0 update(s) to client a b completed"),
        ("DELETE", "client/del/a%20b", "Client a b NOT FOUND - Nothing deleted"),
    ):
        assert (await tms.good(method, path, tms.admin))["result_msg"] == done
    for path in ("client/nobody", "client/a%20b"):
        assert await tms.no("GET", path, tms.admin, None, 404) == "NOT_FOUND"
    # The old server answered with a secret that was good for nothing.
    assert await tms.no("PATCH", "client/secret/nobody", tms.admin, None, 404) == "NOT_FOUND"
    listed = await tms.good("GET", "client/list", tms.admin)
    assert [client["client_id"] for client in listed["clients"]] == ["portal"]


async def test_one_of_a_name_and_one_of_an_application_s_version(tms):
    await register(tms)
    assert await tms.no("POST", "client", tms.admin, BODY | {"app_version": "9"}, 409) == (
        "ERROR: there is a client 'gate' already"
    )
    assert await tms.no("POST", "client", tms.admin, BODY | {"client_id": "gate2"}, 409) == (
        "ERROR: there is a client of the application 'gateway' '1.2' already"
    )
    await register(tms, client_id="gate2", app_version="1.3")
    taken = await tms.no("PATCH", "client/upd/gate2?app_version=1.2&enabled=false", tms.admin, None, 409)
    assert taken == "ERROR: there is a client of the application 'gateway' '1.2' already"
    assert (await tms.good("GET", "client/gate2", tms.admin))["enabled"] is True  # all or nothing
    await tms.good("PATCH", "client/upd/gate2?app_version=1.3", tms.admin)
    await tms.world.good("POST", "/api/v1/tenants", auth=tms.world.operator, json={"tenant": "other"})
    await register(tms, await tms.new_admin("boss", "other"), tenant="other")


async def test_lists_are_complete_and_in_order(tms):
    names = [f"c{i:02}" for i in range(30)] + ["B", "a", "_z", "list"]
    for at, name in enumerate(reversed(names)):
        await register(tms, client_id=name, app_version=str(at))
    listed = await tms.good("GET", "client/list", tms.admin)
    assert [one["client_id"] for one in listed["clients"]] == sorted([*names, "portal"])
    assert listed["num_clients"] == len(names) + 1
    assert len({one["id"] for one in listed["clients"]}) == len(names) + 1


async def test_nobody_registers_a_client_unless_the_settings_say_so(started):
    async with started() as tms:
        assert await tms.no("POST", "client", {}, BODY, 400) == DISALLOWED
        assert await tms.no("POST", "client", tms.client, BODY, 400) == DISALLOWED
        wrong = tms.admin | {"X-TMS-ADMIN-SECRET": "x"}
        text = "ERROR: NOT AUTHORIZED to add client gate in tenant default."
        assert await tms.no("POST", "client", wrong, BODY, 401) == text
        assert await tms.no("POST", "client", {**tms.admin, "X-TMS-TENANT": "other"}, BODY, 401) == text
        await register(tms)


async def test_on_approval_a_client_can_do_nothing_before_an_admin_enables_it(started):
    async with started(new_clients='"on_approval"') as tms:
        mine = own("gate", (await register(tms, {}))["client_secret"])
        assert (await events(tms.world, action="clients.create", target="gate"))[0]["actor"] == "anyone"
        for method, path in (("GET", "client/gate"), ("PATCH", "client/upd/gate?enabled=true")):
            await tms.no(method, path, mine, None, 403)
        await tms.good("PATCH", "client/upd/gate?enabled=true", tms.admin)
        await tms.good("GET", "client/gate", mine)
        # An admin's word is the approval.
        made = await register(tms, client_id="gate2", app_version="2")
        await tms.good("GET", "client/gate2", own("gate2", made["client_secret"]))


async def test_allowed_anybody_registers_one_and_in_mvp_mode_nobody(started):
    async with started(new_clients='"allow"') as tms:
        made = await register(tms, {})
        await tms.good("GET", "client/gate", own("gate", made["client_secret"]))
        await tms.no("POST", "client", {}, BODY | {"tenant": "nowhere"}, 400)
        for stray in (tms.admin | {"X-TMS-ADMIN-SECRET": "x"}, {"X-TMS-ADMIN-ID": "boss"}):  # no stranger, no admin
            await tms.no("POST", "client", stray, BODY | {"client_id": "other", "app_version": "7"}, 401)


async def test_in_mvp_mode_nobody_registers_a_client(started):
    async with started(new_clients='"allow"', mvp="true") as tms:
        for headers in ({}, tms.admin):
            assert await tms.no("POST", "client", headers, BODY | {"app_version": "abc"}, 400) == DISALLOWED


async def test_a_client_called_list_is_there_and_its_path_is_the_list(tms):
    made = await register(tms, client_id="list")
    mine = own("list", made["client_secret"])
    shown = await tms.good("GET", "client/list", mine)
    assert ([one["client_id"] for one in shown["clients"]], "client_id" in shown) == (["list"], False)
    assert (await tms.good("PATCH", "client/upd/list?app_version=2", mine))["fields_updated"] == 1
    assert (await tms.good("DELETE", "client/del/list", mine))["num_deleted"] == 1
    assert (await tms.good("GET", "client/list", tms.admin))["num_clients"] == 1


@pytest.mark.parametrize("new_clients", ["allow", "on_approval"])
async def test_nobody_takes_the_name_of_a_client_that_is_gone_and_its_history(started, new_clients):
    async with started(new_clients=f'"{new_clients}"') as tms:
        mode = KeyMode(tms)
        await mode.furnish()
        body = tms.world.issue_body(user="ada", account="ada")
        auth = basic("portal", tms.client["X-TMS-CLIENT-SECRET"])
        await tms.world.good("POST", "certificates", auth=auth, json=body)
        await tms.good("DELETE", "client/del/portal", tms.admin)
        again = {"client_id": "portal", "tenant": "default", "app_name": "other", "app_version": "1.0"}
        said = await tms.no("POST", "client", {}, again, 409)
        assert said.startswith("ERROR: there was a client 'portal', whose certificates and logins")
        # The twins: a name that has none, and an admin.
        await tms.good("POST", "client", {}, {**again, "client_id": "fresh", "app_name": "fresh"}, 201)
        await tms.good("DELETE", "client/del/fresh", tms.admin)
        await tms.good("POST", "client", {}, {**again, "client_id": "fresh", "app_name": "fresh"}, 201)
        await tms.good("POST", "client", tms.admin, again, 201)
