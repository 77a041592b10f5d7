"""A head that is known by its bytes says what it said to the parser, and nothing is taken for one that is not it."""

import asyncio
import json

from tests.hot.conftest import Doors
from tms_ca.http import known
from tms_ca.http.direct import DIRECT
from tms_ca.http.guard import GUARD
from tms_ca.http.known import Head, KnownHeads, KnownPath
from tms_ca.services.ids import secret_digest


def watch(doors: Doors) -> list[bool]:
    """Return a list that tells of each request to the short door whether its head was recognised."""
    direct, told = doors.short.app[DIRECT], []
    find = direct.find

    def watched(data):
        found = find(data)
        told.append(found is not None)
        return found

    direct.find = watched
    return told


def fill(doors: Doors, nonce: str) -> bytes:
    return doors.good(body={"account": "alice", "certificate": doors.certificate, "nonce": nonce})


async def test_a_head_is_parsed_once(doors):
    told = watch(doors)
    line = doors.short.line()
    for nonce in ("00", "01", "02", "03"):
        said = await line.ask(fill(doors, nonce))
        assert said.status == 200
    assert told[-2:] == [True, True]
    assert not told[0]
    before = len(told)
    other = doors.short.line()  # another connection: the head is the client's, not the connection's
    assert (await other.ask(fill(doors, "04"))).status == 200
    assert told[before:] in ([True], [])  # a connection's very first request wakes its task
    assert (await other.ask(fill(doors, "05"))).status == 200
    assert told[-1]


async def test_only_its_very_bytes_are_a_known_head(doors):
    told = watch(doors)
    line = doors.short.line()
    good = fill(doors, "00")
    await doors.warm(line)
    await line.ask(good)
    for other in (
        good.replace(b"Host: ", b"host: "), good.replace(b"POST ", b"POST  ", 1), good.replace(b"Bearer ", b"bearer "),
        good.replace(b"tms.example.org", b"tms.example.com"), good.replace(b"\r\n\r\n", b"\r\nX: y\r\n\r\n", 1),
    ):  # fmt: skip
        assert (await line.ask(good)).status == 200
        assert told[-1]
        before = told.count(True)
        await line.ask(other)
        assert told.count(True) == before, other
        line.close()
        line = doors.short.line()
        await doors.warm(line)


async def test_no_byte_more_or_less_than_its_body_is_taken_with_a_known_head(doors):
    line = doors.short.line()
    first, second = fill(doors, "0a"), fill(doors, "0b")
    plain = [one.replace(b"\r\n\r\n", b"\r\nAccept: text/plain\r\n\r\n", 1) for one in (first, second)]
    for _ in range(3):
        assert (await line.ask(plain[0])).status == 200
    told = watch(doors)
    for pieces in (
        [plain[0] + plain[1]], [plain[0] + plain[1][:30], plain[1][30:]], [plain[0][:-1], plain[0][-1:] + plain[1]],
        [plain[0][:-1], plain[0][-1:], plain[1]], [plain[0], plain[1]],
    ):  # fmt: skip
        await line.send(pieces)
        nonces = [(await line.answer()).headers["x-tms-answer"].split()[0] for _ in range(2)]
        assert nonces == ["0a", "0b"], pieces
    assert True in told
    assert False in told


async def test_a_known_head_is_no_credential(doors):
    """What it rests on is asked each time: the credential taken back, the host disabled, the tenant disabled."""
    world = doors.world
    line = doors.short.line()
    told = watch(doors)
    await doors.warm(line)
    for path, bad, good in (
        ("hosts/h1", {"enabled": False}, {"enabled": True}),
        ("/api/v1/tenants/default", {"enabled": False}, {"enabled": True}),
    ):
        await doors.warm(line)
        await world.good("PATCH", path, auth=world.operator, json=bad)
        said = await line.ask(fill(doors, "00"))
        assert told[-1], "the head was known"
        assert said.status == 403
        line.close()
        await world.good("PATCH", path, auth=world.operator, json=good)
        line = doors.short.line()
    await doors.warm(line)
    old = fill(doors, "00")
    assert (await line.ask(old)).status == 200
    listed = (await world.good("GET", "hosts/h1/secrets", auth=world.operator))["items"]
    made = await world.good("POST", "hosts/h1/secrets", auth=world.operator)
    for one in listed:
        await world.good("DELETE", f"hosts/h1/secrets/{one['credential_id']}", auth=world.operator)
    said = await line.ask(old)
    assert told[-1], "the head was known"
    assert (said.status, said.code) == (401, "credential_not_good")
    line.close()
    assert (await doors.short.line().ask(doors.good(auth=made["secret"]))).status == 200


def test_the_secret_of_a_head_is_not_kept():
    heads = KnownHeads()
    path = KnownPath(None, {"tenant": "default"})
    data = b"POST / HTTP/1.1\r\nAuthorization: Bearer tms_h_secret\r\nContent-Length: 2\r\n\r\n{}"
    heads.learn(data, Head("POST", "/", path, (None, secret_digest("tms_h_secret")), {}), b"{}")
    assert heads.find(data) is not None
    assert heads.find(data[:-1]) is None
    assert heads.find(data + b" ") is None
    assert heads.find(b"") is None
    kept = repr([*heads._known.items()]) + json.dumps(
        {name: repr(getattr(one, name)) for one in heads._known.values() for name in Head.__slots__}
    )
    assert "tms_h_secret" not in kept


def test_heads_are_forgotten_before_they_fill_the_memory(monkeypatch):
    monkeypatch.setattr(known, "MOST_HEADS", 10)
    heads = KnownHeads()
    for number in range(25):
        data = b"POST /%d HTTP/1.1\r\n\r\n{}" % number
        heads.learn(data, Head("POST", "/", KnownPath(None, {}), (None, b""), {}), b"{}")
        assert len(heads._known) <= 10
        assert heads.find(data) is not None


async def partly(doors: Doors, before: list[bytes], known_head: bytes) -> list[int]:
    """Send `before`, which leaves a field of a head open, then a request with a known head; return what is answered."""
    line = doors.short.line()
    await doors.warm(line)
    await line.ask(known_head)
    await line.send(before)
    statuses = [(await line.answer()).status]
    await line.send([known_head])
    statuses.append((await line.answer()).status)
    line.close()
    return statuses


OPEN_FIELD = b"GET /healthz HTTP/1.1\r\nHost: tms.example.org\r\nX-A: "
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: tms.example.org\r\n\r\n"


async def test_H_05_a_known_head_within_another_request_is_a_part_of_that(doors):
    good = fill(doors, "00")
    chunked = HEALTH.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    for before in (
        [good + OPEN_FIELD], [HEALTH + OPEN_FIELD], [good[:-3], good[-3:] + OPEN_FIELD], [good + b"PO"],
        [HEALTH + HEALTH[:20]], [chunked + OPEN_FIELD], [good[:100], good[100:] + OPEN_FIELD],
    ):  # fmt: skip
        told = watch(doors)
        first, second = await partly(doors, before, good)
        assert first in {200, 404, 405}, before
        assert second >= 400, before
        assert told[-1] is not True, before


async def test_a_connection_that_brings_whole_requests_stays_on_the_short_way(doors):
    told = watch(doors)
    line = doors.short.line()
    good = fill(doors, "00")
    await doors.warm(line)
    await line.send([good + HEALTH + good])
    assert [(await line.answer()).status for _ in range(3)] == [200, 200, 200]
    assert (await line.ask(good)).status == 200
    assert told[-1]


async def test_H_03_a_head_that_is_left_behind_a_request_is_watched_as_one_alone_is(doors):
    watched = doors.short.app[GUARD].watched
    for before in (fill(doors, "00"), HEALTH):
        for rest, expected in ((OPEN_FIELD, 1), (b"", 0)):
            line = doors.short.line()
            await doors.warm(line)
            await line.send([before + rest])
            assert (await line.answer()).status == 200
            assert len(watched) == expected, (before, rest)
            line.close()
            while watched:
                await asyncio.sleep(0.01)
