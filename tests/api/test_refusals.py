"""Whatever does not allow a certificate refuses it: with a code of its own, one event, and nothing issued.

Each case first sees the same request granted, so that a refusal is for the one thing that it changes.
"""

import pytest

from tests.api.stores import events, query
from tests.world import _rfc3339, basic, ssh_keygen
from tms_ca.core.facts import Limits
from tms_ca.core.policy import decide
from tms_ca.services.issuance import Verdicts

REFUSALS = {}


def refusal(code, status=403):
    def add(change):
        REFUSALS[change.__name__] = (code, status, change)
        return change

    return add


async def _patch(world, path, **changes):
    await world.good("PATCH", path, auth=world.operator, json=changes)


async def _revoke(world, **selector):
    await world.good("POST", "revocations", auth=world.operator, json={**selector, "reason": "test"})


async def _only_link(world):
    return (await world.good("GET", "account-links", auth=world.operator))["items"][0]["id"]


async def _decide(world, verb):
    path = f"delegations/{world.delegation['id']}/{verb}"
    await world.good("POST", path, auth=world.sessions["alice"], json=None)


async def _second_host(world, *, approve):
    await world.add_host("h2")
    await world.link("alice", "h2", "alice")
    return await world.delegate("alice", "portal", "h2", "alice", approve=approve)


@refusal("delegation_missing")
async def no_delegation_to_this_client(world):
    await world.add_client("other")
    return {"client_id": "other"}


@refusal("delegation_missing")
async def no_delegation_of_this_user(world):
    await world.add_user("bob")
    await world.link("bob", "h1", "bob")
    return {"user": "bob", "account": "bob"}


@refusal("delegation_missing")
async def a_user_that_is_not_there(world):
    return {"user": "nobody"}


@refusal("delegation_missing")
async def a_deleted_user(world):
    await world.good("DELETE", "users/alice", auth=world.operator)
    return {}


@refusal("delegation_pending")
async def pending(world):
    await _second_host(world, approve=False)
    return {"host": "h2"}


@refusal("delegation_denied")
async def denied(world):
    asked = await _second_host(world, approve=False)
    await world.good("POST", f"delegations/{asked['id']}/deny", auth=world.sessions["alice"])
    return {"host": "h2"}


@refusal("delegation_expired")
async def never_answered(world):
    await _second_host(world, approve=False)
    world.clock.move(86400)
    return {"host": "h2"}


@refusal("delegation_expired")
async def ended(world):
    world.clock.move(30 * 86400)
    return {}


@refusal("delegation_revoked")
async def taken_back(world):
    await _decide(world, "revoke")
    return {}


@refusal("delegation_other_host")
async def another_host(world):
    await world.add_host("h2")
    await world.link("alice", "h2", "alice")
    return {"host": "h2"}


@refusal("delegation_other_host")
async def a_host_that_is_not_there(world):
    return {"host": "h9"}


@refusal("delegation_other_account")
async def another_account(world):
    await world.link("alice", "h1", "alice2")
    return {"account": "alice2"}


@refusal("host_unknown")
async def a_deleted_host(world):
    await world.good("DELETE", "hosts/h1", auth=world.operator)
    return {}


@refusal("mfa_never")
async def mfa_never_done(world):
    await world.good("DELETE", "users/alice/mfa", auth=world.operator)
    return {}


@refusal("mfa_expired")
async def mfa_long_ago(world):
    world.clock.move(12 * 3600)
    return {}


@refusal("mfa_expired")
async def a_shorter_window(world):
    world.clock.move(61)
    await _patch(world, "/api/v1/tenants/default", mfa_window_seconds=60)
    return {}


@refusal("account_link_missing")
async def no_link(world):
    await world.good("DELETE", f"account-links/{await _only_link(world)}", auth=world.operator)
    return {}


@refusal("account_link_not_started")
async def a_link_of_tomorrow(world):
    await _patch(world, f"account-links/{await _only_link(world)}", starts_at=_rfc3339(world.clock.now() + 86400))
    return {}


@refusal("account_link_expired")
async def a_link_of_yesterday(world):
    await _patch(world, f"account-links/{await _only_link(world)}", expires_at=_rfc3339(world.clock.now() - 86400))
    return {}


@refusal("tenant_disabled")
async def a_disabled_tenant(world):
    await _patch(world, "/api/v1/tenants/default", enabled=False)
    return {}


@refusal("client_disabled")
async def a_disabled_client(world):
    await _patch(world, "clients/portal", enabled=False)
    return {}


@refusal("client_revoked")
async def a_revoked_client(world):
    await _revoke(world, client_id="portal")
    return {}


@refusal("client_expired")
async def an_ended_client(world):
    await _patch(world, "clients/portal", expires_at=_rfc3339(world.clock.now()))
    return {}


@refusal("credential_not_good", 401)
async def a_deleted_client(world):
    await world.good("DELETE", "clients/portal", auth=world.operator)
    return {}


@refusal("user_disabled")
async def a_disabled_user(world):
    await _patch(world, "users/alice", enabled=False)
    return {}


@refusal("user_revoked")
async def a_revoked_user(world):
    await _revoke(world, user="alice")
    return {}


@refusal("host_disabled")
async def a_disabled_host(world):
    await _patch(world, "hosts/h1", enabled=False)
    return {}


@refusal("host_revoked")
async def a_revoked_host(world):
    await _revoke(world, host="h1")
    return {}


@refusal("key_revoked")
async def a_revoked_key(world):
    issued = await world.issue()
    await _revoke(world, public_key_fingerprint=issued.json["public_key_fingerprint"])
    return {}


@refusal("key_is_host_key")
async def a_hosts_key(world):
    key = ssh_keygen(world.keys, "host").public
    await _patch(world, "hosts/h1", ssh_host_keys=[key])
    return {"public_key": key}


@refusal("key_is_ca_key")
async def the_ca_key(world):
    keys = (await world.good("GET", "ca-keys", auth=world.operator))["items"]
    return {"public_key": keys[0]["public_key"]}


@refusal("key_is_ca_key")
async def another_tenants_ca_key(world):
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "other"})
    keys = (await world.good("GET", "ca-keys", auth=world.operator, tenant="other"))["items"]
    return {"public_key": keys[0]["public_key"]}


@refusal("ca_key_missing")
async def a_revoked_ca_key(world):
    issued = await world.issue()
    await _revoke(world, ca_fingerprint=issued.json["ca_fingerprint"])
    return {}


@refusal("reservation_unknown")
async def a_reservation(world):
    return {"reservation_id": "00000000-0000-4000-8000-000000000000"}


@refusal("force_command_not_allowed")
async def another_command(world):
    await _narrow(world, force_command="backup")
    return {"force_command": "sh"}


@refusal("source_address_not_allowed")
async def another_network(world):
    await _narrow(world, source_address=["10.0.0.0/8"])
    return {"source_address": ["10.0.0.0/7"]}


@refusal("source_address_not_allowed")
async def one_network_of_two(world):
    await _narrow(world, source_address=["10.0.0.0/8"])
    return {"source_address": ["10.1.0.0/16", "2001:db8::/32"]}


@refusal("extension_not_allowed")
async def another_extension(world):
    await _narrow(world, extensions=["permit-pty"])
    return {"extensions": ["permit-pty", "permit-agent-forwarding"]}


@refusal("lifetime_too_short")
async def a_link_that_ends_in_a_minute(world):
    await _patch(world, f"account-links/{await _only_link(world)}", expires_at=_rfc3339(world.clock.now() + 59))
    return {}


async def _narrow(world, **constraints):
    await _decide(world, "revoke")
    await world.delegate("alice", "portal", "h1", "alice", constraints=constraints)


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_refusal_has_its_code_and_one_event_and_issues_nothing(world, case):
    code, status, change = REFUSALS[case]
    assert (await world.issue()).status == 201
    wish = await change(world)
    held = await query(world, "SELECT count(*) FROM certificates")
    refused = await world.issue(**wish)
    assert (refused.status, refused.code) == (status, code), refused.json
    assert "certificate" not in refused.json
    assert await query(world, "SELECT count(*) FROM certificates") == held
    recorded = await events(world, request_id=refused.headers["X-Request-ID"])
    assert [one["outcome"] for one in recorded] == [code]


async def test_another_tenants_client_is_refused_here_and_has_nothing_there(world):
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "other"})
    made = await world.good("POST", "clients", auth=world.operator, json={"client_id": "portal"}, tenant="other")
    namesake = basic("portal", made["secret"])
    here = await world.call("POST", "certificates", auth=namesake, json=world.issue_body())
    assert (here.status, here.code) == (403, "tenant_mismatch")
    there = await world.call("POST", "certificates", auth=namesake, json=world.issue_body(), tenant="other")
    assert (there.status, there.code) == (403, "delegation_missing")
    assert (await world.issue()).status == 201


HOUR = 3600


async def _client_limit(world):
    await _patch(world, "clients/portal", max_ttl_seconds=600)


async def _client_end(world):
    await _patch(world, "clients/portal", expires_at=_rfc3339(world.clock.now() + 600))


async def _delegation_limit(world):
    await _narrow(world, max_ttl_seconds=600)


async def _delegation_end(world):
    await _decide(world, "revoke")
    await world.delegate("alice", "portal", "h1", "alice", lifetime_seconds=600)


async def _link_end(world):
    await _patch(world, f"account-links/{await _only_link(world)}", expires_at=_rfc3339(world.clock.now() + 600))


async def _mfa_end(world):
    world.clock.move(12 * HOUR - 600)


async def _tenant_limit(world):
    await _patch(world, "/api/v1/tenants/default", max_ttl_seconds=600, default_ttl_seconds=600)


async def _installation_limit(world):
    # As with [limits] max_ttl_seconds = 600 in settings.toml.
    world.context.issuance._verdicts = Verdicts(decide, Limits(max_ttl=600))


async def _nothing(world):
    pass


@pytest.mark.parametrize(
    ("change", "wished", "limited_by", "seconds"),
    [
        (_nothing, None, "default", HOUR),
        (_nothing, 300, "requested", 300),
        (_nothing, 60, "requested", 60),
        (_client_limit, HOUR, "client", 540),  # a "most seconds" counts from the back-dated beginning
        (_client_end, HOUR, "client", 600),
        (_delegation_limit, HOUR, "delegation", 540),
        (_delegation_end, HOUR, "delegation", 600),
        (_link_end, HOUR, "account_link", 600),
        (_mfa_end, HOUR, "mfa", 600),
        (_tenant_limit, HOUR, "tenant", 540),
        (_nothing, 86400, "tenant", 8 * HOUR - 30),
        (_installation_limit, 366 * 86400, "installation", 540),
    ],
)
async def test_a_longer_life_is_shortened_and_says_by_what(world, change, wished, limited_by, seconds):
    await change(world)
    issued = (await world.issue(ttl_seconds=wished or ...)).json
    assert issued["limited_by"] == limited_by
    ends = issued["valid_before"]
    slack = 60 if limited_by in {"client", "delegation", "tenant", "installation"} else 0
    assert _rfc3339(world.clock.now() + seconds) <= ends <= _rfc3339(world.clock.now() + seconds + slack)


async def test_no_wish_goes_beyond_a_year_or_below_a_minute(world):
    for seconds in (59, 0, -1, 366 * 86400 + 1):
        refused = await world.issue(ttl_seconds=seconds)
        assert (refused.status, refused.code, list(refused.json["fields"])) == (400, "invalid_request", ["ttl_seconds"])
