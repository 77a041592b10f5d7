"""The same thing asked for many times at once: done once, and refused as what it is; never a failure."""

import asyncio

from tests.api.stores import events, query
from tests.tms_v1.test_clients import BODY
from tests.tms_v1.test_credentials import CLIENT, digests, give, headers
from tests.tms_v1.test_tenants import admin_of
from tests.world import at_once
from tms_ca.app import open_context
from tms_ca.core.access import Role


async def test_of_twenty_clients_at_once_one_is_made(tms):
    same = [tms.call("POST", "client", tms.admin, BODY) for _ in range(10)]
    alike = [tms.call("POST", "client", tms.admin, BODY | {"client_id": f"g{i}"}) for i in range(10)]
    replies = await at_once(*same, *alike)
    assert sorted(reply.status for reply in replies) == [201] + [409] * 19
    listed = await tms.good("GET", "client/list", tms.admin)
    assert listed["num_clients"] == 2
    versions = [tms.call("PATCH", f"client/upd/{listed['clients'][0]['client_id']}?app_version={i}", tms.admin)
                for i in range(5)]  # fmt: skip
    gone = [tms.call("DELETE", f"client/del/{listed['clients'][0]['client_id']}", tms.admin) for _ in range(5)]
    replies = await asyncio.gather(*versions, *gone)
    assert {reply.status for reply in replies} == {200}
    assert sum(reply.json.get("num_deleted", 0) for reply in replies) == 1


async def test_of_ten_tenants_at_once_one_is_made(tms):
    replies = await asyncio.gather(*(tms.call("POST", "tenants/t1", tms.admin) for _ in range(10)))
    assert sorted(reply.status for reply in replies) == [201] + [409] * 9
    theirs = admin_of(next(reply.json for reply in replies if reply.status == 201))
    gone = await asyncio.gather(*(tms.call("DELETE", "tenants/del/t1", theirs) for _ in range(5)))
    assert {reply.status for reply in gone} <= {200, 400, 401}
    assert sum(reply.json.get("num_deleted", 0) for reply in gone) == 2


async def test_many_first_uses_at_once_are_all_good(tms):
    await give(tms, Role.CLIENT, "portal", CLIENT)
    replies = await at_once(*(tms.call("GET", "client/list", headers("portal", CLIENT)) for _ in range(20)))
    assert [reply.status for reply in replies] == [200] * 20
    assert await digests(tms, CLIENT) == {"portal": 32}
    assert len(await events(tms.world, action="secrets.rehash")) == 1


async def test_replicas_that_start_at_once_make_one_test_tenant(tms):
    world = tms.world
    async with open_context(world.settings, tms.clock) as second, open_context(world.settings, tms.clock) as third:
        contexts = [world.context, second, third] * 2
        said = await asyncio.gather(*(context.seeded_tenant.settle(wanted=True) for context in contexts))
        assert said == [""] * 6
        for table in ("tenants", "clients", "users", "hosts", "account_links", "delegations", "admins"):
            assert await query(world, f"SELECT count(*) FROM {table} WHERE tenant = 'test'") == [(1,)], table
        await asyncio.gather(*(context.seeded_tenant.settle(wanted=False) for context in contexts))
        assert await query(world, "SELECT count(*) FROM tenants WHERE enabled") == [(1,)]


async def test_what_races_a_wipe_comes_before_it_or_is_refused(tms):
    world = tms.world
    theirs = admin_of(await tms.good("POST", "tenants/t1", tms.admin, None, 201))
    world.tenant = "t1"
    await world.furnish()

    def asked(at):
        body = {"tenant": "t1", "tms_user_id": f"u{at}", "ttl_minutes": 5}
        return [world.issue(), tms.call("POST", "usermfa", theirs, body)]

    first, wiped, second = [asked(at) for at in range(5)], tms.call("DELETE", "tenants/wipe/t1", theirs), asked(9)
    replies = await asyncio.gather(*(call for pair in first for call in pair), wiped, *second)
    no_key = {reply.json.get("code") for reply in replies if reply.status == 503}  # found, and gone when it should sign
    assert {reply.status for reply in replies} <= {200, 201, 400, 401, 403, 404, 503}
    assert no_key <= {"ca_key_missing"}
    assert replies[10].status == 200
    for table in ("tenants", "users", "clients", "delegations", "credentials", "ca_keys"):
        assert await query(world, f"SELECT count(*) FROM {table} WHERE tenant = 't1'") == [(0,)], table
    issued = sum(reply.status == 201 and "certificate" in reply.json for reply in replies)
    assert await query(world, "SELECT count(*) FROM certificates WHERE tenant = 't1'") == [(issued,)]
