"""H-02: bodies are read strictly, whoever sends them."""

import gzip

import pytest

from tms_ca.core.errors import Malformed
from tms_ca.http.body import MOST_DEPTH, parse

GOOD = b'{"client_id": "c2"}'
BAD = {
    "nothing": b"",
    "half": b'{"client_id": ',
    "two values": b"{} {}",
    "a doubled key": b'{"client_id": "c2", "client_id": "c3"}',
    "a doubled key by another spelling": b'{"client_id": "c2", "client\\u005fid": "c3"}',
    "NaN": b'{"client_id": NaN}',
    "Infinity": b'{"client_id": -Infinity}',
    "a lone surrogate": b'{"client_id": "\\ud800"}',
    "not UTF-8": b'{"client_id": "\xff"}',
    "UTF-16": '{"client_id": "c2"}'.encode("utf-16"),
    "a comment": b'{"client_id": "c2" /* here */}',
    "nested without end": b"[" * 30_000,
    "nested as deep as a parser goes": b"[" * 1000 + b"]" * 1000,
    "nested too deep": b"[" * (MOST_DEPTH + 1) + b"]" * (MOST_DEPTH + 1),
}


@pytest.mark.parametrize("case", BAD)
async def test_H_02_a_bad_body_is_400_and_says_so(bare_world, case):
    refused = await bare_world.call("POST", "clients", auth=bare_world.operator, data=BAD[case])
    assert (refused.status, refused.code) == (400, "malformed_json"), case
    assert (await bare_world.call("POST", "clients", auth=bare_world.operator, data=GOOD)).status == 201


def test_the_deepest_that_is_read():
    assert parse(b"[" * MOST_DEPTH + b"]" * MOST_DEPTH) is not None
    with pytest.raises(Malformed):
        parse(b"[" * (MOST_DEPTH + 1) + b"]" * (MOST_DEPTH + 1))


async def test_H_02_a_packed_body_is_refused_unread(bare_world):
    bomb = gzip.compress(b"0" * 10_000_000)
    refused = await bare_world.call(
        "POST", "clients", auth=bare_world.operator, data=bomb, headers={"Content-Encoding": "gzip"}
    )
    assert (refused.status, refused.code) == (415, "unsupported_media_type")


async def test_H_02_a_large_body_is_413(bare_world):
    refused = await bare_world.call("POST", "clients", auth=bare_world.operator, data=b" " * 70_000)
    assert (refused.status, refused.code) == (413, "body_too_large")
