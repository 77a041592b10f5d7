"""Key pairs made for clients: what the wire says, whom it refuses, and what is kept."""

import asyncio
import json

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from tests.api.stores import everything
from tests.tms_v1.keymode import PLACE, WISH, KeyMode, ssh_keygen
from tests.tms_v1.test_rsa_queue import busy, until
from tests.tms_v1.wire import NEVER
from tms_ca.http.tms_v1.answers import date
from tms_ca.keypairs import KeyKind, KeyPairs, make_pair

MOST = 2147483647


@pytest.fixture
async def keys(tms):
    mode = KeyMode(tms)
    await mode.furnish()
    return mode


KINDS = {
    ("ed25519", "256", "ssh-ed25519"): [..., None, "", "Ed25519", "dsa"],
    ("ecdsa", "521", "ecdsa-sha2-nistp521"): ["ECDSA", "ecdsa"],
    ("rsa", "4096", "ssh-rsa"): ["rSa"],
}


async def test_a_pair_of_each_kind_is_one_that_ssh_keygen_knows(keys):
    for (kind, bits, algorithm), asked in KINDS.items():
        for key_type in asked:
            made = await keys.make(key_type=key_type)
            assert list(made) == sorted(made)
            assert made == {
                "result_code": "0", "result_msg": "success", "private_key": made["private_key"],
                "public_key": made["public_key"], "public_key_fingerprint": made["public_key_fingerprint"],
                "key_type": kind, "key_bits": bits, "max_uses": str(MOST), "remaining_uses": str(MOST),
                "expires_at": NEVER,
            }  # fmt: skip
        assert made["public_key"].split()[0] == algorithm
        assert len(made["public_key"].split(" ")) == 2
        lines = made["private_key"].split("\n")
        assert (lines[0], lines[-2:]) == (
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            ["-----END OPENSSH PRIVATE KEY-----", ""],
        )
        assert {len(line) for line in lines[1:-3]} == {70}
        assert "\r" not in made["private_key"]
        path = keys.private_file(made, kind)
        assert await ssh_keygen("-y", "-P", "", "-f", path) == made["public_key"]  # a comment would follow
        _, size, *_ = (await ssh_keygen("-l", "-f", path)).split()
        assert (await ssh_keygen("-l", "-f", path)).split()[:2] == [bits, made["public_key_fingerprint"]]
        assert size == made["public_key_fingerprint"]
        assert (await keys.login(made)).status == 200
    made = [one["public_key_fingerprint"] for one in await keys.listed()]
    assert len(set(made)) == len(made) == sum(map(len, KINDS.values()))  # each call made another


async def test_numbers_are_strings_when_made_and_numbers_when_read(keys):
    now = keys.tms.clock.now()
    cases = {
        (-1, -1): (MOST, MOST, NEVER),
        (-7, 0): (MOST, 0, date(now)),
        (0, 10): (0, 10, date(now + 600)),
        (3, 60): (3, 60, date(now + 3600)),
        (MOST, MOST): (MOST, MOST, date(now + MOST * 60)),
    }
    for (uses, minutes), (shown, initial, ends) in cases.items():
        made = await keys.make(num_uses=uses, ttl_minutes=minutes)
        assert (made["max_uses"], made["remaining_uses"], made["expires_at"]) == (str(shown), str(shown), ends)
        assert (await keys.login(made)).status == (200 if uses and minutes else 403)
        (listed,) = await keys.listed()
        read = await keys.tms.good("GET", f"pubkeys/id/{listed['id']}", keys.tms.client)
        assert read == {**listed, "result_code": "0", "result_msg": "success"}
        left = 2 if uses == 3 else shown
        created = date(now)
        assert listed == {
            "id": listed["id"], **PLACE, "client_user_id": "ada", "host": "h1", "host_account": "ada",
            "public_key_fingerprint": made["public_key_fingerprint"], "public_key": made["public_key"],
            "key_type": "ed25519", "key_bits": 256, "max_uses": shown, "remaining_uses": min(left, listed["remaining_uses"]),
            "initial_ttl_minutes": initial, "expires_at": ends, "created": created, "updated": created,
        }  # fmt: skip
        assert listed["remaining_uses"] == (MOST - 1 if (uses, minutes) == (MOST, MOST) else left)
        assert {
            type(listed[name]) for name in ("id", "key_bits", "max_uses", "remaining_uses", "initial_ttl_minutes")
        } == {int}
        gone = {**PLACE, "host": "h1", "public_key_fingerprint": made["public_key_fingerprint"]}
        await keys.tms.good("DELETE", "pubkeys/del", keys.tms.client, gone)


async def test_each_dependency_is_asked_for_and_named(keys):
    tms, clock = keys.tms, keys.tms.clock
    now = clock.now()
    whose = "client portal and client_user_id bob in tenant default"
    who = {"client_user_id": "bob", "host_account": "bob"}
    assert await keys.refused(**who) == f"Required delegation record not found for {whose}."
    await keys.mfa("bob", 30)
    assert await keys.refused(**who) == f"Required delegation record not found for {whose}."
    await keys.delegate("portal", "bob", 20)
    where = "user bob@default with account bob on host h1"
    assert await keys.refused(**who) == f"Required user host record not found for {where}."
    await keys.link("bob", "bob", 10)
    assert (
        await keys.refused(**who, host="h2") == f"Required user host record not found for {where.replace('h1', 'h2')}."
    )
    await keys.make(**who)
    update = {"tenant": "default", "tms_user_id": "bob", "enabled": False}
    await tms.good("PATCH", "usermfa/upd", tms.admin, update)
    assert await keys.refused(**who) == "Required user MFA record for user ID bob in tenant default is disabled."
    await tms.good("PATCH", "usermfa/upd", tms.admin, {**update, "enabled": True})
    # The last seconds of everything are enough: each login is decided anew.
    clock.move(599)
    await keys.make(**who)
    clock.move(1)
    assert await keys.refused(**who) == f"Required user host record for {where} expired at {date(now + 600)}."
    longer = {"tenant": "default", "tms_user_id": "bob", "host": "h1", "host_account": "bob", "ttl_minutes": -1}
    await tms.good("PATCH", "userhosts/upd", tms.admin, longer)
    await keys.make(**who)
    clock.move(600)
    assert await keys.refused(**who) == f"Required delegation record for {whose} expired at {date(now + 1200)}."
    longer = {**PLACE, "client_user_id": "bob", "ttl_minutes": -1}
    await tms.good("PATCH", "delegations/upd", tms.admin, longer)
    await keys.make(**who)
    clock.move(600)
    ended = f"Required user MFA record for user ID bob in tenant default expired at {date(now + 1800)}."
    assert await keys.refused(**who) == ended
    assert len(await keys.listed()) == 4
    assert len((await keys.world.good("GET", "audit-events?action=public-keys.create&outcome=mfa_expired",
                                      auth=keys.world.operator))["items"]) == 1  # fmt: skip


async def test_what_is_disabled_gets_no_key(keys):
    for noun, said in (
        ("hosts/h1", "host 'h1' is disabled"),
        ("clients/portal", "ERROR: FORBIDDEN - the client is disabled"),
    ):
        await keys.world.good("PATCH", noun, auth=keys.world.operator, json={"enabled": False})
        assert said in await keys.refused()
        await keys.world.good("PATCH", noun, auth=keys.world.operator, json={"enabled": True})
        assert (await keys.ask()).status == 201


async def test_an_account_of_the_system_needs_a_delegation_that_names_it(keys):
    await keys.link_reserved("ada", "root")
    said = await keys.refused(host_account="root")
    assert said == "the user's delegation for host 'h1' is for another account than 'root'."
    assert await keys.listed() == []


async def test_only_a_client_of_the_tenant_may_make_one(keys):
    tms, client = keys.tms, keys.tms.client
    wrong = {**client, "X-TMS-CLIENT-SECRET": "no"}
    stranger = await tms.new_client("stranger")
    mismatch = "ERROR: NOT AUTHORIZED Credential mismatch for client portal in tenant default."
    assert await tms.no("POST", "pubkeys/creds", wrong, WISH, 401) == mismatch
    assert await tms.no("POST", "pubkeys/creds", {**stranger, "X-TMS-CLIENT-ID": "portal"}, WISH, 401) == mismatch
    # An administrator makes none, and needs no client id to be told so.
    assert (await tms.no("POST", "pubkeys/creds", {**tms.admin, "X-TMS-CLIENT-ID": "portal"}, WISH, 401)) == mismatch
    missing = {name: value for name, value in client.items() if name != "X-TMS-CLIENT-ID"}
    assert (
        await tms.no("POST", "pubkeys/creds", missing, WISH, 400) == "Required 'X-TMS-CLIENT-ID' HTTP header not found"
    )
    missing = {name: value for name, value in client.items() if name != "X-TMS-TENANT"}
    assert await tms.no("POST", "pubkeys/creds", missing, WISH, 400) == "Required 'X-TMS-TENANT' HTTP header not found"
    other = {**client, "X-TMS-TENANT": "none"}
    assert await tms.no("POST", "pubkeys/creds", other, WISH, 400) == "Tenant not enabled."
    assert "delegation" in (await tms.no("POST", "pubkeys/creds", stranger, WISH, 403))
    assert await keys.listed() == []
    assert (await keys.ask()).status == 201


async def test_a_body_of_another_shape_is_refused_before_any_credential(keys):
    cases = (
        ({"client_user_id": ...}, b'Expected input type "string", found null.'),
        ({"num_uses": "3"}, b'Expected input type "integer", found'),
        ({"ttl_minutes": 2**31}, b"2147483648"),
        ({"key_type": 1}, b'Expected input type "string", found 1.'),
    )
    for change, said in cases:
        reply = await keys.ask({"X-TMS-TENANT": "none"}, **change)
        assert reply.status == 400
        assert reply.body.startswith(b"parse request payload error: ")
        assert said in reply.body
        assert reply.body.endswith(b'(occurred while parsing "ReqNewSshKeys")')
    assert (await keys.ask(num_uses=1, ignored=[1])).status == 201


async def test_a_name_beyond_the_grammar_is_refused(keys):
    for member, value in (("client_user_id", "a b"), ("host", "H1"), ("host_account", "-x")):
        said = await keys.tms.no("POST", "pubkeys/creds", keys.tms.client, {**WISH, member: value}, 400)
        assert said.startswith(f"ERROR: {member}: ")
        assert value in said


async def test_the_private_half_is_neither_kept_nor_logged(started, tmp_path, capfd):
    async with started() as tms:
        keys = KeyMode(tms)
        await keys.furnish()
        reply = await keys.ask(key_type="ECDSA")
        events = await keys.world.good("GET", "audit-events?action=public-keys.create", auth=keys.world.operator)
        kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        kept += repr(await everything(keys.world)).encode()  # PostgreSQL has its files elsewhere
    said = "".join(capfd.readouterr()).encode()  # the log is flushed where the service ends
    made = reply.json
    raw = load_ssh_private_key(made["private_key"].encode(), None).private_numbers().private_value.to_bytes(66, "big")
    text = "".join(made["private_key"].split("\n")[1:-2])
    pieces = [
        raw[2:26],
        raw.hex()[4:52].encode(),
        *(text[at : at + 24].encode() for at in range(300, len(text) - 24, 24)),
    ]
    assert b"tms_v1.create_pubkey" in said
    assert made["public_key"].split()[1].encode() in kept
    assert [piece for piece in pieces if piece in kept or piece in said] == []
    (event,) = events["items"]
    assert event["actor"] == "client:portal"
    assert json.loads(event["detail"])["pair_made"] == "ecdsa"
    assert "PRIVATE" not in str(event)
    assert reply.headers["Cache-Control"] == "no-store"


async def test_what_delegation_and_client_say_of_the_longest_life_holds(keys):
    world = keys.world
    await world.add_client("tight")
    await world.add_client("short", max_ttl_seconds=1200)
    await world.add_user("eve")
    await world.link("eve", "h1", "eve")
    headers = {}
    for name, constraints in (("tight", {"max_ttl_seconds": 600}), ("short", {})):
        await world.delegate("eve", name, "h1", "eve", constraints=constraints)
        made = await world.good("POST", f"clients/{name}/secrets", auth=world.operator)
        headers[name] = {"X-TMS-TENANT": "default", "X-TMS-CLIENT-ID": name, "X-TMS-CLIENT-SECRET": made["secret"]}
    eves = {"client_user_id": "eve", "host_account": "eve"}
    for name, most in (("tight", 600), ("short", 1200)):
        made = await keys.make(headers[name], **eves)
        assert made["expires_at"] == date(world.clock.now() + most)
        change = {"tenant": "default", "client_id": name, "host": "h1", "ttl_minutes": 60,
                  "public_key_fingerprint": made["public_key_fingerprint"]}  # fmt: skip
        await keys.tms.good("PATCH", "pubkeys", headers[name], change)
        assert (await keys.listed(headers[name]))[0]["expires_at"] == date(world.clock.now() + most)
        made = await keys.make(headers[name], **eves, ttl_minutes=5)
        assert made["expires_at"] == date(world.clock.now() + 300)


async def test_one_key_whichever_api(keys):
    made = await keys.make(num_uses=4, ttl_minutes=10)
    name = made["public_key_fingerprint"].replace("/", "%2F").replace("+", "%2B")
    read = await keys.world.good("GET", f"public-keys/{name}", auth=keys.world.operator)
    assert (read["public_key"], read["max_uses"], read["limited_by"]) == (made["public_key"], 4, "requested")
    assert "private" not in str(read)
    line = (await keys.login(made)).body.decode()
    ends = read["expires_at"].translate(str.maketrans("", "", "-:T"))
    words = "restrict,pty,port-forwarding,agent-forwarding,X11-forwarding,user-rc"
    assert line == f'{words},expiry-time="{ends}" {made["public_key"]}\n'
    await keys.world.good("DELETE", f"public-keys/{name}", auth=keys.world.operator)
    assert await keys.listed() == []
    assert (await keys.login(made)).code == "public_key_unknown"


@pytest.mark.usefixtures("quick_rsa")
async def test_rsa_keys_queue_and_the_others_do_not_wait_for_them(keys):
    keys.world.context.key_mode._pairs = pairs = KeyPairs(most_waiting=1)
    async with asyncio.timeout(60), busy(pairs):
        first = asyncio.create_task(keys.ask(key_type="RSA"))
        await until(lambda: pairs._waiting.total())
        said = await asyncio.gather(*(keys.ask(key_type="RSA") for _ in range(3)), *(keys.ask() for _ in range(4)))
        assert not first.done()
    assert [reply.status for reply in said] == [503] * 3 + [201] * 4
    assert said[0].json["result_code"] == "503"
    assert said[0].json["result_msg"].startswith("ERROR: 1 RSA key pairs are being made")
    assert said[0].headers["Retry-After"] == "5"
    assert (await first).status == 201
    await until(lambda: not pairs._waiting)
    assert (await keys.ask(key_type="RSA")).status == 201  # the place is free again


def test_the_private_half_shows_in_no_repr():
    pair = make_pair(KeyKind.ED25519)
    assert "PRIVATE" in pair.private_key
    assert "PRIVATE" not in repr(pair)
    assert pair.public_key in repr(pair)
