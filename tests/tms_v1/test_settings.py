"""What [tms_v1] opens, closes and bounds, and how loudly it says so."""

import io
import json

import pytest

from tests.api.stores import query
from tests.tms_v1.test_clients import BODY
from tests.tms_v1.wire import Tms
from tms_ca.core.errors import TooMany
from tms_ca.http.tms_v1.rates import Rates
from tms_ca.http.tms_v1.serve import begin
from tms_ca.observe import Log
from tms_ca.settings_tms_v1 import NewClients, TmsV1, TmsV1Schema

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
    on_approval = TmsV1(enabled=True, new_clients=NewClients.ON_APPROVAL).loosened()
    assert "an admin must enable" in on_approval["tms_v1.new_clients"]


@pytest.mark.parametrize(
    ("section", "good"),
    [
        ({"retrieve_tenants": ["default", "t-1"]}, True),
        ({"retrieve_tenants": ["Default"]}, False),
        ({"retrieve_tenants": [""]}, False),
        ({"server_urls": ["https://tms.example/v1", "http://[::1]:8443/v1"]}, True),
        ({"server_urls": ["tms.example/v1"]}, False),
        ({"server_urls": ["javascript:alert(1)"]}, False),
        ({"server_urls": ["https://[::1/v1"]}, False),
    ],
)
def test_names_of_tenants_and_addresses_of_servers_are_such(section, good):
    errors = TmsV1Schema().validate(section)
    assert (errors == {}) is good, errors


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


async def test_a_tenant_to_narrow_retrieval_to_which_is_not_there_is_said(started):
    async with started(retrieve_tenants='["default", "nowhere"]') as tms:
        said = "tms_v1.retrieve_tenants names 'nowhere', and there is no such tenant"
        assert [line["message"] for line in await _begun(tms)] == [said]

        async def checked():
            checks = (await tms.call("GET", "/readyz")).json["checks"]
            return [check["detail"] for check in checks if check["name"] == "tms_v1.retrieve_tenants"]

        assert await checked() == [said]
        await tms.good("POST", "tenants/nowhere", tms.admin, None, 201)
        assert (await _begun(tms), await checked()) == ([], [])


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
        tms.clock.move(5)
        assert [(await tms.call("GET", "hello")).status for _ in range(2)] == [200, 429]


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
