"""Key retrieval: the answers of tms_keycmd, strict; every yes has a no beside it."""

import asyncio

import pytest

from tests.tms_v1.retrieving import Asker, fingerprint_of
from tests.world import ssh_keygen

UNKNOWN = "SHA256:" + "A" * 43


@pytest.fixture
async def asker(tms) -> Asker:
    """A service with a key that opens alice on h1, and what asks for it."""
    asker = Asker(tms)
    await asker.furnish()
    assert await asker.key() == asker.public
    return asker


async def test_the_answer_is_the_key_alone_and_the_question_is_read_as_keycmd_writes_it(asker):
    said = await asker.tms.good("POST", "pubkeys/creds/retrieve", None, asker.question())
    assert said == {"result_code": "0", "result_msg": "success", "public_key": asker.public}
    # As the scripts and the load tool send it: a member less, or one that nobody knows.
    short = {name: asker.question()[name] for name in ("user", "user_uid", "host", "public_key_fingerprint")}
    for body in (short, {**short, "keytype": "ssh-ed25519"}, {**short, "key_type": None, "user_uid": None}):
        assert (await asker.tms.good("POST", "pubkeys/creds/retrieve", None, body))["public_key"] == asker.public
    for wrong in ({**short, "user_uid": 1000}, {**short, "user": None}, {"user": "alice"}, {**short, "host": ["h1"]}):
        reply = await asker.tms.call("POST", "pubkeys/creds/retrieve", None, wrong)
        assert (reply.status, reply.headers["Content-Type"]) == (400, "text/plain; charset=utf-8")
        assert reply.body.startswith(b"parse request payload error: ")


async def test_another_account_host_or_key_is_not_found(asker):
    others = [
        {"user": "bob"}, {"user": ""}, {"user": "a b"}, {"host": "h2"}, {"host": "H1"}, {"host": ""},
        {"host": "x" * 300}, {"public_key_fingerprint": UNKNOWN}, {"public_key_fingerprint": "SHA256:\u00e9"},
        {"public_key_fingerprint": asker.fingerprint.removeprefix("SHA256:")}, {"public_key_fingerprint": "MD5:aa"},
    ]  # fmt: skip
    for other in others:
        assert await asker.no(**other) == "NOT_FOUND"
    assert await asker.key() == asker.public


async def test_every_rule_is_asked_anew(asker):
    operator, good = asker.tms.world.operator, asker.tms.world.good
    for noun in ("users/alice", "clients/portal", "hosts/h1", "/api/v1/tenants/default"):
        await good("PATCH", noun, auth=operator, json={"enabled": False})
        assert await asker.key() is None, noun
        await good("PATCH", noun, auth=operator, json={"enabled": True})
        assert await asker.key() == asker.public, noun
    asker.tms.clock.move(3601)
    assert await asker.key() is None
    await asker.escrow(ttl_seconds=24 * 3600)
    assert await asker.key() == asker.public
    asker.tms.clock.move(12 * 3600)
    assert await asker.key() is None  # the MFA window; the key's own time has not ended
    await asker.prove()
    assert await asker.key() is not None or (await asker.escrow()) is not None
    assert await asker.key() == asker.public
    delegation = asker.delegation["id"]
    await good("POST", "revocations", auth=operator, json={"delegation_id": delegation, "reason": "test"})
    assert await asker.key() is None


async def test_uses_are_taken_and_end(asker):
    await asker.escrow(max_uses=2)
    for _ in range(2):
        for _ in range(3):  # sshd asks twice for one login
            assert await asker.key() == asker.public
        asker.tms.clock.move(30)
    assert await asker.key() is None
    await asker.escrow(max_uses=1)
    answers = await asyncio.gather(*(asker.key() for _ in range(8)))
    assert set(answers) == {asker.public}
    asker.tms.clock.move(30)
    assert await asker.key() is None


async def test_what_a_key_may_not_is_in_its_line(asker):
    operator, good = asker.tms.world.operator, asker.tms.world.good
    await asker.escrow(source_address=["192.0.2.0/24"])
    everything = "restrict,pty,port-forwarding,agent-forwarding,X11-forwarding,user-rc"
    assert await asker.key() == f'{everything},from="192.0.2.0/24" {asker.public}'
    await asker.escrow(force_command="/usr/bin/rsync-only", extensions=["permit-pty"])
    assert await asker.key() == f'restrict,pty,command="/usr/bin/rsync-only" {asker.public}'
    await asker.escrow()
    assert await asker.key() == asker.public
    await good("PATCH", "hosts/h1", auth=operator, json={"restrictions": {"restrict": True}})
    assert await asker.key() == f"restrict {asker.public}"


async def test_a_no_is_on_record_and_an_unknown_key_is_only_counted(asker):
    async def events() -> list[dict]:
        found = await asker.tms.world.good("GET", "audit-events?action=logins.key", auth=asker.tms.world.operator)
        return found["items"]

    before = await asker.metric("tms_denied_total", action="logins.key", code="public_key_unknown")
    await asker.no(public_key_fingerprint=UNKNOWN)
    await asker.no(host="h2")
    assert await events() == []
    assert await asker.metric("tms_denied_total", action="logins.key", code="public_key_unknown") == before + 2
    await asker.no(user="bob")
    (event,) = await events()
    assert (event["actor"], event["outcome"]) == ("anyone", "public_key_other_account")
    assert event["target"] == f"bob@h1 key:{asker.fingerprint}"
    assert event["address"] == "127.0.0.1"


async def test_the_tenant_that_had_the_hosts_name_first_is_asked_and_no_other(asker):
    """A tenant that takes the name of another's host gives no key to that host, and takes none away."""
    world = asker.tms.world
    thief = Asker(asker.tms, tenant="thief", keys="thief")
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "thief"})
    asker.tms.clock.move(1)
    await thief.furnish()
    assert await thief.key() is None
    assert await asker.key() == asker.public
    # The twin: where the name was the other's first, it is the other way round.
    await world.good("DELETE", "hosts/h1", auth=world.operator)
    assert await asker.key() is None
    assert await thief.key() == thief.public


async def test_a_tenant_that_only_claims_the_name_of_another_s_host_opens_nothing_on_it_and_takes_nothing_from_it(tms):
    """Whichever had the name first: a host that was registered with a credential comes before one that was not."""
    world, asker, thief = tms.world, Asker(tms), Asker(tms, tenant="thief", keys="thief")
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "thief"})
    await thief.furnish()
    await world.good("DELETE", "hosts/h1", auth=world.operator, tenant="thief")
    boss = await tms.new_admin("boss", "thief")
    body = {"tenant": "thief", "tms_user_id": "alice", "host": "h1", "host_account": "alice", "ttl_minutes": -1}
    await tms.good("POST", "userhosts", boss, body, 201)
    await thief.escrow()
    assert await thief.key() == thief.public  # so far there is no other
    tms.clock.move(60)
    await asker.furnish()
    assert (await asker.key(), await thief.key()) == (asker.public, None)
    # The twin: a host that proved itself there, too, is the one that had the name first.
    await world.good("POST", "hosts/h1/secrets", auth=world.operator, tenant="thief")
    assert (await asker.key(), await thief.key()) == (None, thief.public)


async def test_retrieval_can_be_narrowed_to_tenants(started):
    async with started(retrieve_tenants='["other"]') as tms:
        asker = Asker(tms)
        await asker.furnish()
        assert await asker.key() is None
        other = Asker(tms, tenant="other", keys="other")
        await tms.world.good("POST", "/api/v1/tenants", auth=tms.world.operator, json={"tenant": "other"})
        await other.furnish()
        assert await other.key() == other.public


async def test_with_retrieve_hosts_only_the_host_itself_is_told(started):
    async with started(retrieve='"hosts"') as tms:
        asker = Asker(tms)
        await asker.furnish()
        world = tms.world
        await world.add_host("h2")
        good = {"Authorization": f"Bearer {world.hosts['h1']}"}
        assert (await tms.good("POST", "pubkeys/creds/retrieve", good, asker.question()))["public_key"] == asker.public
        client, wrong = world.clients["portal"], "Bearer tms_h_" + "0" * 43
        for headers, status in (({}, 401), ({"Authorization": wrong}, 401), ({"Authorization": client}, 401)):
            said = await tms.no("POST", "pubkeys/creds/retrieve", headers, asker.question(), status)
            assert said.startswith("ERROR: "), said
        other = {"Authorization": f"Bearer {world.hosts['h2']}"}
        said = await tms.no("POST", "pubkeys/creds/retrieve", other, asker.question(), 403)
        assert said.startswith("ERROR: FORBIDDEN - ")
        assert await tms.no("POST", "pubkeys/creds/retrieve", other, asker.question(host="h2"), 404) == "NOT_FOUND"
        await tms.no("POST", "pubkeys/creds/retrieve", good, asker.question(user="bob"), 404)
        events = await world.good("GET", "audit-events?action=logins.key", auth=world.operator)
        assert {(one["actor"], one["outcome"]) for one in events["items"]} == {
            ("host:h1", "public_key_other_account"), ("host:h2", "public_key_other_host"),
        }  # fmt: skip


async def test_one_address_may_not_ask_without_end(started):
    async with started(retrieve_per_minute="60") as tms:
        asker = Asker(tms)
        replies = [await tms.call("POST", "pubkeys/creds/retrieve", None, asker.question()) for _ in range(11)]
        assert [reply.status for reply in replies] == [404] * 10 + [429]
        assert replies[-1].json["result_code"] == "429"
        assert replies[-1].headers["Retry-After"] == "1"
        tms.clock.move(1)
        assert (await tms.call("POST", "pubkeys/creds/retrieve", None, asker.question())).status == 404


async def test_keys_of_every_type_are_found(asker):
    keys = asker.tms.world.keys
    for name, *options in (("rsa", "-b", "3072"), ("ecdsa", "-b", "521"), ("ed25519",)):
        pair = ssh_keygen(keys, name, "-t", name, *options)
        await asker.escrow(public_key=pair.public)
        assert await asker.key(public_key_fingerprint=fingerprint_of(pair), key_type=name) == pair.public


async def test_a_host_is_found_without_a_look_at_every_row(tms, database_kind):
    if database_kind != "sqlite":
        return  # the plan of a PostgreSQL with hardly a row says nothing
    finder = tms.world.context.retrieval._hosts
    async with tms.world.context.directory._database.read() as connection:
        for prepared in (finder._oldest, finder._own):
            values = tuple(prepared.args(dict.fromkeys(("host", "fingerprint", "tenant"), "x")))
            plan = (await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {prepared.sql}", values)).all()
            steps = [step.detail for step in plan]
            assert steps
            looked = [step for step in steps if not step.startswith("SCAN anon_")]  # a row that was found by an index
            assert [step for step in looked if step.startswith(("SCAN", "USE TEMP"))] == [], steps
