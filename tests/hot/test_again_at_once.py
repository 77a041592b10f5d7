"""Who asks again before aiohttp's loop for the connection has looked is answered at once all the same, and in turn."""

import asyncio
from dataclasses import dataclass, field

import pytest
from aiohttp.web_protocol import RequestHandler

from tests.hot.line import request
from tms_ca.http.protocol import Connection

OTHER = request("/healthz", b"", None, method="GET")
LAST = request("/healthz", b"", None, "Connection: close", method="GET")


@dataclass
class Coming:
    """What comes on the connection, one each, at moments of a request that aiohttp's loop for it has taken."""

    before: list[bytes] = field(default_factory=list)  # its task has not begun
    within: list[bytes] = field(default_factory=list)
    after: list[bytes] = field(default_factory=list)  # the answer is sent, the task has not ended


@pytest.fixture
def coming(monkeypatch):
    found, ours, aiohttps = Coming(), Connection._handle_request, RequestHandler._handle_request

    async def handled(self, *args):
        if found.before:
            self.data_received(found.before.pop(0))
        answer = await ours(self, *args)
        if found.after:
            asyncio.get_running_loop().call_soon(self.data_received, found.after.pop(0))
        return answer

    async def handled_within(self, *args):
        if found.within:
            self.data_received(found.within.pop(0))
        return await aiohttps(self, *args)

    monkeypatch.setattr(Connection, "_handle_request", handled)
    monkeypatch.setattr(RequestHandler, "_handle_request", handled_within)
    return found


async def warmed(doors):
    line = doors.short.line()
    await doors.warm(line)
    return line


async def test_what_comes_within_the_turn_of_an_answer_is_answered_at_once(doors, coming):
    line, good = await warmed(doors), doors.good()
    coming.after.append(good)
    before = doors.short.short
    assert b"ok" in (await line.ask(OTHER)).body
    assert b"alice" in (await line.answer()).body
    assert doors.short.short == before + 1
    assert [(await line.ask(one)).status for one in (good, OTHER, good)] == [200] * 3  # nothing else was disturbed


async def test_what_comes_within_the_turn_of_the_last_answer_is_nobodys(doors, coming):
    line = await warmed(doors)
    coming.after.append(doors.good())
    before = doors.short.short
    await line.send([LAST])
    assert b"ok" in (await line.answer()).body
    assert await line.ended(60)
    assert doors.short.short == before


async def test_what_comes_behind_a_request_that_waits_is_answered_after_it(doors, coming):
    line = await warmed(doors)
    coming.after.append(OTHER + doors.good())
    before = doors.short.short
    said = [await line.ask(OTHER)] + [await line.answer() for _ in range(2)]
    assert [b"alice" in one.body for one in said] == [False, False, True]
    assert doors.short.short == before


async def test_what_comes_within_the_turn_in_two_pieces_is_one_request(doors, coming):
    line, good = await warmed(doors), doors.good()
    coming.after.append(good[:50])
    assert b"ok" in (await line.ask(OTHER)).body
    await line.send([good[50:]])
    assert b"alice" in (await line.answer()).body


@pytest.mark.parametrize("moment", ["before", "within"])
async def test_what_comes_before_an_answer_is_answered_after_it(doors, coming, moment):
    line = await warmed(doors)
    assert (await line.ask(OTHER)).status == 200
    getattr(coming, moment).append(doors.good())
    before = doors.short.short
    said = [await line.ask(OTHER), await line.answer()]
    assert [b"alice" in one.body for one in said] == [False, True]
    assert doors.short.short == before
