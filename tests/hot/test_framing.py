"""Framing knows at each cut whether a connection stands between two requests, or says that it does not know."""

import asyncio
from random import Random

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser

from tms_ca.http.framing import Framing


def request(dice: Random) -> bytes:
    body = dice.randbytes(dice.choice([0, 1, 3, 700]))
    fields = [b"Host: h", *[b"X-%d: %s" % (n, b"a" * dice.choice([0, 5, 90])) for n in range(dice.randrange(3))]]
    if body or dice.random() < 0.3:
        fields.insert(dice.randrange(len(fields) + 1), b"content-LENGTH: %d" % len(body))
    return b"POST /a HTTP/1.1\r\n" + b"".join(b"%s\r\n" % one for one in fields) + b"\r\n" + body


def parser(loop: asyncio.AbstractEventLoop) -> HttpRequestParser:
    return HttpRequestParser(BaseProtocol(loop), loop, 2**16)


async def test_wherever_requests_are_cut_the_end_of_each_is_known():
    dice = Random(8)
    loop = asyncio.get_running_loop()
    found = 0
    for _ in range(150):
        requests = [request(dice) for _ in range(dice.randrange(1, 5))]
        stream = b"".join(requests)
        ends = {sum(map(len, requests[:count])) for count in range(len(requests) + 1)}
        cuts = sorted(dice.sample(range(len(stream)), min(len(stream), dice.choice([0, 1, 4, 12]))) + list(ends))
        real, framing, at = parser(loop), Framing(), 0
        for cut in cuts:
            messages, _, _ = real.feed_data(stream[at:cut])
            framing.took(stream[at:cut], [message for message, _ in messages])
            at = cut
            assert framing.certain
            assert framing.between == (cut in ends), (cut, ends)
            found += framing.between
    assert found > 300


async def test_what_is_not_plain_is_in_doubt_for_good():
    loop = asyncio.get_running_loop()
    plain = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    for odd in (
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"\r\n" + plain,
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ):  # fmt: skip
        real, framing = parser(loop), Framing()
        for data in (plain, odd, plain):
            messages = [] if real is None else [message for message, _ in real.feed_data(data)[0]]
            framing.took(data, messages)
            assert framing.between == (data is plain and framing.certain)
        assert not framing.certain
    framing = Framing()
    framing.took(b"x", [object()])
    assert not framing.certain
