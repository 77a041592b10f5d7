"""Bodies: a key that is there twice never gets through, and the short way to read them gives what the long one does."""

import json
from random import Random

import pytest
from aiohttp import web
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.hot.line import Line
from tests.load.wire import Said
from tms_ca.core.errors import Malformed
from tms_ca.http import body as bodies
from tms_ca.http.body import MOST_PLAIN_BYTES, parse, read
from tms_ca.http.runner import Runner


class Twice(Exception):
    """A key is there twice."""


def strictly(text: bytes):
    """The whole of it by the standard library, which is told of every pair."""

    def once(pairs):
        if len({name for name, _ in pairs}) != len(pairs):
            raise Twice
        return dict(pairs)

    return json.loads(text, object_pairs_hook=once)


def agree(text: bytes) -> bool:
    """Compare; return whether it was taken."""
    try:
        expected = strictly(text)
    except Twice:
        with pytest.raises(Malformed):
            parse(text)
        return False
    try:
        found = parse(text)
    except Malformed as error:
        # orjson is stricter (NaN, lone surrogates); it is never more lenient, and never by reason of a doubled key.
        assert "twice" not in error.detail, text  # noqa: PT017 - whether it raises is what is asked
        return False
    assert found == expected, text
    return True


def spelled(dice: Random, name: str) -> str:
    """Return a JSON string that says `name`, some of its letters by other spellings."""
    out = ""
    for letter in name:
        if letter in '"\\' or dice.random() < 0.2:
            out += f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else letter
        else:
            out += letter
    return f'"{out}"'


SPACES = ["", "", "", " ", "\n", "\t ", "\r\n"]
NAMES = ["a", "b", "aa", "", '"', "\\", "\\u0061", "é", "a\U0001f600", "nonce", ":", ",", "{", "}", '":"', '","a":"']
PLAIN = [n for n in NAMES if '"' not in n and "\\" not in n]


def text_of(dice: Random, depth: int, *, plain: bool = False) -> str:
    """Return some JSON text with keys that are often there twice."""
    space = lambda: dice.choice(SPACES)  # noqa: E731
    if depth == 0 or dice.random() < 0.3:
        leaf = dice.choice(["1", "-0", "1.5e3", "true", "null", "text", "text", "text"])
        if leaf != "text":
            return leaf
        return f'"{dice.choice(PLAIN)}"' if plain else spelled(dice, dice.choice(NAMES))
    if not plain and dice.random() < 0.2:
        return "[" + ",".join(space() + text_of(dice, depth - 1) + space() for _ in range(dice.randrange(3))) + "]"
    pairs = []
    for _ in range(dice.randrange(4)):
        name = f'"{dice.choice(PLAIN)}"' if plain else spelled(dice, dice.choice(NAMES))
        value = text_of(dice, 0 if plain and dice.random() < 0.8 else depth - 1, plain=plain)
        pairs.append(f"{space()}{name}{space()}:{space()}{value}{space()}")
    return "{" + ",".join(pairs) + "}"


@pytest.mark.parametrize("plain", [True, False])
def test_H_02_thousands_of_texts_with_doubled_keys(plain):
    dice = Random(1 + plain)
    taken = doubled = 0
    for _ in range(6000):
        text = text_of(dice, 3, plain=plain).encode()
        ok = agree(text)
        taken += ok
        doubled += not ok
    assert taken > 1000
    assert doubled > 300


@settings(max_examples=800, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.sampled_from(NAMES), st.text(max_size=4)),
            st.one_of(
                st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=4), st.just([]), st.just({})
            ),
        ),
        max_size=4,
    ),
    st.booleans(),
)
@example([("a", "x"), ("a", "y")], True)
@example([("a", {}), ("a", 1)], False)
@example([("a", []), ("a", "")], False)
def test_H_02_a_doubled_key_never_gets_through(pairs, ascii_only):
    text = "{" + ",".join(f"{json.dumps(k, ensure_ascii=ascii_only)}:{json.dumps(v)}" for k, v in pairs) + "}"
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        return
    taken = agree(raw)
    assert not (taken and len(dict(pairs)) != len(pairs))


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":"x","a":"y"}', b'{"a":"x","\\u0061":"y"}', b'{"a":{},"a":1}', b'{"a":1,"a":{}}', b'{"a":[{"b":1,"b":2}]}',
        b'{"":1,"":2}', b'{"a":"\\"","a":1}', b'{"x":"\\\\","x":""}', b'[{"a":1,"a":1}]', b'{"a":1,"b":{"c":1,"c":1}}',
    ],
)  # fmt: skip
def test_H_02_ways_to_say_a_key_twice(text):
    with pytest.raises(Malformed, match="twice"):
        parse(text)


def test_the_count_of_quotes_saves_the_second_reading_of_a_plain_body():
    """Else the two tests above would show nothing about it."""
    plain = b'{"account":"alice","certificate":"x y","nonce":"00","n":1,"t":true,"z":null}'
    assert bodies._flat_without_doubles(plain, json.loads(plain))
    for other in (b'{"a":"\\u0061"}', b'{"a":["x"]}', b'{"a":{}}', b'["a"]', b'"a"', b'{"a":1,"a":1}'):
        assert not bodies._flat_without_doubles(other, json.loads(other))


@pytest.fixture
async def echo():
    """Answers with what read() gave, or, at /whole, with what aiohttp's own reading gives."""

    async def ours(request: web.Request) -> web.Response:
        return web.Response(body=await read(request))

    async def theirs(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    app = web.Application(client_max_size=64 * 1024)
    app.router.add_post("/ours", ours)
    app.router.add_post("/theirs", theirs)
    runner = Runner(app, access_log=None, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


SIZES = [
    0,
    1,
    100,
    4000,
    MOST_PLAIN_BYTES - 1,
    MOST_PLAIN_BYTES,
    MOST_PLAIN_BYTES + 1,
    64 * 1024,
    64 * 1024 + 1,
    80_000,
]


def framed(body: bytes, how: str, dice: Random) -> list[bytes]:
    """Return the pieces in which a body goes out behind a head, the head first."""
    if how == "chunked":
        chunks, at = [], 0
        while at < len(body):
            size = dice.choice([1, 7, 1000, 20_000])
            piece = body[at : at + size]
            chunks.append(b"%x\r\n%s\r\n" % (len(piece), piece))
            at += size
        return [b"Transfer-Encoding: chunked\r\n\r\n", *chunks, b"0\r\n\r\n"]
    head = b"Content-Length: %d\r\n\r\n" % len(body)
    if how == "one piece":
        return [head + body]
    pieces, at = [head], 0
    while at < len(body):
        size = dice.choice([1, 900, 5000, 30_000])
        pieces.append(body[at : at + size])
        at += size
    return pieces


@pytest.mark.parametrize("how", ["one piece", "pieces", "chunked", "chunked at once"])
async def test_H_02_a_body_is_read_as_aiohttp_reads_it(echo, how):
    dice = Random(how)
    for size in SIZES:
        body = dice.randbytes(size)
        answers = []
        for path in (b"/ours", b"/theirs"):
            head, *rest = framed(body, how.removesuffix(" at once"), Random(size))
            head = b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" % path + head
            if how in {"one piece", "chunked at once"}:
                head, rest = head + b"".join(rest), []
            answers.append(await in_pieces(echo, [head, *rest]))
        ours, theirs = answers
        assert (ours.status, ours.body) == (theirs.status, theirs.body), size
        assert ours.status == (200 if size <= 64 * 1024 else 413), size
        if ours.status == 200:
            assert ours.body == body


async def in_pieces(port: int, pieces: list[bytes]) -> Said:
    line = Line(port)
    try:
        await line.send(pieces)
    except ConnectionError:  # 413 was said before all of it was sent
        pass
    try:
        return await line.answer()
    finally:
        line.close()


@pytest.mark.parametrize("how", ["pieces", "chunked"])
async def test_H_03_after_413_the_connection_ends_with_the_body(echo, how):
    """Not ten seconds later, which is how long aiohttp waits for a rest that does not come."""
    ended = 0
    for seed in range(12):
        head, *rest = framed(bytes(80_000), how, Random(seed))
        line = Line(echo)
        try:
            await line.send([b"POST /ours HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + head, *rest])
            assert (await line.answer()).status == 413
            assert await line.ended(60)
            ended += 1
        except ConnectionError:
            pass  # it ended even before
        line.close()
    assert ended
