"""Who dozes has no parser and no task: what comes next is answered as ever, at once where it is known."""

import asyncio

import pytest

from tests.hot.conftest import Doors
from tests.hot.line import Line, request
from tms_ca.http import guard

OTHER = request("/healthz", b"", None, method="GET")


async def asleep(doors: Doors) -> None:
    """Wait until every connection of the short door dozes, and has let go of its parser."""
    its = doors.short.runner.guard
    async with asyncio.timeout(60):
        while its.awake or not its.dozing:
            await asyncio.sleep(0.05)
    assert all(one._parser is None and one._task_handler is None for one in its.dozing)


@pytest.fixture
async def dozing(doors) -> Line:
    line = doors.short.line()
    await doors.warm(line)
    await asleep(doors)
    return line


async def test_a_known_head_is_answered_at_once_and_wakes_no_task(doors, dozing, monkeypatch):
    (connection,) = doors.short.runner.guard.dozing
    soon = guard.DOZE_SECONDS
    for _ in range(2):
        before = doors.short.short
        monkeypatch.setattr(guard, "DOZE_SECONDS", 600.0)  # a machine that stands still for a moment does not matter
        assert (await dozing.ask(doors.good())).status == 200
        assert doors.short.short == before + 1
        assert connection._parser is None
        assert list(doors.short.runner.guard.awake) == [connection]  # asked just now: its 75 seconds begin again
        monkeypatch.setattr(guard, "DOZE_SECONDS", soon)
        await asleep(doors)


async def test_a_revoked_certificate_is_refused_to_who_dozed(doors, dozing):
    revocation = {"serial": doors.serial, "reason": "test"}
    await doors.world.good("POST", "revocations", auth=doors.world.operator, json=revocation)
    said = await dozing.ask(doors.good())
    assert (said.status, said.code) == (403, "certificate_revoked")


async def test_another_head_is_parsed_anew(doors, dozing):
    assert (await dozing.ask(OTHER)).status == 200
    assert (await dozing.ask(doors.good())).status == 200


async def test_a_head_in_two_pieces_is_one_request(doors, dozing):
    whole = doors.good()
    assert (await dozing.ask(whole[:40], whole[40:])).status == 200


async def test_two_requests_at_once_have_two_answers(doors, dozing):
    await dozing.send([OTHER + doors.good()])
    assert [(await dozing.answer()).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    "bad",
    [b"\x00\x01\r\n\r\n", OTHER.replace(b"Host", b"Host: a\r\nHost")],
    ids=["no_http", "two_hosts"],
)
async def test_what_is_no_request_is_refused_as_on_a_new_connection(doors, dozing, bad):
    fresh = doors.short.line()
    first, second = await fresh.ask(bad), await dozing.ask(bad)
    assert first.status == second.status == 400
    assert first.code == second.code
    assert second.headers["connection"] == "close"


async def test_a_body_that_came_in_chunks_leaves_the_parser_where_it_is(doors):
    line = doors.short.line()
    whole = doors.good()
    head, _, body = whole.partition(b"\r\n\r\n")
    head = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
    assert (await line.ask(head + b"\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))).status == 200
    its = doors.short.runner.guard
    async with asyncio.timeout(60):
        while not its.dozing:
            await asyncio.sleep(0.05)
    (connection,) = its.dozing
    assert connection._parser is not None
    assert (await line.ask(doors.good())).status == 200
