"""A request that two readers could read differently ends its connection, and nothing behind it is a request."""

import asyncio

import pytest

from tests.load.wire import exchange, in_pieces, keep, parse

POST = b"POST /api/v1/tenants/default/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
SECOND = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
CHUNKS = b"0\r\n\r\n"
CASES = {
    "length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + CHUNKS,
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "the same length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "a hexadecimal length": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "bare line feeds": GET.replace(b"\r\n", b"\n") + b"\n",
    "one bare line feed": GET + b"Content-Length: 0\n\r\n",
    "a bare carriage return": GET + b"A: b\rContent-Length: 2\r\n\r\n",
    "a folded field": GET + b"A: b\r\n c\r\n\r\n",
    "a folded first field": b"GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n",
    "xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
    "two transfer codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + CHUNKS,
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNKS,
    "gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS,
    "a vertical tab before chunked": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNKS,
    "a NUL in a field": GET + b"A: b\x00c\r\n\r\n",
    "a NUL in a name": GET + b"A\x00: b\r\n\r\n",
    "a space before the colon": POST + b"Content-Length : 2\r\n\r\n{}",
    "no name": GET + b": b\r\n\r\n",
    "no Host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two Hosts": GET + b"Host: y\r\n\r\n",
    "two Authorizations": GET + b"Authorization: Bearer s3cr3t\r\nauthorization: Bearer b\r\n\r\n",
    "two Content-Types": POST + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
}
BODIES = {
    "a bare line feed after a chunk's size": b"2\n{}\r\n0\r\n\r\n",
    "a space after a chunk's size": b"2 \r\n{}\r\n0\r\n\r\n",
    "a negative chunk": b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk that overflows": b"fffffffffffffffff2\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than it says": b"2\r\n{}X\r\n0\r\n\r\n",
    "a line feed in a chunk's extension": b"2;a\nb\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("behind", [False, True])
async def test_H_05_an_ambiguous_head_is_400_and_the_end(served, case, behind):
    answer = parse(await exchange(served.base.port, CASES[case] + (SECOND if behind else b"")))
    assert (answer.status, answer.code, answer.rest) == (400, "not_http", b"")
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "application/problem+json"
    assert b"s3cr3t" not in answer.body


@pytest.mark.parametrize("case", CASES)
async def test_H_05_in_pieces_it_is_the_same(served, case):
    data = CASES[case]
    answer = parse(await in_pieces(served.base.port, [data[at : at + 41] for at in range(0, len(data), 41)]))
    assert (answer.status, answer.rest) == (400, b"")


@pytest.mark.parametrize("case", BODIES)
async def test_H_05_an_ambiguous_body_is_400_and_the_end(served, case):
    data = POST + b"Transfer-Encoding: chunked\r\n\r\n" + BODIES[case] + SECOND
    answer = parse(await exchange(served.base.port, data))
    assert (answer.status, answer.rest) == (400, b"")


async def test_H_05_what_is_good_before_is_answered_once(served):
    data = await exchange(served.base.port, GET + b"\r\n" + GET + b"Connection: close\r\n\r\n")
    first = parse(data)
    second = parse(first.rest)
    assert (first.status, second.status, second.rest) == (200, 200, b"")  # the twin: pipelining works


async def test_H_05_chunks_that_are_right_are_read(served):
    body = b"2\r\n{}\r\n0\r\n\r\n"
    data = await keep(served.base.port, POST + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    assert parse(data).code == "invalid_request"  # read, and found wanting


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket", b"TLS/1.2"])
async def test_H_05_what_comes_behind_a_wish_for_another_protocol_is_no_request(served, upgrade):
    """aiohttp's parser takes it for the other protocol; so the answer is the last, and says so."""
    wish = GET + b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n\r\n"
    head, body = POST + b"Content-Length: %d\r\n\r\n" % len(SECOND), SECOND
    for pieces in ([wish + head, body], [wish[:30], wish[30:] + head, body], [wish + SECOND], [wish, SECOND]):
        said = parse(await in_pieces(served.base.port, pieces, 0.005))
        assert said.status == 200
        assert said.headers["connection"] == "close"
        assert said.rest == b""


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket", b"TLS/1.2"])
async def test_H_05_a_wish_for_another_protocol_has_its_own_body_and_no_more(served, upgrade):
    """Also where the body comes later: its handler waits for it, and would for ever."""
    wish = b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n"
    for length, body in (
        (b"Content-Length: 2", [b"{", b"}"]),
        (b"Transfer-Encoding: chunked", [b"2\r\n{}", b"\r\n0\r\n\r\n"]),
    ):
        head = POST + wish + length + b"\r\n\r\n"
        for pieces in ([head, *body], [head[:30], head[30:] + body[0], body[1]], [head, body[0], body[1] + SECOND]):
            said = parse(await in_pieces(served.base.port, pieces, 0.005))
            assert (said.status, said.code) == (400, "invalid_request")  # read, and found wanting
            assert said.headers["connection"] == "close"
            assert said.rest == b""


async def test_H_05_what_comes_behind_bodies_that_came_late_is_answered_without_more_bytes(served):
    """aiohttp's parser counts what waits, and takes a body that came after its turn had begun for one that waits."""
    body = b"{}"
    head = POST + b"Content-Length: 2\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", served.base.port)
    number = 40
    for _ in range(number):
        writer.write(head)
        await asyncio.sleep(0.002)
        writer.write(body)
        top = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        await reader.readexactly(int(parse(top, head=True).headers["content-length"]))
    writer.write(head)
    await asyncio.sleep(0.01)
    writer.write(body + (GET + b"\r\n") * number + SECOND)
    data = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    assert data.count(b"HTTP/1.1 200") == number + 1
