"""Escrowed keys over the API: each yes with its no, on both databases."""

import asyncio
import subprocess

import pytest

from tests.world import Key, ssh_keygen
from tms_ca.cli.init import local_operator

NONCE = "0123456789abcdef"


def fingerprint(world, name="id") -> str:
    return subprocess.check_output(["ssh-keygen", "-l", "-f", world.keys / f"{name}.pub"], text=True).split()[1]


async def escrow(world, *, client_id="portal", **more):
    return await world.call("POST", "public-keys", auth=world.clients[client_id], json=world.issue_body(**more))


async def login(world, *, host="h1", account="alice", key=None, key_type="ssh-ed25519"):
    body = {"account": account, "fingerprint": key or fingerprint(world), "key_type": key_type, "nonce": NONCE}
    return await world.call("POST", f"hosts/{host}/keys", auth=world.hosts[host], json=body)


async def path_of(world, name="id") -> str:
    return "public-keys/" + fingerprint(world, name).replace("/", "%2F").replace("+", "%2B")


@pytest.fixture
async def kept(world):
    """A key that opens alice@h1."""
    made = await escrow(world)
    assert made.status == 201, made.json
    assert (await login(world)).status == 200
    return made.json


async def test_a_key_opens_its_account_with_one_line_that_is_bound_to_the_question(world, kept):
    public = Key(world.keys / "id").public
    assert kept["public_key"] == public
    assert kept["fingerprint"] == fingerprint(world)
    assert (kept["user"], kept["client_id"], kept["limited_by"], kept["uses_left"]) == (
        "alice",
        "portal",
        "default",
        None,
    )
    answer = await login(world)
    ends = "".join(c for c in kept["expires_at"] if c.isalnum()).replace("T", "")
    assert answer.body.decode() == f'restrict,expiry-time="{ends}" {public}\n'
    assert answer.headers["X-TMS-Answer"] == f"{NONCE} alice {kept['fingerprint']}"
    assert answer.headers["Content-Type"].startswith("text/plain")


async def test_another_account_host_type_or_key_is_refused_and_on_record(world, kept):
    await world.add_host("h2")
    ssh_keygen(world.keys, "other")
    cases = {
        "public_key_other_account": await login(world, account="bob"),
        "public_key_other_host": await login(world, host="h2"),
        "public_key_unknown": await login(world, key=fingerprint(world, "other")),
    }
    for code, answer in cases.items():
        assert (answer.status, answer.code) == (403, code)
        events = await world.good("GET", f"audit-events?action=logins.key&outcome={code}", auth=world.operator)
        assert len(events["items"]) == 1
    assert (await login(world, key_type="ssh-rsa")).code == "public_key_unknown"
    wrong = {"account": "alice", "fingerprint": kept["fingerprint"], "key_type": "ssh-ed25519", "nonce": NONCE}
    assert (await world.call("POST", "hosts/h1/keys", auth=world.hosts["h2"], json=wrong)).code == "host_mismatch"
    assert (await world.call("POST", "hosts/h1/keys", auth=world.clients["portal"], json=wrong)).status == 403
    assert (await login(world)).status == 200


async def test_what_was_allowed_is_in_the_line_and_nothing_else(world):
    await world.add_client("tight")
    constraints = {
        "source_address": ["10.0.0.0/8", "2001:db8::/32"],
        "force_command": "/usr/bin/rsync-only --fast",
        "extensions": ["permit-pty", "permit-port-forwarding", "no-touch-required"],
    }
    asked = await world.delegate("alice", "tight", "h1", "alice", constraints=constraints)
    assert (await escrow(world, client_id="tight", source_address=["10.1.0.0/16"])).status == 201
    line = (await login(world)).body.decode()
    assert line.startswith(
        'restrict,pty,port-forwarding,from="10.1.0.0/16",command="/usr/bin/rsync-only --fast",expiry-time="'
    )
    # The twin: a wish that goes beyond is refused, and what is restricted later is taken away at once.
    assert (await escrow(world, client_id="tight", source_address=["11.0.0.0/8"])).code == "source_address_not_allowed"
    body = {"restrict": True, "permit_open": ["db:5432"]}
    await world.good("PATCH", f"delegations/{asked['id']}/restrictions", auth=world.operator, json=body)
    line = (await login(world)).body.decode()
    assert line.startswith('restrict,from="10.1.0.0/16",command="/usr/bin/rsync-only --fast",permitopen="db:5432",')
    await world.good("PATCH", "hosts/h1", auth=world.operator, json={"restrictions": {"force_command": "/bin/other"}})
    assert (await login(world)).code == "commands_differ"


async def test_a_command_that_cannot_stand_in_a_line_is_refused(world):
    await world.add_client("quoting")
    for command in ('echo "x"', "echo \\x", "echo #x"):
        await world.delegate("alice", "quoting", "h1", "alice", constraints={"force_command": command})
    for command in ('echo "x"', "echo \\x", "echo #x"):
        answer = await escrow(world, client_id="quoting", force_command=command)
        assert (answer.status, answer.code) == (403, "force_command_not_writable"), command
    await world.delegate("alice", "quoting", "h1", "alice", constraints={"force_command": "echo x"})
    assert (await escrow(world, client_id="quoting", force_command="echo x")).status == 201


async def test_the_same_key_is_kept_once(world, kept):
    again = await escrow(world, ttl_seconds=600)
    assert again.status == 201
    assert again.json["key_id"] != kept["key_id"]
    assert again.json["expires_at"] < kept["expires_at"]
    await world.add_user("bob")
    await world.link("bob", "h1", "alice")
    await world.link("alice", "h1", "shared")
    await world.delegate("bob", "portal", "h1", "alice")
    await world.delegate("alice", "portal", "h1", "shared")
    for other in ({"user": "bob"}, {"account": "shared"}):
        answer = await escrow(world, **other)
        assert (answer.status, answer.code) == (409, "public_key_taken"), other
    await world.good("DELETE", await path_of(world), auth=world.clients["portal"])
    assert (await escrow(world, user="bob")).status == 201


async def test_keys_of_cas_and_hosts_and_revoked_ones_are_refused(world):
    ca = (await world.call("GET", "ca/user.pub")).body.decode().split("\n")[0]
    assert (await escrow(world, public_key=ca)).code == "key_is_ca_key"
    host_key = ssh_keygen(world.keys, "hostkey").public
    await world.good("PATCH", "hosts/h1", auth=world.operator, json={"ssh_host_keys": [host_key]})
    assert (await escrow(world, public_key=host_key)).code == "key_is_host_key"
    gone = ssh_keygen(world.keys, "gone").public
    body = {"public_key_fingerprint": fingerprint(world, "gone"), "reason": "leaked"}
    await world.good("POST", "revocations", auth=world.operator, json=body)
    assert (await escrow(world, public_key=gone)).code == "key_revoked"
    assert (await escrow(world, public_key="ssh-dss AAAA")).status == 400
    assert (await escrow(world)).status == 201


async def test_owners_see_and_delete_their_own(world, kept):
    await world.add_client("stranger")
    await world.add_user("bob")
    path = await path_of(world)
    for auth in (world.clients["stranger"], world.sessions["bob"]):
        assert (await world.call("GET", path, auth=auth)).code == "public_key_unknown"
        assert (await world.call("DELETE", path, auth=auth)).code == "public_key_unknown"
        assert (await world.good("GET", "public-keys", auth=auth))["items"] == []
    for auth in (world.clients["portal"], world.sessions["alice"], world.operator):
        assert (await world.good("GET", path, auth=auth))["key_id"] == kept["key_id"]
        assert len((await world.good("GET", "public-keys?user=alice", auth=auth))["items"]) == 1
        assert (await world.call("DELETE", path, auth=auth)).status == 204
        assert (await login(world)).code == "public_key_unknown"
        assert (await escrow(world)).status == 201
        kept = await world.good("GET", path, auth=world.operator)
    assert (await login(world)).status == 200


@pytest.mark.parametrize(
    ("selector", "code", "again"),
    [
        ("public_key_fingerprint", "key_revoked", "key_revoked"),
        ("key_id", "key_revoked", None),
        ("user", "key_revoked", None),
        ("client_id", "key_revoked", None),
        ("host", "key_revoked", None),
        ("delegation_id", "key_revoked", "delegation_revoked"),
    ],
)
async def test_every_revocation_ends_it_for_good(world, kept, selector, code, again):
    values = {**kept, "public_key_fingerprint": kept["fingerprint"]}
    body = {selector: values[selector], "reason": "test"}
    made = await world.good("POST", "revocations", auth=world.operator, json=body)
    assert made["certificates"] == 1
    answer = await login(world)
    assert answer.status == 403
    if selector in ("user", "client_id", "host"):
        await world.good("POST", f"revocations/{made['id']}/lift", auth=world.operator)
        answer = await login(world)
    assert answer.code == code
    shown = await world.good("GET", await path_of(world), auth=world.operator)
    assert shown["revocation_id"] == made["id"]
    # A new decision begins anew, where there can be one.
    answer = await escrow(world)
    assert answer.code == (again or ""), answer.json
    assert (await login(world)).status == (403 if again else 200)


async def test_its_client_and_user_may_revoke_it_and_others_not(world, kept):
    await world.add_client("stranger")
    body = {"public_key_fingerprint": kept["fingerprint"], "reason": "lost"}
    refused = await world.call("POST", "revocations", auth=world.clients["stranger"], json=body)
    assert refused.code == "revocation_target_unknown"
    assert (await login(world)).status == 200
    await world.good("POST", "revocations", auth=world.sessions["alice"], json=body)
    assert (await login(world)).code == "key_revoked"


async def test_it_ends_with_its_time_and_with_the_mfa_window(world, kept):
    world.clock.move(3601)
    assert (await login(world)).code == "public_key_expired"
    assert (await escrow(world, ttl_seconds=8 * 3600)).json["limited_by"] == "tenant"
    await world.good("PATCH", "/api/v1/tenants/default", auth=world.operator, json={"mfa_window_seconds": 3700})
    world.clock.move(200)
    assert (await login(world)).code == "mfa_expired"
    world.sessions["alice"] = await world.log_in("alice")
    await world.verify("alice")
    assert (await login(world)).status == 200


@pytest.mark.parametrize("noun", ["users/alice", "clients/portal", "hosts/h1"])
async def test_what_is_disabled_opens_nothing_until_it_is_enabled(world, kept, noun):
    await world.good("PATCH", noun, auth=world.operator, json={"enabled": False})
    assert (await login(world)).status == 403
    await world.good("PATCH", noun, auth=world.operator, json={"enabled": True})
    assert (await login(world)).status == 200


async def test_it_goes_with_its_link_and_does_not_come_back_with_another(world, kept):
    link = (await world.good("GET", "account-links?user=alice", auth=world.operator))["items"][0]
    await world.good("DELETE", f"account-links/{link['id']}", auth=world.operator)
    assert (await login(world)).code == "public_key_unknown"
    await world.link("alice", "h1", "alice")
    assert (await login(world)).code == "public_key_unknown"
    assert (await escrow(world)).status == 201
    assert (await login(world)).status == 200


async def test_uses_are_counted_by_spells_of_questions(world):
    assert (await escrow(world, max_uses=2)).json["uses_left"] == 2
    for left in (1, 0):
        for _ in range(3):  # sshd asks twice; an offer comes before the signature
            assert (await login(world)).status == 200
        assert (await world.good("GET", await path_of(world), auth=world.operator))["uses_left"] == left
        world.clock.move(30)
    answer = await login(world)
    assert (answer.status, answer.code) == (403, "uses_exhausted")
    assert (await escrow(world, max_uses=2)).status == 201
    answers = await asyncio.gather(*(login(world) for _ in range(8)))
    assert {answer.status for answer in answers} == {200}
    assert (await world.good("GET", await path_of(world), auth=world.operator))["uses_left"] == 1


async def test_a_delegation_for_a_number_of_logins_is_not_spent_by_plain_keys(world):
    await world.add_client("counted")
    await world.delegate("alice", "counted", "h1", "alice", constraints={"max_uses": 3})
    answer = await escrow(world, client_id="counted")
    assert (answer.status, answer.code) == (403, "logins_not_counted")
    # The twin: beside it, a delegation without a number is enough.
    await world.delegate("alice", "counted", "h1", "alice")
    assert (await escrow(world, client_id="counted")).status == 201
    assert (await login(world)).status == 200


async def test_another_tenant_knows_nothing_of_it(world, kept):
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "other"})
    made = await world.good("POST", "hosts", auth=world.operator, json={"host": "h1"}, tenant="other")
    body = {"account": "alice", "fingerprint": kept["fingerprint"], "key_type": "ssh-ed25519", "nonce": NONCE}
    answer = await world.call("POST", "hosts/h1/keys", auth=made["secret"], json=body, tenant="other")
    assert answer.code == "public_key_unknown"
    assert (await world.call("POST", "hosts/h1/keys", auth=made["secret"], json=body)).code == "tenant_mismatch"


async def test_a_ca_key_is_not_needed(world):
    """Nothing is signed: a tenant whose CA key is retired still has plain keys."""
    keys = (await world.good("GET", "ca-keys", auth=world.operator))["items"]
    user_ca = next(one for one in keys if one["purpose"] == "user")
    body = {"ca_fingerprint": user_ca["fingerprint"], "reason": "test"}
    await world.good("POST", "revocations", auth=world.operator, json=body)
    assert (await world.issue()).code == "ca_key_missing"
    assert (await escrow(world)).status == 201
    assert (await login(world)).status == 200


async def test_keys_that_ended_long_ago_are_pruned(world, kept):
    world.clock.move(91 * 86400)
    await world.context.upkeep.run(local_operator())
    assert (await world.call("GET", await path_of(world), auth=world.operator)).code == "public_key_unknown"


class Overtaken:
    """Reads facts; once, something changes just before (or after) they are read."""

    def __init__(self, real, change, *, before):
        self._real, self._change, self._before = real, change, before

    async def _read(self, method, *args):
        change, self._change = self._change, None
        if change is not None and self._before:
            await change()
        found = await getattr(self._real, method)(*args)
        if change is not None and not self._before:
            await change()
        return found

    async def for_issue(self, *args):
        return await self._read("for_issue", *args)

    async def get(self, *args):
        return await self._read("get", *args)


async def test_a_change_between_facts_and_escrow_voids_the_decision(world):
    async def disable():
        await world.good("PATCH", "users/alice", auth=world.operator, json={"enabled": False})

    keys = world.context.plain_keys
    keys._facts = Overtaken(keys._facts, disable, before=False)
    assert (await escrow(world)).code == "user_disabled"
    await world.good("PATCH", "users/alice", auth=world.operator, json={"enabled": True})
    assert (await escrow(world)).status == 201


async def test_a_credential_that_is_taken_back_meanwhile_gets_no_line(world, kept):
    secret = (await world.good("GET", "hosts/h1/secrets", auth=world.operator))["items"][0]["credential_id"]
    new = (await world.good("POST", "hosts/h1/secrets", auth=world.operator))["secret"]

    async def take_back():
        await world.good("DELETE", f"hosts/h1/secrets/{secret}", auth=world.operator)

    keys = world.context.plain_keys
    keys._reader = Overtaken(keys._reader, take_back, before=True)
    assert (await login(world)).status == 401
    world.hosts["h1"] = new
    assert (await login(world)).status == 200
