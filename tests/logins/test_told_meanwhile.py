"""A node's report of its sessions and the end of one of them cross: what the node said of the end stands."""

import json
from functools import partial

import pytest

from tests.api.stores import events
from tests.logins.telling import certificate_of, end_login, open_login, records, report, told
from tests.overtaking import beside, once_read
from tms_ca.store import logins
from tms_ca.store.parts import parts


@pytest.fixture
def meanwhile(monkeypatch):
    """Return what has something happen between what a report reads by that name and what it writes."""

    return lambda name, happen: once_read(monkeypatch, logins, name, happen)


async def sessions(world, number):
    """Open so many sessions; return their login ids."""
    certificate = await certificate_of(world)
    bodies = [told(world, certificate) for _ in range(number)]
    for body in bodies:
        assert (await open_login(world, body)).status == 201
    return [body["login_id"] for body in bodies]


async def reasons(world):
    return {one["login_id"]: (one["end_reason"], one["ended_at"]) for one in await records(world)}


async def test_an_end_that_is_told_while_a_report_is_read_is_not_lost(world, meanwhile):
    closed, gone = await sessions(world, 2)
    meanwhile("open_of_node", lambda: end_login(world, closed))
    await report(world)
    found = await reasons(world)
    assert {name: why for name, (why, _) in found.items()} == {closed: "closed", gone: "lost"}
    (settled,) = await events(world, action="logins.settle")
    about = json.loads(settled["detail"])
    assert (about["lost"], about["logins"]) == (1, [gone])


async def test_an_end_that_is_told_while_a_lost_session_is_found_again_stays_an_end(world, meanwhile):
    closed, there = await sessions(world, 2)
    await report(world)
    world.clock.move(60)
    meanwhile("lost_of", lambda: end_login(world, closed))
    await report(world, closed, there)
    found = await reasons(world)
    assert found[there] == (None, None)
    assert found[closed][0] == "closed"
    assert found[closed][1] is not None


async def test_a_report_that_has_nothing_left_to_settle_says_nothing(world, meanwhile):
    (closed,) = await sessions(world, 1)
    meanwhile("open_of_node", lambda: end_login(world, closed))
    await report(world)
    assert await events(world, action="logins.settle") == []


async def test_more_sessions_than_one_statement_takes_are_all_settled(world, monkeypatch):
    monkeypatch.setattr(logins, "parts", partial(parts, most=2))
    names = await sessions(world, 5)
    await report(world)
    assert {why for why, _ in (await reasons(world)).values()} == {"lost"}
    await report(world, *names)
    assert {why for why, _ in (await reasons(world)).values()} == {None}


async def test_the_warning_runs_from_the_first_time_also_where_two_reports_cross(world, meanwhile):
    await world.good("PATCH", "/api/v1/tenants/default", auth=world.operator,
                     json={"on_revocation": "end", "warning_seconds": 30})  # fmt: skip
    (one,) = await sessions(world, 1)
    await world.good("POST", "revocations", auth=world.operator, json={"user": "alice", "reason": "x"})

    async def first():
        assert [ending["after_seconds"] for ending in await report(world, one)] == [30]
        world.clock.move(20)

    meanwhile("open_of_node", first)
    assert [ending["after_seconds"] for ending in await report(world, one)] == [10]
    assert [ending["after_seconds"] for ending in await report(world, one)] == [10]
    assert len(await events(world, action="logins.must_end")) == 1


async def test_of_two_ends_that_are_told_at_once_the_first_stands(world, meanwhile):
    (one,) = await sessions(world, 1)
    second = beside(world, lambda: end_login(world, one, reason="ended"))
    meanwhile("find", second.begin)
    assert (await end_login(world, one)).status == 204
    assert (await second.done()).status == 204
    assert (await reasons(world))[one][0] == ("ended" if second.was_first else "closed")
    assert len(await events(world, action="logins.end")) == 1
