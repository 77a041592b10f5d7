"""Requests of many kinds, cut anywhere, that come at any moment: each is answered once, as it must be, in its turn."""

import asyncio
import random

import pytest

from tests.hot.line import request
from tests.hot.test_later import wanted, warm
from tms_ca.http import guard as guards
from tms_ca.http.protocol import Connection

HEALTH = request("/healthz", b"", None, method="GET")
ROUNDS = 25


def kinds(doors) -> list[tuple[bytes, int, bytes]]:
    """Return requests, the status of each, and what its answer says."""
    good = doors.good()
    head, _, body = good.partition(b"\r\n\r\n")
    chunked = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
    nobodys = (request("/nowhere", some, None) for some in (HEALTH + good, HEALTH * 3000))
    return [
        (good, 200, b"alice"),
        (good, 200, b"alice"),
        (HEALTH, 200, b"ok"),
        (wanted(doors), 201, b"serial"),
        (head + b"\r\nExpect: 100-continue\r\n\r\n" + body, 200, b"alice"),
        *((one, 404, b"nothing at this path") for one in nobodys),
        (chunked + b"\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body), 200, b"alice"),
    ]


def cut(asked: bytes, chance: random.Random) -> list[bytes]:
    """Return the request whole, or in two pieces."""
    place = chance.randrange(1, len(asked)) if chance.random() < 0.3 else len(asked)
    return [one for one in (asked[:place], asked[place:]) if one]


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_request_is_answered_once_and_in_its_turn(doors, monkeypatch, seed):
    monkeypatch.setattr(guards, "DOZE_SECONDS", 600.0)  # a machine that stands still for a moment does not matter
    chance, door = random.Random(seed), doors.short
    first = door.line()
    await doors.warm(first)
    await warm(doors, first)
    first.close()
    pieces: list[bytes] = []
    handle = Connection._handle_request

    def come(connection: Connection) -> None:
        transport = connection.transport
        if pieces and transport is not None and transport.is_reading():
            connection.data_received(pieces.pop(0))

    async def handled(self, *args):
        if chance.random() < 0.3:
            come(self)
        answer = await handle(self, *args)
        if chance.random() < 0.8:
            asyncio.get_running_loop().call_soon(come, self)  # before aiohttp's loop for the connection looks
        return answer

    monkeypatch.setattr(Connection, "_handle_request", handled)
    before = door.short
    for _ in range(ROUNDS):
        guard, line = door.runner.guard, door.line()
        async with asyncio.timeout(60):
            while guard.open:
                await asyncio.sleep(0.005)
        assert (await line.ask(HEALTH)).status == 200
        (connection,) = guard.awake
        some = kinds(doors)[: chance.choice([4, 7, 8])]  # behind chunks everything goes the long way
        asked = chance.choices(some, k=chance.randrange(2, 12))
        pieces[:] = [piece for one, _, _ in asked for piece in cut(one, chance)]

        async def send(connection=connection):
            while pieces:
                come(connection)
                for _ in range(chance.choice([1, 1, 2, 3, 6])):
                    await asyncio.sleep(0)

        sending = asyncio.create_task(send())
        for _, status, word in asked:
            said = await line.answer()
            assert (said.status, word in said.body) == (status, True), said
        await sending
        assert not await line.ended(0.01)
        assert (connection._queued, guard.admission.waiting) == (0, 0)
        line.close()
    assert door.short > before + 5, "the short way was hardly taken"
