"""Logins that hosts tell of: decided once more, counted once, on record with their end."""

import asyncio
import hashlib
import json
import secrets

import pytest

from schemas.base import rfc3339
from tests.logins.telling import certificate_of, end_login, open_login, records, told
from tests.world import ssh_keygen


async def test_a_login_is_on_record_with_all_that_it_rests_on(world):
    issued = (await world.issue()).json
    body = told(world, issued["certificate"])
    reply = await open_login(world, body)
    answer = {"login_id": body["login_id"], "counted": False, "uses_left": None, "force_command": None}
    assert (reply.status, reply.json) == (201, answer)
    (record,) = await records(world)
    assert record == {
        "login_id": body["login_id"], "host": "h1", "node": "login1", "account": "alice", "user": "alice",
        "client_id": "portal", "delegation_id": world.delegation["id"], "serial": issued["serial"],
        "key_id": issued["key_id"], "public_key_fingerprint": issued["public_key_fingerprint"],
        "remote_address": "192.0.2.7", "started_at": body["started_at"], "ended_at": None, "end_reason": None,
        "late": False, "counted": False, "uses_left": None,
    }  # fmt: skip


async def test_the_end_is_on_record_and_stands(world):
    body = told(world, await certificate_of(world))
    await open_login(world, body)
    world.clock.move(60)
    assert (await end_login(world, body["login_id"])).status == 204
    world.clock.move(60)
    assert (await end_login(world, body["login_id"], reason="failed")).status == 204
    (record,) = await records(world)
    assert (record["ended_at"], record["end_reason"]) == (rfc3339(world.clock.now() - 60), "closed")


@pytest.mark.parametrize("wrong", [{"started_at": "2099-01-01T00:00:00Z"}, {"started_at": "1971-01-01T00:00:00Z"}])
async def test_a_host_whose_clock_is_wrong_ends_nothing_before_it_began(world, wrong):
    body = told(world, await certificate_of(world), **wrong)
    assert (await open_login(world, body)).status == 201
    await end_login(world, body["login_id"], ended_at="1970-01-01T00:00:00Z")
    (record,) = await records(world)
    assert record["started_at"] == min(wrong["started_at"], rfc3339(world.clock.now()))
    assert record["started_at"] <= record["ended_at"] <= rfc3339(world.clock.now())


async def test_another_end_than_of_a_login_that_was_told_is_not_there(world):
    reply = await end_login(world, "0" * 32)
    assert (reply.status, reply.code) == (404, "login_unknown")


async def test_a_revoked_certificate_gets_no_session(world):
    issued = (await world.issue()).json
    await world.good("POST", "revocations", auth=world.operator, json={"serial": issued["serial"], "reason": "lost"})
    reply = await open_login(world, told(world, issued["certificate"]))
    assert (reply.status, reply.code) == (403, "certificate_revoked")
    assert await records(world) == []
    events = (await world.good("GET", "audit-events?action=logins.open", auth=world.operator))["items"]
    assert [one["outcome"] for one in events] == ["certificate_revoked"]


@pytest.mark.parametrize(("change", "status", "code"), [
    ({"account": "bob"}, 403, "certificate_other_account"),
    ({"certificate": "ssh-ed25519-cert-v01@openssh.com AAAA"}, 400, "bad_certificate"),
    ({"login_id": "A" * 32}, 400, "invalid_request"),
    ({"login_id": "0" * 31}, 400, "invalid_request"),
    ({"login_id": "0" * 32 + "\n"}, 400, "invalid_request"),
    ({"node": "a b"}, 400, "invalid_request"),
    ({"remote_address": "example.org"}, 400, "invalid_request"),
    ({"late": "yes"}, 400, "invalid_request"),
    ({"uses_left": 5}, 400, "invalid_request"),
])  # fmt: skip
async def test_what_is_told_wrongly_is_refused(world, change, status, code):
    certificate = await certificate_of(world)
    assert (await open_login(world, told(world, certificate))).status == 201
    reply = await open_login(world, told(world, certificate, **change))
    assert (reply.status, reply.code) == (status, code)
    assert len(await records(world)) == 1


async def test_a_host_tells_of_its_own_logins_only(world):
    await world.add_host("h2")
    body = told(world, await certificate_of(world))
    reply = await world.call("POST", "hosts/h1/logins", auth=world.hosts["h2"], json=body)
    assert (reply.status, reply.code) == (403, "host_mismatch")
    assert (await open_login(world, body, "h2")).code == "certificate_other_host"
    assert (await open_login(world, body)).status == 201
    for path, more in ((f"hosts/h1/logins/{body['login_id']}/end", {"ended_at": body["started_at"], "reason": "closed"}),
                       ("hosts/h1/sessions", {"node": "login1", "open": []})):  # fmt: skip
        assert (await world.call("POST", path, auth=world.hosts["h2"], json=more)).code == "host_mismatch"
    reply = await world.call(
        "POST", f"hosts/h2/logins/{body['login_id']}/end", auth=world.hosts["h2"],
        json={"ended_at": body["started_at"], "reason": "closed"},
    )  # fmt: skip
    assert reply.code == "login_unknown"
    assert (await records(world))[0]["ended_at"] is None


async def test_the_same_login_id_is_one_login(world):
    certificate = await certificate_of(world)
    body = told(world, certificate)
    replies = await asyncio.gather(*(open_login(world, body) for _ in range(8)))
    assert {reply.status for reply in replies} == {201}
    assert len({reply.body for reply in replies}) == 1
    assert len(await records(world)) == 1
    other = {**body, "node": "login2"}
    assert (await open_login(world, other)).code == "login_id_taken"


async def test_a_late_login_is_recorded_whatever_has_changed_since(world):
    issued = (await world.issue()).json
    await world.good("POST", "revocations", auth=world.operator, json={"serial": issued["serial"], "reason": "lost"})
    reply = await open_login(world, told(world, issued["certificate"], late=True))
    assert reply.status == 201
    (record,) = await records(world)
    assert record["late"] is True
    (event,) = (await world.good("GET", "audit-events?action=logins.open", auth=world.operator))["items"]
    assert json.loads(event["detail"])["refused"] == "certificate_revoked"


async def test_a_late_login_on_a_certificate_that_is_not_ours_is_refused(world):
    blob = (await certificate_of(world)).split()
    altered = f"{blob[0]} {blob[1][:-8]}AAAAAAA="
    reply = await open_login(world, told(world, altered, late=True))
    assert reply.status in {400, 403}
    assert await records(world) == []


async def test_clients_and_users_see_their_own_logins(world):
    await open_login(world, told(world, await certificate_of(world)))
    await world.add_client("other")
    await world.add_user("bob")
    for auth, count in (
        (world.clients["portal"], 1), (world.clients["other"], 0), (world.sessions["alice"], 1),
        (world.sessions["bob"], 0), (world.operator, 1),
    ):  # fmt: skip
        items = (await world.good("GET", "logins", auth=auth))["items"]
        assert len(items) == count
    # A filter does not reach further than what is one's own.
    assert (await world.good("GET", "logins?client_id=portal", auth=world.clients["other"]))["items"] == []
    assert (await world.call("GET", "logins", auth=world.hosts["h1"])).status == 403


async def test_logins_come_in_pages_newest_first(world):
    certificate = await certificate_of(world)
    bodies = [told(world, certificate) for _ in range(5)]
    for body in bodies:
        await open_login(world, body)
    wanted = [body["login_id"] for body in reversed(bodies)]
    found, cursor = [], ""
    while cursor is not None:
        page = await world.good("GET", f"logins?limit=2{cursor and '&cursor=' + cursor}", auth=world.operator)
        found += [one["login_id"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert found == wanted


async def test_the_answer_names_the_command_that_the_session_must_run(world):
    """By the certificate itself, or by a restriction made since; told again, it is the same."""
    path = f"delegations/{world.delegation['id']}/restrictions"
    certificate = await certificate_of(world)
    await world.good("PATCH", path, auth=world.operator, json={"force_command": "rsync --server ."})
    body = told(world, certificate)
    assert (await open_login(world, body)).json["force_command"] == "rsync --server ."
    await world.good("PATCH", path, auth=world.operator, json={"force_command": None})
    assert (await open_login(world, body)).json["force_command"] == "rsync --server ."
    assert (await open_login(world, told(world, certificate))).json["force_command"] is None
    await world.good("POST", f"delegations/{world.delegation['id']}/revoke", auth=world.sessions["alice"])
    await world.delegate("alice", "portal", "h1", "alice", constraints={"force_command": "true"})
    assert (await open_login(world, told(world, await certificate_of(world)))).json["force_command"] == "true"


async def test_a_machine_speaks_for_itself_only(world):
    """Where the credential is a machine's own, from a join."""
    token = (await world.good("POST", "hosts/h1/join-tokens", auth=world.operator, json={}))["join_token"]
    by_admin = world.hosts["h1"]
    secret = "tms_h_" + secrets.token_urlsafe(32)
    await world.good("POST", "/api/v1/join", json={
        "join_token": token, "credential_sha256": hashlib.sha256(secret.encode()).hexdigest(), "node": "login1",
        "ssh_host_keys": [ssh_keygen(world.keys, "host").public],
    })  # fmt: skip
    world.hosts["h1"] = secret
    certificate = await certificate_of(world)
    assert (await open_login(world, told(world, certificate))).status == 201
    assert (await open_login(world, told(world, certificate, node="login2"))).code == "node_mismatch"
    body = {"node": "login2", "open": []}
    assert (await world.call("POST", "hosts/h1/sessions", auth=secret, json=body)).code == "node_mismatch"
    others, own = told(world, certificate, node="login2"), told(world, certificate)
    world.hosts["h1"] = by_admin
    assert (await open_login(world, others)).status == 201
    world.hosts["h1"] = secret
    assert (await open_login(world, own)).status == 201
    refused = await end_login(world, others["login_id"])
    assert (refused.status, refused.code) == (403, "node_mismatch")
    assert [one["node"] for one in await records(world) if one["ended_at"] is not None] == []
    assert (await end_login(world, own["login_id"])).status == 204
