"""Reports: which machines enforce a revocation, how fast they had it, and which are behind, silent or wrong."""

import asyncio

import pytest

from tests.api.stores import events, query
from tests.enrol.machine import join
from tests.watch.test_metrics import scrape, values
from tms_ca.services.upkeep import Upkeep
from tms_ca.store.retention import SIGHTINGS_KEPT_DAYS, Retention


async def user_ca(world) -> list[str]:
    keys = (await world.good("GET", "ca-keys", auth=world.operator))["items"]
    return [key["fingerprint"] for key in keys if key["purpose"] == "user" and key["state"] != "retired"]


async def body(world, node="login1", **more):
    krl = (await world.call("GET", "krl")).headers["X-KRL-Version"]
    said = {
        "node": node,
        "user_ca_fingerprints": await user_ca(world),
        "krl_version": krl,
        "trust_epoch": "1",
        "clock_offset_ms": 12,
        "openssh_version": "OpenSSH_9.2p1",
        "tms_host_version": "0.1.0",
        "when_away": "closed",
    }
    return {**said, **more}


async def report(world, auth, node="login1", host="h1", **more):
    return await world.call("POST", f"hosts/{host}/reports", auth=auth, json=await body(world, node, **more))


async def revoke(world):
    serial = (await world.issue()).json["serial"]
    sent = {"serial": serial, "reason": "x"}
    return (await world.good("POST", "revocations", auth=world.operator, json=sent))["id"]


async def enforcement(world, revocation):
    return await world.good("GET", f"revocations/{revocation}/enforcement", auth=world.operator)


async def wrong(world):
    nodes = (await world.good("GET", "nodes", auth=world.operator))["items"]
    return {one["node"]: one["wrong"] for one in nodes}


async def test_G_09_enforcement_says_who_has_a_revocation_and_how_fast(world):
    first, _ = await join(world, node="login1")
    second, _ = await join(world, node="login2")
    await join(world, node="login3")  # never says anything
    for auth, node in ((first, "login1"), (second, "login2")):
        assert (await report(world, auth, node)).status == 200
    old = (await world.call("GET", "krl")).headers["X-KRL-Version"]
    revocation = await revoke(world)
    found = await enforcement(world, revocation)
    assert (found["hosts"], found["enforcing"], found["slowest_seconds"]) == (3, 0, None)
    assert int(found["krl_version"]) == int(old) + 1
    world.clock.ms += 1500
    assert (await report(world, first, "login1")).status == 200
    world.clock.ms += 30_000
    assert (await report(world, second, "login2", krl_version=old)).status == 200  # the twin: it has the old one
    found = await enforcement(world, revocation)
    assert [one["seconds"] for one in found["items"]] == [1.5, None, None]
    assert (found["enforcing"], found["slowest_seconds"]) == (1, 1.5)
    await revoke(world)  # a later KRL has the earlier revocation, too
    world.clock.ms += 2000
    assert (await report(world, second, "login2")).status == 200
    found = await enforcement(world, revocation)
    assert [one["seconds"] for one in found["items"]] == [1.5, 33.5, None]
    assert (found["enforcing"], found["slowest_seconds"]) == (2, 33.5)
    assert [one["reported_at"] is None for one in found["items"]] == [False, False, True]


async def test_a_later_report_does_not_change_when_a_machine_first_had_it(world):
    first, _ = await join(world)
    revocation = await revoke(world)
    for _ in range(3):
        world.clock.ms += 1000
        await report(world, first)
    assert (await enforcement(world, revocation))["slowest_seconds"] == 1.0


async def test_a_revocation_that_changes_no_list_is_in_the_list_that_there_is(world):
    await world.add_user("bob", mfa=False)
    await revoke(world)
    before = (await world.call("GET", "krl")).headers["X-KRL-Version"]
    body = {"user": "bob", "reason": "x"}  # who has no certificate
    made = await world.good("POST", "revocations", auth=world.operator, json=body)
    assert (await enforcement(world, made["id"]))["krl_version"] == before
    refused = await world.call("GET", "revocations/rev_" + "a" * 20 + "/enforcement", auth=world.operator)
    assert (refused.status, refused.code) == (404, "revocation_unknown")


async def test_a_machine_reports_for_itself_alone(world):
    first, _ = await join(world, node="login1")
    await world.add_host("h2")
    refused = await report(world, first, "login2")
    assert (refused.status, refused.code) == (403, "node_mismatch")
    refused = await report(world, first, "login1", host="h2")
    assert (refused.status, refused.code) == (403, "host_mismatch")
    assert (await report(world, world.hosts["h1"], "made-by-hand")).status == 200  # an admin's credential is nobody's
    assert set(await wrong(world)) == {"login1", "made-by-hand"}
    seen = (await world.good("GET", "nodes", auth=world.hosts["h2"]))["items"]
    assert seen == []
    assert len((await world.good("GET", "nodes", auth=first))["items"]) == 2
    assert len(await events(world, outcome="node_mismatch")) == 1


async def test_reports_change_nothing_that_a_decision_rests_on(world):
    first, _ = await join(world)
    before = await query(world, "SELECT epoch FROM tenants WHERE tenant = 'default'")
    assert (await report(world, first)).status == 200
    assert await query(world, "SELECT epoch FROM tenants WHERE tenant = 'default'") == before


async def test_many_reports_at_once_are_all_kept(world):
    sent = await body(world)
    at_once = asyncio.Semaphore(10)  # more than that, and on a slow machine the service says that it has too much to do

    async def one(number):
        async with at_once:
            said = {**sent, "node": f"n{number % 40}"}
            return await world.call("POST", "hosts/h1/reports", auth=world.hosts["h1"], json=said)

    replies = await asyncio.gather(*map(one, range(120)))
    assert {(reply.status, reply.code) for reply in replies} == {(200, "")}
    assert await query(world, "SELECT count(*) FROM host_nodes WHERE reported_ms IS NOT NULL") == [(40,)]


async def test_what_is_wrong_with_a_machine_is_said_in_words(world):
    secret, _ = await join(world)
    assert await wrong(world) == {"login1": ["has never reported"]}
    await report(world, secret)
    assert await wrong(world) == {"login1": []}
    keys = await user_ca(world)
    new = await world.good("POST", "ca-keys", auth=world.operator, json={"purpose": "user"})
    await revoke(world)
    old = int((await world.call("GET", "krl")).headers["X-KRL-Version"]) - 1
    stale = {"krl_version": str(old), "user_ca_fingerprints": [*keys, "SHA256:" + "A" * 43]}
    await report(world, secret, **stale, clock_offset_ms=-31_000)
    strange = "still trusts SHA256:" + "A" * 43
    assert await wrong(world) == {"login1": [strange, "clock is off by -31 s"]}  # the rest is too new to be missed
    world.clock.move(66)
    await report(world, secret, **stale)
    late = [f"KRL {old} is older than {old + 1}", f"does not trust {new['fingerprint']}", strange]
    assert await wrong(world) == {"login1": late}
    world.clock.move(301)
    assert (await wrong(world))["login1"][0] == "silent for 301 s"
    await report(world, secret)
    assert await wrong(world) == {"login1": []}


async def test_the_metrics_count_machines_that_report_are_behind_or_silent(world):
    async def counted():
        world.clock.move(11)  # a count serves for 10 s
        found = values(await scrape(world))
        return tuple(int(found[f'tms_hosts_{name}{{tenant="default"}}']) for name in ("reporting", "behind", "silent"))

    assert await counted() == (0, 0, 0)
    first, _ = await join(world, node="login1")
    second, _ = await join(world, node="login2")
    await report(world, first, "login1")
    old = (await body(world))["krl_version"]
    await report(world, second, "login2")
    assert await counted() == (2, 0, 0)
    await revoke(world)
    await report(world, first, "login1")
    assert await counted() == (2, 0, 0)
    world.clock.move(60)
    await report(world, second, "login2", krl_version=old)
    assert await counted() == (2, 1, 0)
    await report(world, second, "login2")
    assert await counted() == (2, 0, 0)
    await world.good("POST", "ca-keys", auth=world.operator, json={"purpose": "user"})
    assert await counted() == (2, 0, 0)
    world.clock.move(60)
    assert await counted() == (2, 2, 0)
    await report(world, first, "login1")
    assert await counted() == (2, 1, 0)
    world.clock.move(301)
    assert await counted() == (2, 1, 2)


@pytest.mark.parametrize("gone", ["DELETE hosts/h1/nodes/login1", "DELETE hosts/h1"])
async def test_who_leaves_is_counted_no_more(world, gone):
    secret, _ = await join(world)
    await report(world, secret)
    method, path = gone.split()
    await world.good(method, path, auth=world.operator)
    assert await wrong(world) == {}
    assert await query(world, "SELECT count(*) FROM krl_sightings") == [(0,)]
    assert (await report(world, secret)).status == 401


async def test_sightings_and_tokens_are_pruned(world):
    from tests.enrol.machine import invite

    secret, _ = await join(world)
    await report(world, secret)
    await invite(world)
    context = world.context
    upkeep = Upkeep(context.reports._database, context.vault, world.clock, Retention())
    from tms_ca.background import SELF

    await upkeep.run(SELF)
    assert await query(world, "SELECT count(*) FROM krl_sightings") == [(1,)]
    assert await query(world, "SELECT count(*) FROM join_tokens") == [(1,)]
    world.clock.move(SIGHTINGS_KEPT_DAYS * 86400 + 1)
    await upkeep.run(SELF)
    assert await query(world, "SELECT count(*) FROM krl_sightings") == [(0,)]
    assert await query(world, "SELECT count(*) FROM join_tokens") == [(0,)]
    assert await query(world, "SELECT count(*) FROM host_nodes") == [(1,)]


async def test_a_report_that_is_not_kept_is_not_said_to_be(world):
    from sqlalchemy.exc import OperationalError

    from tms_ca.store import reports

    real = reports.put

    async def failing(*_):
        raise OperationalError("INSERT", {}, Exception("disk full"))

    reports.put = failing
    try:
        refused = await report(world, world.hosts["h1"])
    finally:
        reports.put = real
    assert (refused.status, refused.code) == (503, "database_unavailable")
    assert (await report(world, world.hosts["h1"])).status == 200
