"""What [tms_v1] opens, closes and bounds, and how loudly it says so."""

import io
import json

import pytest

from tests.api.stores import query, snapshot
from tests.tms_v1.test_clients import BODY
from tests.tms_v1.wire import Tms
from tests.world import basic
from tms_ca.core.errors import TooMany
from tms_ca.http.tms_v1.rates import Rates
from tms_ca.http.tms_v1.serve import begin
from tms_ca.observe import Log
from tms_ca.settings_tms_v1 import NewClients, TmsV1

KNOWN = {"X-TMS-TENANT": "test", "X-TMS-CLIENT-ID": "testclient1", "X-TMS-CLIENT-SECRET": "secret1"}
LOOSE = {
    "strict": False, "mvp": True, "new_clients": NewClients.ALLOW, "test_tenant": True, "open_tenants": True,
}  # fmt: skip


def test_the_defaults_are_the_safe_ones():
    assert TmsV1(enabled=True).loosened() == {}
    assert TmsV1(enabled=False, **LOOSE).loosened() == {}
    for name, value in LOOSE.items():
        said = TmsV1(enabled=True, **{name: value}).loosened()
        assert list(said) == [f"tms_v1.{name}"]
        assert said[f"tms_v1.{name}"].startswith(f"tms_v1.{name} is ")
    assert len(TmsV1(enabled=True, **LOOSE).loosened()) == len(LOOSE)


class _Stream:
    def __init__(self):
        self.buffer = io.BytesIO()

    def lines(self):
        return [json.loads(line) for line in self.buffer.getvalue().splitlines()]


async def _begun(tms: Tms):
    """Begin once more on the same services; return the lines of the log."""
    stream = _Stream()
    log = Log(stream)
    await begin(tms.world.context, tms.world.settings.tms_v1, log)
    log.flush()
    assert {line["level"] for line in stream.lines()} <= {"warning"}
    return stream.lines()


async def test_what_is_loose_is_said_at_each_start_and_by_readyz(started):
    async with started(strict="false", new_clients='"allow"') as tms:
        lines = await _begun(tms)
        assert [line["message"].split()[0] for line in lines] == ["tms_v1.strict", "tms_v1.new_clients"]
        reply = await tms.call("GET", "/readyz")
        failed = [check for check in reply.json["checks"] if not check["ok"]]
        assert {check["name"] for check in failed} >= {"tms_v1.strict", "tms_v1.new_clients"}
        assert {check["detail"] for check in failed} >= {line["message"] for line in lines}
        assert not any(check["blocking"] for check in failed if check["name"].startswith("tms_v1"))
        assert (reply.status, reply.json["status"]) == (200, "degraded")


async def test_what_is_safe_says_nothing(tms):
    assert await _begun(tms) == []
    checks = (await tms.call("GET", "/readyz")).json["checks"]
    assert not [check for check in checks if check["name"].startswith("tms_v1")]


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
        # Kept as SHA-256 by now, the secret is still the well-known one; one that was rotated is not.
        await tms.good("PATCH", "client/secret/testclient1", KNOWN)
        assert await settle(wanted=False) == ""
        assert await query(tms.world, "SELECT tenant FROM tenants WHERE enabled ORDER BY 1") == [
            ("default",),
            ("test",),
        ]


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


async def test_open_calls_and_wrong_credentials_are_bounded_and_good_ones_are_not(started):
    async with started(requests_per_minute="12") as tms:  # of which two at once
        assert [(await tms.call("GET", "hello")).status for _ in range(3)] == [200, 200, 429]
        reply = await tms.call("GET", "hello")
        assert reply.json["result_code"] == "429"
        assert 1 <= int(reply.headers["Retry-After"]) <= 5
        for path in ("version", "/spec"):  # each call has a bucket of its own
            assert (await tms.call("GET", path)).status == 200
        for method, path, body in (("POST", "client", BODY), ("GET", "tenants/default", None)):
            statuses = [(await tms.call(method, path, {}, body)).status for _ in range(3)]
            assert statuses[-1] == 429, path
        wrong = tms.admin | {"X-TMS-ADMIN-SECRET": "x"}
        assert (await tms.call("GET", "client/list", wrong)).status == 429  # tenants/default has had them
        events = "SELECT count(*) FROM audit_events WHERE outcome = 'credential_not_good'"
        before = await query(tms.world, events)
        for _ in range(3):
            assert (await tms.call("GET", "usermfa/list", wrong)).status == 429
        assert await query(tms.world, events) == before
        for _ in range(20):
            assert (await tms.call("GET", "client/list", tms.admin)).status == 200


@pytest.mark.parametrize("open_", ["false", "true"])
async def test_a_good_admin_is_never_refused_for_who_calls_from_the_same_address(started, open_):
    async with started(requests_per_minute="12", open_tenants=open_) as tms:  # of which two at once
        wrong = tms.admin | {"X-TMS-ADMIN-SECRET": "x"}
        calls = (("POST", "client", BODY), ("GET", "tenants/list", None), ("GET", "tenants/default", None))
        for method, path, body in calls:
            for nobody in ({}, wrong):
                statuses = [(await tms.call(method, path, nobody, body)).status for _ in range(3)]
                assert statuses[-1] == 429, (path, nobody)
        for number in range(4):
            body = BODY | {"client_id": f"c{number}", "app_version": str(number)}
            assert (await tms.call("POST", "client", tms.admin, body)).status == 201
            for path in ("tenants/list", "tenants/default"):
                assert (await tms.call("GET", path, tms.admin)).status == 200
        for method, path, body in calls:  # the twin: nobody is still told to wait
            assert (await tms.call(method, path, {}, body)).status == 429, path


def test_buckets_fill_again_and_are_each_one_address_s():
    now = [0.0]
    rates = Rates({"open": 60}, lambda: now[0])
    for _ in range(10):
        rates.take("open", "hello", "192.0.2.1")
    with pytest.raises(TooMany) as refused:
        rates.take("open", "hello", "192.0.2.1")
    assert refused.value.retry_after == 1
    rates.take("open", "hello", "192.0.2.2")
    rates.take("open", "version", "192.0.2.1")
    now[0] = 1.0
    rates.take("open", "hello", "192.0.2.1")
    with pytest.raises(TooMany):
        rates.take("open", "hello", "192.0.2.1")
    now[0] = 3600.0
    for _ in range(10):
        rates.take("open", "hello", "192.0.2.1")
    with pytest.raises(TooMany):
        rates.take("open", "hello", "192.0.2.1")


def test_the_addresses_of_one_ipv6_network_share_a_bucket():
    rates = Rates({"open": 6}, lambda: 0.0)
    for first, same, another in (
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
        ("::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.2"),
        ("fe80::1%eth0", "fe80::2", "fe80:0:0:1::1"),
        ("unknown:", "unknown:", "unknown"),
    ):
        rates.take("open", "hello", first)
        with pytest.raises(TooMany):
            rates.take("open", "hello", same)
        rates.take("open", "hello", another)


async def test_a_refusal_in_a_tenant_that_is_not_there_is_on_record_in_none(tms):
    body = {"client_id": "portal", "host": "h1", "public_key_fingerprint": "SHA256:x"}
    for tenant in ("nowhere", "default", "N 1"):
        wrong = tms.client | {"X-TMS-TENANT": tenant, "X-TMS-CLIENT-SECRET": "0" * 48}
        assert (await tms.call("DELETE", "pubkeys/del", wrong, {**body, "tenant": tenant})).status == 401
    refused = "SELECT tenant FROM audit_events WHERE outcome = 'credential_not_good' ORDER BY 1"
    assert await query(tms.world, refused) == [("*",), ("*",), ("default",)]
