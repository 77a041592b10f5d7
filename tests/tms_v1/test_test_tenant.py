"""The tenant `test` of the TMS server: made, enabled or disabled at the start, and nobody's to take."""

import asyncio

import pytest

from tests.api.stores import query, snapshot
from tests.tms_v1.test_settings import KNOWN, _begun, _Stream
from tests.tms_v1.test_tenants import operator
from tests.tms_v1.wire import Tms
from tests.world import basic
from tms_ca.http.tms_v1.serve import begin, settle_later
from tms_ca.observe import Log
from tms_ca.settings_tms_v1 import TmsV1


async def test_the_test_tenant_has_what_the_old_install_put_into_it(started):
    async with started(test_tenant="true") as tms:
        shown = await tms.good("GET", "client/testclient1", KNOWN)
        assert (shown["app_name"], shown["app_version"], shown["enabled"]) == ("testapp1", "1.0", True)
        admin = await tms.new_admin("boss", "test")
        never = "9999-12-31T23:59:59+00:00"
        user = (await tms.good("GET", "usermfa/list", admin))["users"][0]
        assert (user["tms_user_id"], user["expires_at"], user["enabled"]) == ("testuser1", never, 1)
        link = (await tms.good("GET", "userhosts/list", admin))["users"][0]
        assert [link[name] for name in ("tms_user_id", "host", "host_account", "expires_at")] == [
            "testuser1", "testhost1", "testhostaccount1", never,
        ]  # fmt: skip
        delegation = (await tms.good("GET", "delegations/list", admin))["users"][0]
        assert [delegation[name] for name in ("client_id", "client_user_id", "expires_at")] == [
            "testclient1", "testuser1", never,
        ]  # fmt: skip
        assert (await tms.good("GET", "hosts/list", admin))["num_mappings"] == 0
        assert (await tms.good("GET", "pubkeys/list", admin))["num_pubkeys"] == 0
        names = "SELECT admin_id FROM admins WHERE tenant = 'test' ORDER BY admin_id"
        assert await query(tms.world, names) == [("boss",), ("~~admin",)]
        body = {
            "client_user_id": "testuser1", "host": "testhost1", "host_account": "testhostaccount1", "num_uses": -1,
            "ttl_minutes": -1,
        }  # fmt: skip
        made = await tms.good("POST", "pubkeys/creds", KNOWN, body, 201)
        assert made["private_key"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
        # The twins: the secret opens nothing elsewhere, and a start that finds all of this changes none of it.
        assert (await tms.call("GET", "client/list", KNOWN | {"X-TMS-TENANT": "default"})).status == 401
        before = await snapshot(tms.world)
        assert [line["message"].split()[0] for line in await _begun(tms)] == ["tms_v1.test_tenant"]
        assert await snapshot(tms.world) == before


async def test_unwanted_it_is_disabled_at_the_start_and_wanted_again_enabled(started):
    async with started(test_tenant="true") as tms:
        settle = tms.world.context.seeded_tenant.settle
        await tms.good("GET", "client/list", KNOWN)
        assert await settle(wanted=False) == ""
        assert await tms.no("GET", "client/list", KNOWN, None, 400) == "Tenant not enabled."
        auth = basic("testclient1", "secret1")
        reply = await tms.world.call("GET", "clients", auth=auth, tenant="test")
        assert (reply.status, reply.code) == (403, "tenant_disabled")
        assert await settle(wanted=True) == ""
        await tms.good("GET", "client/list", KNOWN)


async def test_the_test_tenant_is_nobody_s_whatever_becomes_of_its_secret(started):
    async with started(test_tenant="true") as tms:
        settle = tms.world.context.seeded_tenant.settle
        for method, path in (("PATCH", "client/secret/testclient1"), ("DELETE", "client/del/testclient1")):
            said = await tms.no(method, path, KNOWN, None, 403)
            assert said.startswith("ERROR: FORBIDDEN - The client testclient1 of the test tenant cannot ")
        await tms.good("GET", "client/list", KNOWN)
        # An admin of the tenant can; it stays the test tenant.
        boss = await tms.new_admin("boss", "test")
        await tms.good("PATCH", "client/secret/testclient1", boss)
        assert (await tms.call("GET", "client/list", KNOWN)).status == 401
        await tms.good("DELETE", "client/del/testclient1", boss)
        await tms.good("PATCH", "tenants/upd", tms.admin, {"tenant": "test", "enabled": True})
        assert await settle(wanted=False) == ""
        assert await query(tms.world, "SELECT tenant FROM tenants WHERE enabled") == [("default",)]


@pytest.mark.parametrize("made_here", [True, False])
async def test_unwanted_the_test_tenant_is_not_enabled_over_the_wire(started, made_here):
    async with started() as tms:
        settle = tms.world.context.seeded_tenant.settle
        if made_here:
            assert await settle(wanted=True) == ""
            assert await settle(wanted=False) == ""
        else:  # the twin: an ordinary tenant of that name, in which an ordinary client has that name, too
            await tms.good("POST", "tenants/test", tms.admin, None, 201)
            boss = await tms.new_admin("boss", "test")
            body = {"client_id": "testclient1", "tenant": "test", "app_name": "a", "app_version": "1.0"}
            secret = (await tms.good("POST", "client", boss, body, 201))["client_secret"]
            await tms.good("PATCH", "client/secret/testclient1", KNOWN | {"X-TMS-CLIENT-SECRET": secret})
            await tms.good("PATCH", "tenants/upd", boss, {"tenant": "test", "enabled": False})
        reply = await tms.call("PATCH", "tenants/upd", tms.admin, {"tenant": "test", "enabled": True})
        assert reply.status == (403 if made_here else 200), reply.body
        shown = await tms.good("GET", "tenants/test", tms.admin)
        assert shown["enabled"] is not made_here


async def test_where_the_test_tenant_is_another_s_nothing_says_that_its_secret_is_good(started):
    async with started(test_tenant="true") as tms:
        await tms.good("DELETE", "tenants/wipe/test", await tms.new_admin("boss", "test"))
        await tms.good("POST", "tenants/test", operator(tms, "default"), None, 201)
        lines = [line["message"] for line in await _begun(tms)]
        assert lines == ["there is a tenant 'test' already, and it is not the test tenant"]
        checks = (await tms.call("GET", "/readyz")).json["checks"]
        assert [check["detail"] for check in checks if check["name"] == "tms_v1.test_tenant"] == lines


async def test_where_the_database_is_away_at_the_start_the_test_tenant_is_settled_later(
    started, database_kind, monkeypatch
):
    if database_kind != "sqlite":
        pytest.skip("SQLite alone says of a table that is gone what it says of a database that does not answer")
    async with started() as tms:
        context, wire = tms.world.context, TmsV1(enabled=True, test_tenant=True)
        stream = _Stream()
        log = Log(stream)
        await _write(tms, "ALTER TABLE tenants RENAME TO away")
        assert await begin(context, wire, log) is False
        tries, settle = [], context.seeded_tenant.settle

        async def counted(**wish):
            tries.append(wish)
            return await settle(**wish)

        monkeypatch.setattr(context.seeded_tenant, "settle", counted)
        waiting = asyncio.create_task(settle_later(context, wire, log, seconds=0.01))
        while len(tries) < 3:
            assert not waiting.done()
            await asyncio.sleep(0.001)
        await _write(tms, "ALTER TABLE away RENAME TO tenants")
        await asyncio.wait_for(waiting, 60)
        await tms.good("GET", "client/list", KNOWN)
        assert await begin(context, wire, log) is True


async def _write(tms: Tms, statement: str) -> None:
    async with tms.world.context.directory._database.transaction() as transaction:
        await transaction.connection.exec_driver_sql(statement)


@pytest.mark.parametrize("enabled", ["true", "false"])
async def test_a_tenant_of_that_name_which_is_not_the_test_tenant_is_left_alone(started, enabled):
    async with started() as tms:
        await tms.world.good("POST", "/api/v1/tenants", auth=tms.world.operator, json={"tenant": "test"})
        await tms.world.good(
            "PATCH", "/api/v1/tenants/test", auth=tms.world.operator, json={"enabled": enabled == "true"}
        )
        settle, before = tms.world.context.seeded_tenant.settle, await snapshot(tms.world)
        assert await settle(wanted=True) == "there is a tenant 'test' already, and it is not the test tenant"
        assert await settle(wanted=False) == ""
        assert await snapshot(tms.world) == before


async def test_a_secret_that_is_another_s_stops_the_test_tenant_and_not_the_service(started):
    from tests.tms_v1.test_credentials import give
    from tms_ca.core.access import Role

    async with started() as tms:
        await give(tms, Role.CLIENT, "portal", "secret1")
        said = await tms.world.context.seeded_tenant.settle(wanted=True)
        assert said.startswith("the tenant 'test' cannot be made: the secret of client 'testclient1' is another's, too")
        assert await query(tms.world, "SELECT tenant FROM tenants") == [("default",)]
