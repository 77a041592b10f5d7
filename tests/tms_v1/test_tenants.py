"""Tenants under /v1/tms: made by administrators of `default`, shown to few, enabled, deleted, wiped."""

import re

import pytest

from tests.api.stores import events, query
from tests.tms_v1.wire import Tms
from tests.world import basic
from tms_ca.store.tables import metadata

SECRET = re.compile(r"[0-9a-f]{48}")


def admin_of(made):
    return {
        "X-TMS-TENANT": made["tenant"], "X-TMS-ADMIN-ID": made["admin_id"], "X-TMS-ADMIN-SECRET": made["admin_secret"],
    }  # fmt: skip


async def new_tenant(tms: Tms, tenant="t1"):
    return admin_of(await tms.good("POST", f"tenants/{tenant}", tms.admin, None, 201))


def operator(tms: Tms, tenant):
    import base64

    name, _, secret = base64.b64decode(tms.world.operator.removeprefix("Basic ")).decode().partition(":")
    return {"X-TMS-TENANT": tenant, "X-TMS-ADMIN-ID": name, "X-TMS-ADMIN-SECRET": secret}


async def test_an_admin_of_default_makes_a_tenant_with_its_admin_and_ca_keys(tms):
    made = await tms.good("POST", "tenants/t1", tms.admin, None, 201)
    assert made | {"admin_secret": ""} == {
        "result_code": "0", "result_msg": "success", "enabled": True, "tenant": "t1", "admin_id": "~~admin",
        "admin_secret": "",
    }  # fmt: skip
    assert SECRET.fullmatch(made["admin_secret"])
    theirs = admin_of(made)
    assert (await tms.good("GET", "usermfa/list", theirs))["num_users"] == 0
    assert (await tms.call("GET", "usermfa/list", theirs | {"X-TMS-TENANT": "default"})).status == 401
    # The same admin in the other API, where its name stands in a path and in HTTP Basic.
    auth = basic("~~admin", made["admin_secret"])
    assert await tms.world.good("GET", "clients", auth=auth, tenant="t1") == {"items": [], "next_cursor": None}
    assert (await tms.world.call("GET", "/api/v1/tenants/t1/ca/user.pub")).body.startswith(b"ssh-ed25519 ")
    listed = await tms.world.good("GET", "admins", auth=tms.world.operator, tenant="t1")
    assert [one["admin_id"] for one in listed["items"]] == ["~~admin"]
    # Only there: an admin of another tenant makes none.
    text = await tms.no("POST", "tenants/t2", theirs, None, 403)
    assert text == "ERROR: FORBIDDEN - Only admin users in the 'default' tenant can create new tenants."
    assert await tms.no("POST", "tenants/t1", tms.admin, None, 409) == "ERROR: there is a tenant 't1' already"
    bad = await tms.no("POST", "tenants/T_1", tms.admin, None, 400)
    assert bad == "ERROR: tenant: 'T_1' cannot be a tenant: 1-24 of a-z 0-9 -"
    await tms.good("POST", "tenants/t3", operator(tms, "default"), None, 201)
    deleted = await tms.world.call("DELETE", "admins/~~admin", auth=tms.world.operator, tenant="t1")
    assert deleted.status == 204
    assert (await tms.call("GET", "usermfa/list", theirs)).status == 401


async def test_names_of_tenants_are_shown_to_admins_as_far_as_they_see(tms):
    theirs = await new_tenant(tms)
    shown = await tms.good("GET", "tenants/t1", theirs)
    assert {name: type(value) for name, value in shown.items()} == {
        "result_code": str, "result_msg": str, "id": int, "tenant": str, "enabled": bool, "created": str,
        "updated": str,
    }  # fmt: skip
    for headers, seen in ((theirs, ["t1"]), (tms.admin, ["default", "t1"]), (operator(tms, "t1"), ["default", "t1"])):
        listed = await tms.good("GET", "tenants/list", headers)
        assert [one["tenant"] for one in listed["tenants"]] == seen
        assert listed["num_tenants"] == len(seen)
        assert [one["id"] for one in listed["tenants"]] == sorted(one["id"] for one in listed["tenants"])
        assert {type(one["enabled"]) for one in listed["tenants"]} == {int}
    assert (await tms.good("GET", "tenants/t1", tms.admin)) == shown
    for headers in ({}, tms.client, theirs | {"X-TMS-ADMIN-SECRET": "x"}, theirs | {"X-TMS-TENANT": "default"}):
        assert await tms.no("GET", "tenants/list", headers, None, 401) == "ERROR: NOT AUTHORIZED to list tenants."
        assert await tms.no("GET", "tenants/t1", headers, None, 401) == "ERROR: NOT AUTHORIZED to view tenant t1."
    for headers, name in ((theirs, "default"), (theirs, "nowhere"), (tms.admin, "nowhere"), (tms.admin, "N%20o")):
        assert await tms.no("GET", f"tenants/{name}", headers, None, 404) == "NOT_FOUND"


async def test_anybody_reads_names_of_tenants_where_the_settings_say_so(started):
    async with started(open_tenants="true") as tms:
        await new_tenant(tms)
        assert [one["tenant"] for one in (await tms.good("GET", "tenants/list"))["tenants"]] == ["default", "t1"]
        assert (await tms.good("GET", "tenants/t1"))["enabled"] is True
        assert await tms.no("GET", "tenants/nowhere", {}, None, 404) == "NOT_FOUND"


async def test_a_tenant_called_list_is_there_and_its_path_is_the_list(tms):
    theirs = await new_tenant(tms, "list")
    assert [one["tenant"] for one in (await tms.good("GET", "tenants/list", theirs))["tenants"]] == ["list"]
    done = await tms.good("PATCH", "tenants/upd", theirs, {"tenant": "list", "enabled": True})
    assert done["fields_updated"] == 1
    assert (await tms.good("DELETE", "tenants/del/list", theirs))["num_deleted"] == 2
    assert [one["tenant"] for one in (await tms.good("GET", "tenants/list", tms.admin))["tenants"]] == ["default"]


async def test_a_disabled_tenant_is_enabled_again_by_who_stands_above_it(tms):
    theirs = await new_tenant(tms)
    off, on = {"tenant": "t1", "enabled": False}, {"tenant": "t1", "enabled": True}
    forbidden = await tms.no("PATCH", "tenants/upd", tms.admin, off, 403)
    assert forbidden == "ERROR: FORBIDDEN - Admin users in the 'default' tenant can enable tenant t1, not disable it."
    tms.clock.move(60)
    done = await tms.good("PATCH", "tenants/upd", theirs, off)
    assert (done["result_msg"], done["fields_updated"]) == ("1 update(s) to tenant t1 completed, enabled = false", 1)
    for headers in (theirs, theirs | {"X-TMS-ADMIN-SECRET": "x"}, {"X-TMS-TENANT": "t1"}):
        assert await tms.no("PATCH", "tenants/upd", headers, on, 400) == "Tenant not enabled."
        assert await tms.no("GET", "usermfa/list", headers, None, 400) == "Tenant not enabled."
    shown = await tms.good("GET", "tenants/t1", tms.admin)
    assert (shown["enabled"], shown["updated"]) == (False, "2026-05-28T20:27:40+00:00")
    for above in (tms.admin, operator(tms, "t1"), operator(tms, "default")):
        done = await tms.good("PATCH", "tenants/upd", above, on)
        assert done["result_msg"] == "1 update(s) to tenant t1 completed, enabled = true"
        await tms.good("GET", "usermfa/list", theirs)
        await tms.good("PATCH", "tenants/upd", operator(tms, "t1"), off)
    done = await tms.good("PATCH", "tenants/upd", tms.admin, {"tenant": "nowhere", "enabled": True})
    assert (done["fields_updated"], done["result_msg"][:1]) == (0, "0")
    other = await new_tenant(tms, "t2")
    await tms.no("PATCH", "tenants/upd", other, on, 403)


async def furnish(tms: Tms, theirs):
    """Fill the tenant as gateways do; return the client's headers."""
    t = theirs["X-TMS-TENANT"]
    made = await tms.good(
        "POST", "client", theirs, {"client_id": "c1", "tenant": t, "app_name": "a", "app_version": "1"}, 201
    )  # fmt: skip
    mine = {"X-TMS-TENANT": t, "X-TMS-CLIENT-ID": "c1", "X-TMS-CLIENT-SECRET": made["client_secret"]}
    for path, body in (
        ("usermfa", {"tms_user_id": "al", "ttl_minutes": -1}),
        ("userhosts", {"tms_user_id": "al", "host": "h9", "host_account": "al", "ttl_minutes": -1}),
        ("delegations", {"client_id": "c1", "client_user_id": "al", "ttl_minutes": -1}),
        ("hosts", {"host": "h1", "addr": "192.0.2.1"}),
    ):
        await tms.good("POST", path, theirs, {"tenant": t, **body}, 201)
    return mine


async def test_a_tenant_is_deleted_only_when_nothing_is_in_it(tms):
    theirs = await new_tenant(tms)
    await furnish(tms, theirs)
    text = await tms.no("DELETE", "tenants/del/t1", theirs, None, 409)
    assert text.startswith("ERROR: the tenant 't1' still has 1 delegations, 1 user_hosts, 1 user_mfa, 1 clients, ")
    assert text.endswith(": delete them first, or wipe it")
    host = {"tenant": "t1", "host": "h1", "addr": "192.0.2.1"}
    await tms.good("DELETE", "hosts/del", theirs, host)
    await tms.good("DELETE", "usermfa/del/al", theirs)
    await tms.no("DELETE", "tenants/del/t1", theirs, None, 409)
    await tms.good("DELETE", "client/del/c1", theirs)
    # The host that the account link brought along has no credential; one that has is in the way.
    await tms.world.good("POST", "hosts", auth=tms.world.operator, json={"host": "h2"}, tenant="t1")
    assert "1 hosts with a credential" in await tms.no("DELETE", "tenants/del/t1", theirs, None, 409)
    await tms.world.call("DELETE", "hosts/h2", auth=tms.world.operator, tenant="t1")
    done = await tms.good("DELETE", "tenants/del/t1", theirs)
    assert (done["num_deleted"], done["result_msg"]) == (2, "Tenant t1 deleted")
    assert await tms.no("GET", "usermfa/list", theirs, None, 400) == "Tenant not enabled."
    again = await tms.no("DELETE", "tenants/del/t1", theirs, None, 400)
    assert again == "Tenant not enabled."
    for path in ("tenants/del/default", "tenants/wipe/default"):
        text = await tms.no("DELETE", path, tms.admin, None, 409)  # said before what is in it
        assert text == "ERROR: the tenant 'default' cannot be deleted: its admins make all others"
    assert (await tms.good("GET", "tenants/list", tms.admin))["num_tenants"] == 1


async def test_a_wiped_tenant_leaves_nothing_but_history_and_nothing_of_it_comes_back(tms):
    world, theirs = tms.world, await new_tenant(tms)
    await furnish(tms, theirs)
    world.tenant = "t1"
    await world.furnish()
    issued = await world.issue()
    assert (issued.status, (await world.check(issued.json["certificate"])).status) == (201, 200)
    rows = {
        "delegations": 2,
        "account_links": 2,
        "users": 2,
        "clients": 2,
        "tms_v1_hosts": 1,
        "admins": 1,
        "tenants": 1,
    }

    async def counted():
        found = {name: (await query(world, f"SELECT count(*) FROM {name} WHERE tenant = 't1'"))[0][0] for name in rows}
        return {name: count for name, count in found.items() if count}

    before = await counted()
    done = await tms.good("DELETE", "tenants/wipe/t1", theirs)
    assert (done["num_deleted"], done["result_msg"]) == (sum(before.values()), "Tenant t1 and dependencies wiped")
    assert await counted() == {}
    loose = "SELECT count(*) FROM credentials WHERE tenant = 't1'", "SELECT count(*) FROM ca_keys WHERE tenant = 't1'"
    assert [(await query(world, statement))[0][0] for statement in loose] == [0, 0]
    assert (await query(world, "SELECT count(*) FROM certificates WHERE tenant = 't1'"))[0][0] == 1
    wiped = await events(world, tenant="t1", action="tenants.wipe")
    assert [event["actor"] for event in wiped] == ["admin:~~admin"]
    assert '"certificates":1' in wiped[0]["detail"].replace(" ", "")
    assert (await world.check(issued.json["certificate"])).status in {401, 404}  # the host is gone, and the tenant
    assert (await tms.call("GET", "client/list", theirs)).status == 400

    # Under the same name, with everything made anew, the old certificate opens nothing.
    assert (await tms.call("POST", "tenants/t1", tms.admin)).status == 409
    anew = admin_of(await tms.good("POST", "tenants/t1", operator(tms, "default"), None, 201))
    assert anew != theirs
    assert (await tms.call("GET", "client/list", theirs)).status == 401
    old_client, old_host = world.clients["portal"], world.hosts["h1"]
    await world.furnish()
    denied = await world.check(issued.json["certificate"])
    assert (denied.status, denied.code) == (403, "ca_key_not_trusted")
    fresh = await world.issue()
    assert (await world.check(fresh.json["certificate"])).status == 200
    assert (await world.call("GET", "clients/portal", auth=old_client)).status == 401
    assert (await world.call("GET", "hosts/h1", auth=old_host)).status == 401


@pytest.mark.parametrize("path", ["tenants/del/t1", "tenants/wipe/t1"])
async def test_only_its_own_admins_and_operators_end_a_tenant(tms, path):
    theirs = await new_tenant(tms)
    for headers, status in (
        (tms.admin, 403),  # of default: the tenant of the path is not the header's
        (tms.admin | {"X-TMS-TENANT": "t1"}, 401),
        (await furnish(tms, theirs) | {"X-TMS-TENANT": "t1"}, 401),
    ):
        await tms.no("DELETE", path, headers, None, status)
    await tms.good("DELETE", "tenants/wipe/t1", operator(tms, "t1"))


async def test_a_name_with_a_history_is_made_anew_by_operators_alone(tms):
    theirs = await new_tenant(tms)
    await tms.good("DELETE", "tenants/del/t1", theirs)
    before = await query(tms.world, "SELECT count(*) FROM tenants")
    said = await tms.no("POST", "tenants/t1", tms.admin, None, 409)
    assert said.startswith("ERROR: there was a tenant 't1', whose certificates, logins and audit events")
    assert said.endswith("an operator can make it: tms-ca tenants create t1")
    assert await query(tms.world, "SELECT count(*) FROM tenants") == before
    # What strangers had refused under a name is no history of it.
    reply = await tms.world.call("GET", "clients", auth="tms_c_" + "x" * 43, tenant="t2")
    assert reply.status == 401
    await new_tenant(tms, "t2")
    await tms.good("POST", "tenants/t1", operator(tms, "default"), None, 201)


async def test_history_alone_keeps_a_name(tms):
    """Also where the audit events of its time were deleted."""
    for table, tenant in (("certificates", "t5"), ("logins", "t6")):
        async with tms.world.context.directory._database.transaction() as transaction:
            await transaction.connection.exec_driver_sql(_row_of(table, tenant))
        await tms.no("POST", f"tenants/{tenant}", tms.admin, None, 409)


def _row_of(name, tenant):
    """Return the SQL of a row with the least that the table takes."""
    kinds = {"TEXT": "'[]'", "BIGINT": "7", "INTEGER": "7", "BOOLEAN": "true", "JSON": "'[]'"}
    columns = [c for c in metadata.tables[name].c if not c.nullable and not c.primary_key]
    values = [f"'{tenant}'" if c.name == "tenant" else kinds.get(str(c.type), "'00'") for c in columns]
    names = ", ".join(f'"{c.name}"' for c in columns)
    return f"INSERT INTO {name} ({names}) VALUES ({', '.join(values)})"
