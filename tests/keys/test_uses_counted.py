"""Uses of plain keys, counted by the logins that a host tells of: each exactly once, whatever races."""

import asyncio

import pytest

from tests.keys.uses import ask, by_key, escrow, fingerprint, key_of
from tests.logins.telling import certificate_of, end_login, open_login, records, second, told
from tests.world import ssh_keygen


async def test_a_login_takes_one_use_and_a_question_none(world):
    await escrow(world, max_uses=2)
    for left in (1, 0):
        for _ in range(3):
            assert (await ask(world)).status == 200
        assert (await key_of(world))["uses_left"] == left + 1
        body = by_key(world)
        reply = await open_login(world, body)
        assert (reply.status, reply.json["counted"], reply.json["uses_left"]) == (201, True, left)
        assert (await open_login(world, body)).json == reply.json  # told again: the same answer, and no count
        assert (await key_of(world))["uses_left"] == left
        await end_login(world, body["login_id"])  # an end gives nothing back
        world.clock.move(1)
    assert (await ask(world)).code == "uses_exhausted"
    refused = await open_login(world, by_key(world))
    assert (refused.status, refused.code) == (403, "uses_exhausted")
    assert len(await records(world)) == 2
    events = await world.good("GET", "audit-events?action=logins.open&outcome=uses_exhausted", auth=world.operator)
    assert [event["target"] for event in events["items"]] == [f"alice@h1 key:{fingerprint(world)}"]


async def test_of_twenty_logins_at_once_three_get_in_and_at_two_services(world, tmp_path):
    await escrow(world, max_uses=3)
    async with second(tmp_path / "other", world) as other:
        racing = [open_login(one, by_key(world)) for one in (world, other) for _ in range(10)]
        replies = await asyncio.gather(*racing)
    assert sorted(reply.json["uses_left"] for reply in replies if reply.status == 201) == [0, 1, 2]
    assert {reply.code for reply in replies if reply.status != 201} == {"uses_exhausted"}
    assert (await key_of(world))["uses_left"] == 0
    assert len(await records(world)) == 3


async def test_one_login_told_at_the_same_moment_takes_one_use(world):
    await escrow(world, max_uses=3)
    body = by_key(world)
    replies = await asyncio.gather(*(open_login(world, body) for _ in range(8)))
    assert [(reply.status, reply.json["uses_left"]) for reply in replies] == [(201, 2)] * 8
    assert (await key_of(world))["uses_left"] == 2
    other = await open_login(world, dict(body, node="login2"))
    assert (other.status, other.code) == (409, "login_id_taken")


async def test_a_host_that_reports_no_logins_has_its_questions_counted(world):
    """Also beside a machine of the same host that reports: a login there makes no question here free."""
    await escrow(world, max_uses=3)
    assert (await open_login(world, by_key(world))).json["uses_left"] == 2
    for _ in range(2):
        assert (await ask(world, reports_logins=False)).status == 200
        assert (await key_of(world))["uses_left"] == 1
    assert (await open_login(world, by_key(world))).json["uses_left"] == 0
    assert (await ask(world)).code == "uses_exhausted"


async def test_the_record_says_who_and_by_which_key(world):
    kept = await escrow(world)
    reply = await open_login(world, by_key(world))
    assert (reply.status, reply.json["counted"], reply.json["uses_left"]) == (201, False, None)
    await open_login(world, told(world, await certificate_of(world)))
    certified, record = await records(world)
    wanted = {"user": "alice", "client_id": "portal", "host": "h1", "account": "alice", "remote_address": "192.0.2.7",
              "serial": None, "key_id": kept["key_id"], "public_key_fingerprint": kept["fingerprint"], "late": False,
              "delegation_id": kept["delegation_id"], "end_reason": None}  # fmt: skip
    assert {name: record[name] for name in wanted} == wanted
    assert int(certified["serial"]) > 0
    await end_login(world, reply.json["login_id"])
    assert (await records(world))[1]["end_reason"] == "closed"
    (ended,) = (await world.good("GET", "audit-events?action=logins.end", auth=world.operator))["items"]
    assert ended["target"] == f"alice@h1 key:{kept['fingerprint']}"


async def test_the_answer_names_the_command_that_line_and_restrictions_force(world):
    await escrow(world)
    await world.good("PATCH", "hosts/h1", auth=world.operator, json={"restrictions": {"force_command": "/bin/only"}})
    assert (await open_login(world, by_key(world))).json["force_command"] == "/bin/only"


async def test_what_a_login_rests_on_is_decided_once_more(world):
    kept = await escrow(world)
    await world.add_host("h2")
    ssh_keygen(world.keys, "other")
    refused = {
        "public_key_unknown": by_key(world, "other"),
        "public_key_other_account": by_key(world, account="bob"),
    }
    for code, body in refused.items():
        assert (await open_login(world, body)).code == code
    assert (await open_login(world, by_key(world), host="h2")).code == "public_key_other_host"
    await world.good("PATCH", "users/alice", auth=world.operator, json={"enabled": False})
    assert (await open_login(world, by_key(world))).code == "user_disabled"
    await world.good("PATCH", "users/alice", auth=world.operator, json={"enabled": True})
    assert (await open_login(world, by_key(world))).status == 201
    await world.good("POST", "revocations", auth=world.operator, json={"key_id": kept["key_id"], "reason": "test"})
    assert (await open_login(world, by_key(world))).code == "key_revoked"


@pytest.mark.parametrize(
    "change",
    [{"public_key": None}, {"certificate": "ssh-ed25519-cert-v01@openssh.com AAAA"}, {"late": True},
     {"public_key": "ssh-ed25519 AAAA"}, {"public_key": "x"}],
)  # fmt: skip
async def test_what_no_login_with_a_plain_key_can_be_is_malformed(world, change):
    await escrow(world)
    body = {name: value for name, value in {**by_key(world), **change}.items() if value is not None}
    assert (await open_login(world, body)).status == 400
    assert await records(world) == []
