"""Two who accept from one socket: whoever has more connections lets the other go first, and waits for nobody long."""

import asyncio
import socket
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from tms_ca.http.runner import Runner
from tms_ca.serving import acceptor as acceptors
from tms_ca.serving.acceptor import Acceptor
from tms_ca.serving.shares import Shares


@pytest.fixture
async def two(tmp_path):
    """Return both, of which none has begun, and their counts."""
    Shares.create(tmp_path / "shares", 2)
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        made = []
        for slot in range(2):
            runner = Runner(web.Application())
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            shares = Shares(tmp_path / "shares", slot)
            made.append((Acceptor(listener.dup(), runner.server, runner.guard, None, shares), shares))
        yield made, listener.getsockname()
        for one, _ in made:
            one.stop(ours=False)
            one._listener.close()


async def connect(stack: AsyncExitStack, acceptors_: list[Acceptor], address: tuple[str, int], number: int) -> None:
    """Open so many, one after the other, each when the one before was accepted."""
    already = sum(one.open() for one in acceptors_)
    for count in range(already + 1, already + number + 1):
        _, writer = await asyncio.open_connection(*address)
        stack.callback(writer.close)
        async with asyncio.timeout(60):
            while sum(one.open() for one in acceptors_) != count or any(one._welcoming for one in acceptors_):
                await asyncio.sleep(0)


async def test_a_few_connections_are_spread_evenly(two):
    (one, _), (other, _) = two[0]
    one.start()
    other.start()
    async with AsyncExitStack() as stack:
        await connect(stack, [one, other], two[1], 30)
        fewer, more = sorted([one.open(), other.open()])
        assert more <= fewer + (fewer >> 3) + 1


async def test_who_is_not_there_is_not_waited_for(two, monkeypatch):
    monkeypatch.setattr(acceptors, "YIELD_SECONDS", 3600)
    (one, _), _ = two[0]
    one.start()
    async with AsyncExitStack() as stack:
        await connect(stack, [one], two[1], 4)
        assert one.open() == 4


async def test_who_is_there_and_does_not_come_is_waited_for_a_moment_only(two):
    (one, _), (_, count) = two[0]
    count.set(0)
    one.start()
    async with AsyncExitStack() as stack:
        await connect(stack, [one], two[1], 4)
        assert one.open() == 4


async def test_the_last_is_who_leaves_when_all_others_have_said_so(two, monkeypatch):
    monkeypatch.setattr(acceptors, "COUNT_SECONDS", 0.01)
    (one, mine), (other, _) = two[0]
    one.start()
    other.start()
    assert not one.leaves_last()
    await asyncio.sleep(0.05)  # it has ceased to say how many connections it has
    assert other.leaves_last()
    assert mine.alone()


async def test_whoever_begins_to_accept_admits_everybody(two):
    """Also where somebody had left before, as if nobody would come after."""
    (one, _), (other, _) = two[0]
    one.start()
    one.admit_nobody()
    one.stop(ours=False)
    other.start()
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        await connect(stack, [other], two[1], 1)
        assert other.open() == 1
