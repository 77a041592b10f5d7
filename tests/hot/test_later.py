"""Certificates that are begun where their request arrives: the answer leaves when it is durable, and not before."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.hot.conftest import Door, Doors
from tests.hot.line import Line, request
from tests.hot.test_dozing import asleep
from tms_ca.app import CLOSING

PATH = "/api/v1/tenants/default/certificates"


def wanted(doors: Doors, **more: object) -> bytes:
    """Return a request that is granted."""
    return request(PATH, doors.world.issue_body(**more), doors.world.clients["portal"])


async def warm(doors: Doors, line: Line, door: Door | None = None) -> None:
    """Ask until the answer comes by the short way."""
    door = door or doors.short
    for _ in range(4):
        before = door.short
        assert (await line.ask(wanted(doors))).status == 201
        if door.short > before:
            return
    raise AssertionError("the short way is never taken")


@asynccontextmanager
async def no_commits(doors: Doors) -> AsyncIterator[None]:
    """Keep every group from being written, as a disk does that does not answer."""
    async with doors.world.context.commits._database.write_lock:
        yield
        # Whatever was sent has arrived by now.
        for _ in range(20):
            await asyncio.sleep(0.005)


async def recorded(doors: Doors) -> list[str]:
    listed = await doors.world.good("GET", "certificates?limit=200", auth=doors.world.operator)
    return [one["serial"] for one in listed["items"]]


async def test_both_ways_give_the_same_answer(doors):
    short, long = doors.short.line(), doors.long.line()
    await warm(doors, short)
    await long.ask(wanted(doors))
    before = doors.short.short
    here, there = await short.ask(wanted(doors)), await long.ask(wanted(doors))
    assert doors.short.short == before + 1
    assert here.status == there.status == 201
    assert list(here.headers) == list(there.headers)
    mine, other = json.loads(here.body), json.loads(there.body)
    assert list(mine) == list(other)
    own = {"certificate", "serial", "key_id", "valid_after", "valid_before"}
    assert {name: mine[name] for name in mine if name not in own} == {
        name: other[name] for name in other if name not in own
    }
    assert {mine["serial"], other["serial"]} <= set(await recorded(doors))
    logged = [one for one in doors.short.logged() if one["endpoint"] == "issue_certificate"]
    assert logged[-1]["request_id"] == here.headers["x-request-id"]
    assert logged[-1]["status"] == 201


async def test_what_comes_behind_is_answered_behind_and_in_order(doors):
    line = doors.short.line()
    await warm(doors, line)
    await doors.warm(doors.short.line())
    health = b"GET /healthz HTTP/1.1\r\nHost: tms.example.org\r\n\r\n"
    refused = wanted(doors, account="bob")
    async with no_commits(doors):
        await line.send([wanted(doors)])
        await asyncio.sleep(0.05)
        half = wanted(doors)
        await line.send([doors.good() + health, refused, half[:100], half[100:]])
    statuses = [(await line.answer()).status for _ in range(5)]
    assert statuses == [201, 200, 200, 403, 201]
    assert (await line.ask(doors.good())).status == 200, "the connection goes on"


async def test_A_06_a_credential_that_was_taken_back_asks_no_more_though_another_of_its_client_does(doors):
    line, world = doors.short.line(), doors.world
    await warm(doors, line)
    old = wanted(doors)
    [first] = (await world.good("GET", "clients/portal/secrets", auth=world.operator))["items"]
    second = await world.good("POST", "clients/portal/secrets", auth=world.operator)
    world.clients["portal"] = second["secret"]
    await warm(doors, line)
    assert (await line.ask(old)).status == 201
    await world.good("DELETE", f"clients/portal/secrets/{first['credential_id']}", auth=world.operator)
    await warm(doors, line)  # all that it rests on is remembered again
    before = doors.short.short
    assert (await line.ask(old)).status == 401
    assert doors.short.short == before


async def test_E_03_what_cannot_be_written_is_not_issued_and_the_connection_goes_on(doors):
    line = doors.short.line()
    await warm(doors, line)
    known = await recorded(doors)
    file = doors.world.settings.database_url.removeprefix("sqlite:///")
    with sqlite3.connect(file) as other:
        other.execute("CREATE TRIGGER no BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'x'); END")
    said = await line.ask(wanted(doors))
    assert (said.status, said.code, said.headers["retry-after"]) == (503, "database_unavailable", "2")
    assert b"BEGIN CERT" not in said.body
    assert b"ssh-ed25519-cert" not in said.body
    with sqlite3.connect(file) as other:
        other.execute("DROP TRIGGER no")
    other.close()
    assert await recorded(doors) == known
    assert (await line.ask(wanted(doors))).status == 201
    assert doors.world.context.metrics.in_flight.value == 0


async def test_E_01_whoever_hangs_up_meanwhile_has_a_certificate_on_record(doors):
    line = doors.short.line()
    await warm(doors, line)
    known = await recorded(doors)
    async with no_commits(doors):
        before = doors.short.short
        await line.send([wanted(doors)])
        while doors.short.short == before:
            await asyncio.sleep(0.001)
        line.close()
    line = doors.short.line()
    assert (await line.ask(wanted(doors))).status == 201
    assert len(await recorded(doors)) == len(known) + 2
    assert doors.world.context.metrics.in_flight.value == 0


@pytest.mark.parametrize("dozing", [False, True])
async def test_E_07_a_stop_waits_for_the_commit_and_its_answer_is_the_last(doors, dozing):
    line = doors.short.line()
    await warm(doors, line)
    if dozing:
        await asleep(doors)
    async with no_commits(doors):
        before = doors.short.short
        await line.send([wanted(doors)])
        while doors.short.short == before:
            await asyncio.sleep(0.001)
        doors.short.app[CLOSING].set()
        stopping = asyncio.create_task(doors.short.runner.cleanup())
        await asyncio.sleep(0.1)
        assert not stopping.done()
    said = await line.answer()
    assert (said.status, said.headers["connection"]) == (201, "close")
    assert await line.ended(60)
    await stopping


async def test_E_07_what_would_be_decided_anew_once_connections_end_is_told_so(doors):
    """The long way would need its connection for longer than there is."""
    line = doors.short.line()
    await warm(doors, line)
    known = await recorded(doors)
    file = doors.world.settings.database_url.removeprefix("sqlite:///")
    async with no_commits(doors):
        before = doors.short.short
        await line.send([wanted(doors)])
        while doors.short.short == before:
            await asyncio.sleep(0.001)
        doors.short.app[CLOSING].set()
        stopping = asyncio.create_task(doors.short.runner.cleanup())
        (connection,) = doors.short.runner.guard._connections
        while not connection._force_close:
            await asyncio.sleep(0.001)
        with sqlite3.connect(file) as other:
            other.execute("UPDATE tenants SET epoch = epoch + 1")
        other.close()
    said = await line.answer()
    assert (said.status, said.code) == (503, "overloaded")
    assert (said.headers["connection"], said.headers["retry-after"]) == ("close", "1")
    assert await line.ended(60)
    await stopping
    assert await recorded(doors) == known
