"""A machine joins with a token, once: what it gets works, and every token that is not good is refused alike."""

import asyncio

import pytest

from tests.api.stores import events, query, snapshot
from tests.enrol.machine import JOIN, host_key, invite, join, join_body, new_credential


async def test_A_01_a_machine_joins_and_its_credential_is_the_hosts(world):
    secret, joined = await join(world)
    assert (joined["tenant"], joined["host"], joined["names"]) == ("default", "h1", ["h1"])
    assert len(joined["host_certificates"]) == 1
    assert set(joined["trust"]) == {"bundle", "signature"}
    world.hosts["h1"] = secret
    issued = (await world.issue()).json["certificate"]
    assert (await world.check(issued)).status == 200
    world.hosts["h1"] = new_credential()[0]  # the negative twin: 256 other bits
    assert (await world.check(issued)).status == 401
    assert [e["outcome"] for e in await events(world, action="hosts.join")] == ["ok"]
    assert len(await events(world, action="host-certificates.issue")) == 1


async def test_a_token_is_shown_once_and_kept_as_a_digest(world):
    token = (await invite(world))["join_token"]
    assert token.startswith("tms_j_")
    assert len(token) == len("tms_j_") + 43
    assert token not in repr(await snapshot(world))
    assert token not in repr(await events(world))


async def _refused(world, token):
    reply = await world.call("POST", JOIN, json=join_body(world, token))
    return reply.status, reply.code, reply.json["detail"]


async def test_every_token_that_is_not_good_is_refused_alike(world):
    used = (await invite(world))["join_token"]
    assert (await world.call("POST", JOIN, json=join_body(world, used))).status == 201
    older = (await invite(world))["join_token"]
    await invite(world)  # voids it
    await world.add_host("h2")
    ended = (await invite(world, "h2", lifetime_seconds=60))["join_token"]
    world.clock.move(60)
    await world.add_host("h3")
    disabled = (await invite(world, "h3"))["join_token"]
    await world.good("PATCH", "hosts/h3", auth=world.operator, json={"enabled": False})
    await world.add_host("h4")
    revoked = (await invite(world, "h4"))["join_token"]
    await world.good("POST", "revocations", auth=world.operator, json={"host": "h4", "reason": "stolen"})
    await world.add_host("h5")
    deleted = (await invite(world, "h5"))["join_token"]
    await world.good("DELETE", "hosts/h5", auth=world.operator)
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "shut"})
    await world.good("POST", "hosts", auth=world.operator, json={"host": "h6"}, tenant="shut")
    answer = await world.good("POST", "hosts/h6/join-tokens", auth=world.operator, json={}, tenant="shut")
    shut = answer["join_token"]
    await world.good("PATCH", "/api/v1/tenants/shut", auth=world.operator, json={"enabled": False})
    before = await snapshot(world)
    bad = ("tms_j_" + "A" * 43, "x", used, older, ended, disabled, revoked, deleted, shut)
    answers = {await _refused(world, token) for token in bad}
    assert len(answers) == 1, answers
    assert {answer[:2] for answer in answers} == {(401, "join_token_not_good")}
    assert await snapshot(world) == before
    assert len(await events(world, outcome="join_token_not_good")) == len(bad)
    # The positive twin: the same host, enabled again, with the same token.
    await world.good("PATCH", "hosts/h3", auth=world.operator, json={"enabled": True})
    assert (await world.call("POST", JOIN, json=join_body(world, disabled))).json["host"] == "h3"


async def test_of_sixty_that_race_for_a_token_one_wins(world):
    token = (await invite(world))["join_token"]
    key = host_key(world, "racer").public
    bodies = [join_body(world, token, f"n{number}", keys=[key]) for number in range(60)]
    replies = await asyncio.gather(*(world.call("POST", JOIN, json=body) for body in bodies))
    statuses = [reply.status for reply in replies]
    assert statuses.count(201) == 1, statuses
    # Of sixty that come at once, a slow machine has not the time to look at all.
    refused = {(reply.status, reply.code) for reply in replies if reply.status != 201}
    assert refused <= {(401, "join_token_not_good"), (429, "too_many_joins"), (503, "overloaded")}, refused
    assert await query(world, "SELECT count(*) FROM host_nodes") == [(1,)]
    assert await query(world, "SELECT count(*) FROM host_certificates") == [(1,)]
    assert await query(world, "SELECT count(*) FROM credentials WHERE node IS NOT NULL") == [(1,)]


async def test_a_machine_that_joins_again_keeps_one_older_credential_until_it_drops_it(world):
    made_by_admin = world.hosts["h1"]
    first, _ = await join(world, node="login1")
    other, _ = await join(world, node="login2")
    world.clock.move(1)
    second, _ = await join(world, node="login1")
    asked = [first, other, second, made_by_admin]
    assert [(await world.call("GET", "hosts/h1", auth=one)).status for one in asked] == [200, 200, 200, 200]
    world.clock.move(1)
    third, _ = await join(world, node="login1")
    asked.append(third)
    assert [(await world.call("GET", "hosts/h1", auth=one)).status for one in asked] == [401, 200, 200, 200, 200]
    await world.good("DELETE", "hosts/h1/credential", auth=third)
    assert [(await world.call("GET", "hosts/h1", auth=one)).status for one in asked] == [401, 200, 401, 200, 200]


async def test_a_machine_of_the_same_name_pushes_no_other_out(world):
    first, _ = await join(world, node="login1")
    token = (await invite(world))["join_token"]
    body = join_body(world, token, "login1", keys=[host_key(world, "others").public])
    refused = await world.call("POST", JOIN, json=body)
    assert (refused.status, refused.code) == (409, "node_exists")
    assert "--name" in refused.json["detail"]
    assert "--replace" in refused.json["detail"]
    assert (await world.call("GET", "hosts/h1", auth=first)).status == 200
    # Its twins: the token was not used up; another name; or this one, on purpose.
    assert (await world.call("POST", JOIN, json={**body, "node": "login2"})).status == 201
    body["join_token"] = (await invite(world))["join_token"]
    body["credential_sha256"] = new_credential()[1]
    assert (await world.call("POST", JOIN, json={**body, "replace": True})).status == 201


async def test_a_host_has_64_machines_at_most(world):
    key = host_key(world, "shared").public
    for number in range(64):
        await join(world, node=f"n{number}", keys=[key])
    token = (await invite(world))["join_token"]
    refused = await world.call("POST", JOIN, json=join_body(world, token, "n64", keys=[key]))
    assert (refused.status, refused.code) == (409, "too_many_nodes")
    # The twin: one of the 64 may join again, with the token that was not used up.
    assert (await world.call("POST", JOIN, json=join_body(world, token, "n63", keys=[key]))).status == 201


async def test_a_credential_that_is_in_use_is_refused(world):
    secret, digest = new_credential()
    for host, status in (("h1", 201), ("h2", 409)):
        if host == "h2":
            await world.add_host("h2")
        token = (await invite(world, host))["join_token"]
        reply = await world.call("POST", JOIN, json=join_body(world, token, digest=digest))
        assert reply.status == status
    assert reply.code == "credential_exists"
    assert (await world.call("GET", "hosts/h1", auth=secret)).status == 200


@pytest.mark.parametrize(("kind", "code"), [
    (("-t", "rsa", "-b", "2048"), "key_too_weak"),
    (("-t", "ed25519"), None),
    (("-t", "rsa", "-b", "3072"), None),
    (("-t", "ecdsa", "-b", "521"), None),
])  # fmt: skip
async def test_keys_that_may_be_certified_and_those_that_may_not(world, kind, code, database_kind):
    token = (await invite(world))["join_token"]
    keys = [host_key(world, "one").public, host_key(world, "two", *kind).public]
    reply = await world.call("POST", JOIN, json=join_body(world, token, keys=keys))
    assert (reply.status, reply.code) == ((201, "") if code is None else (400, code))
    if code is None:
        assert len(reply.json["host_certificates"]) == 2


async def test_a_ca_key_is_never_a_hosts(world):
    ca_key = (await world.good("GET", "ca-keys", auth=world.operator))["items"][0]["public_key"]
    token = (await invite(world))["join_token"]
    refused = await world.call("POST", JOIN, json=join_body(world, token, keys=[ca_key]))
    assert (refused.status, refused.code) == (400, "key_is_ca_key")
    assert (await world.call("POST", JOIN, json=join_body(world, token))).status == 201


async def test_a_key_that_joined_is_never_certified_for_a_user(world):
    key = host_key(world, "theirs").public
    assert (await world.issue(public_key=key)).status == 201
    await join(world, keys=[key])
    refused = await world.issue(public_key=key)
    assert (refused.status, refused.code) == (403, "key_is_host_key")


async def test_tokens_that_are_not_good_are_counted_by_address(world):
    good = (await invite(world))["join_token"]
    for _ in range(20):
        assert (await _refused(world, "x"))[0] == 401
    waits = await world.call("POST", JOIN, json=join_body(world, good))
    assert (waits.status, waits.code) == (429, "too_many_joins")
    assert 0 < int(waits.headers["Retry-After"]) <= 60
    world.clock.move(60)
    assert (await world.call("POST", JOIN, json=join_body(world, good))).status == 201
