"""The short way says yes only where the long way does, byte for byte the same."""

import json
import re
from random import Random

import pytest

from tests.hot.conftest import Doors, open_door
from tests.hot.line import Line
from tests.load.wire import Said

H1 = "/api/v1/tenants/default/hosts/h1/principals"
COMBINATIONS = 150
_OWN = re.compile(rb"[0-9a-f]{13}")


def same(said: Said) -> tuple[object, ...]:
    """Return an answer without what belongs to one request alone."""
    head = [
        (name, value) for name, value in said.headers.items() if name not in {"date", "x-request-id", "content-length"}
    ]
    own = said.headers["x-request-id"].encode()
    assert _OWN.fullmatch(own)
    return said.status, head, said.body.replace(own, b"-")


async def both(doors: Doors, lines: tuple[Line, Line], *pieces: bytes) -> tuple[Said, bool]:
    """Ask both services over lines that are warm; return the answer and whether the short way gave it."""
    short, long = lines
    await doors.warm(short)
    assert (await long.ask(doors.good())).status == 200
    before = doors.short.short
    here, there = await short.ask(*pieces), await long.ask(*pieces)
    assert same(here) == same(there), pieces
    assert list(here.headers) == list(there.headers)
    assert short.interim == long.interim, pieces
    taken = doors.short.short > before
    assert not taken or here.status == 200
    return here, taken


async def people(doors: Doors) -> dict[str, str]:
    """Add others whose credentials are good elsewhere; return every credential by what it is."""
    world = doors.world
    await world.add_host("h2")
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "other"})
    there = await world.good("POST", "hosts", auth=world.operator, json={"host": "h1"}, tenant="other")
    admin = await world.good("POST", "admins", auth=world.operator, json={"admin_id": "boss"})
    return {
        "host": world.hosts["h1"], "other host": world.hosts["h2"], "other tenant": there["secret"],
        "client": world.clients["portal"], "admin": admin["secret"], "operator": world.operator,
        "user": world.sessions["alice"], "nobody": "tms_host_" + "A" * 43, "nothing": "", "words": "a b c",
        "strange": "\x7f", "half": world.hosts["h1"][:-1], "more": world.hosts["h1"] + "A",
    }  # fmt: skip


async def test_a_plain_yes_is_answered_where_it_arrives_and_as_it_always_was(doors):
    lines = doors.short.line(), doors.long.line()
    said, taken = await both(doors, lines, doors.good())
    assert taken
    assert json.loads(said.body)["principals"] == ["alice@h1"]
    plain, taken = await both(doors, lines, doors.good("Accept: text/plain"))
    assert taken
    assert plain.body == b"alice@h1\n"
    assert plain.headers["x-tms-answer"].startswith("00 alice SHA256:")
    assert doors.long.short == 0


async def test_whoever_asks_is_answered_alike(doors):
    lines = doors.short.line(), doors.long.line()
    for who, secret in (await people(doors)).items():
        said, taken = await both(doors, lines, doors.good(auth=secret))
        assert (said.status == 200, taken) == (who == "host",) * 2, who
    said, taken = await both(doors, lines, doors.good(auth=None))
    assert (said.status, taken) == (401, False)


SECRET = "SECRET"
FIELDS = [
    [f"Authorization: Bearer {SECRET}"], ["Authorization: Bearer x"], ["Authorization:"], ["Content-Encoding: gzip"],
    ["Content-Encoding: identity"], ["Expect: 100-continue"], ["expect: 100-Continue"], ["Expect: x"],
    ["Expect: 100-continue", "Expect: 100-continue"], ["Connection: close"], ["connection: Close"],
    ["Connection: keep-alive"], ["Connection: keep-alive, close"], ["Connection: x"], ["Keep-Alive: timeout=1"],
    ["Connection: Upgrade", "Upgrade: websocket"], ["Connection: upgrade", "Upgrade: h2c"], ["Upgrade: h2c"],
    ["Accept: text/plain"], ["Accept: text/html"], ["Accept: text/plain, x"], ["Accept: */*", "Accept: text/plain"],
    ["Cookie: a=b"], ["X-Forwarded-For: 10.0.0.1"], ["Forwarded: for=10.0.0.1"], ["Host: evil.example"],
    ["Content-Type: text/plain"], ["Content-Type: application/json; charset=utf-8"], ["Content-Type: application/JSON"],
    ["Content-Type: application/json", "Content-Type: text/plain"], ["Content-Type: text/plain", "Content-Type: application/json"],
    ["Content-Type:"], ["Transfer-Encoding: gzip"], ["Transfer-Encoding: identity"], ["Trailer: X"], ["TE: trailers"],
    ["Range: bytes=0-3"], ["If-None-Match: *"], ["X: " + "a" * 16_000], ["X: " + "a" * 17_000], ["X: \x80"], ["X: é"],
    *([f"X{n}: a" for n in range(count)] for count in (90, 120)),
]  # fmt: skip


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_whatever_the_head_says_is_answered_alike(doors, version):
    lines = doors.short.line(), doors.long.line()
    short = 0
    for fields in FIELDS:
        said = [one.replace(SECRET, doors.world.hosts["h1"]) for one in fields]
        answer, taken = await both(doors, lines, doors.good(*said, version=version))
        short += taken
        if any(
            one.startswith(("Authorization", "Content-Encoding", "Expect: x", "Connection: close")) for one in fields
        ):
            assert not taken
            assert answer.status >= 400 or "Connection: close" in fields
        lines[0].close(), lines[1].close()  # the next is not to suffer from what this one left
    assert (short > 10) == (version == "1.1")


PATHS = [
    "?", "?x", "?x=1", "/", "//", "#", "%", "%2f", "%00", "/../principals", ";a", " ", "é",
]  # fmt: skip
OTHERS = [
    H1.replace("h1", "h2"), H1.replace("h1", "h9"), H1.replace("h1", "H1"), H1.replace("h1", "%68%31"), H1.replace("h1", "h1%0a"),
    H1.replace("default", "other"), H1.replace("default", "nowhere"), H1.replace("default", "*"), H1.upper(), H1[1:], "*",
    f"http://tms.example.org{H1}", f"http://evil.example{H1}", "/api/v1/tenants/default/certificates", "/healthz",
]  # fmt: skip


async def test_whatever_the_path_says_is_answered_alike(doors):
    lines = doors.short.line(), doors.long.line()
    for path in [*(H1 + end for end in PATHS), *OTHERS]:
        _, taken = await both(doors, lines, doors.good(path=path))
        assert taken == (path == f"{H1} "), path  # a blank at its end is no part of it
        lines[0].close(), lines[1].close()
    for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "post", "TRACE", "BREW"):
        _, taken = await both(doors, lines, doors.good(method=method))
        assert not taken, method
        lines[0].close(), lines[1].close()


def bodies(doors: Doors) -> list[object]:
    certificate = doors.certificate
    good = {"account": "alice", "certificate": certificate, "nonce": "00"}
    kind, text, *_ = certificate.split(" ")
    broken = [
        text[:-4], text[:-1], text + "A", text[:80] + ("A" if text[80] != "A" else "B") + text[81:], text[::-1], "", "AAAA", "=",
        text[:-8] + "AAAAAAAA", text.replace("A", "B", 1),
    ]  # fmt: skip
    return [
        {**good, "account": "root"}, {**good, "account": "Alice"}, {**good, "account": ""}, {**good, "account": None},
        {**good, "nonce": "0" * 64}, {**good, "nonce": "0" * 65}, {**good, "nonce": "\r\nX: y"}, {**good, "nonce": 0},
        {**good, "nonce": ""}, {**good, "extra": 1}, {"account": "alice", "certificate": certificate}, {"account": "alice"}, {},
        [], [good], "", None, 1, True, b"", b"{", b"\xff", b"{} {}", json.dumps(good).encode() + b" ", b" " * 17_000,
        b"\xef\xbb\xbf" + json.dumps(good).encode(), json.dumps(good).encode("utf-16"), json.dumps(good, indent=4).encode(),
        json.dumps(good).replace("account", "\\u0061ccount").encode(),
        json.dumps(good)[:-1].encode() + b', "account": "root"}', json.dumps(good)[:-1].encode() + b', "acc\\u006funt": "root"}',
        {**good, "certificate": certificate + "\n"}, {**good, "certificate": certificate + "\n\n"},
        {**good, "certificate": " " + certificate}, {**good, "certificate": certificate + " a comment"},
        {**good, "certificate": certificate.replace("ssh-ed25519", "ssh-rsa")}, {**good, "certificate": certificate + "\x00"},
        {**good, "certificate": certificate.replace(" ", "  ")}, {**good, "certificate": doors.world.issue_body()["public_key"]},
        *({**good, "certificate": f"{kind} {one}"} for one in broken),
    ]  # fmt: skip


async def test_whatever_the_body_says_is_answered_alike(doors):
    lines = doors.short.line(), doors.long.line()
    yes = 0
    for body in bodies(doors):
        said, taken = await both(doors, lines, doors.good(body=body))
        yes += taken
        assert (said.status == 200) >= taken
    assert 5 <= yes <= 12


async def test_however_a_body_is_framed_it_is_answered_alike(doors):
    lines = doors.short.line(), doors.long.line()
    whole = doors.good()
    head, _, body = whole.partition(b"\r\n\r\n")
    chunked = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head) + b"\r\n\r\n"
    size = len(body)
    in_chunks = b"%x\r\n%s\r\n0\r\n" % (size, body)
    for framed in (
        chunked + in_chunks + b"\r\n", chunked + in_chunks + b"X: y\r\n\r\n", chunked + b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (size, body),
        chunked + b"5\r\n" + body[:5] + b"\r\n%x\r\n%s\r\n0\r\n\r\n" % (size - 5, body[5:]),
        chunked + b"0\r\n\r\n", chunked + b"%x\r\n%s" % (size, body) + b"0\r\n\r\n", chunked + b"-1\r\n\r\n", chunked + b"zz\r\n\r\n",
        head.replace(b"Content-Length: ", b"Content-Length: +") + b"\r\n\r\n" + body,
        head + b"\r\nContent-Length: %d\r\n\r\n" % size + body, head + b"\r\nContent-Length: 1\r\n\r\n" + body,
        head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + body, head + b"\r\n X: folded\r\n\r\n" + body,
        head.replace(b"\r\n", b"\n") + b"\n\n" + body, head + b"\r\nX : y\r\n\r\n" + body, head + b"\r\nX\r\n\r\n" + body,
        head.replace(b": ", b":") + b"\r\n\r\n" + body, head.replace(b": ", b":  \t") + b"\r\n\r\n" + body,
        head.replace(b"Content-Length: %d" % size, b"Content-Length: %d" % (size - 1)) + b"\r\n\r\n" + body[:-1],
        head.replace(b"Content-Length: %d\r\n" % size, b"") + b"\r\n\r\n", b"\r\n" + whole, b"\r\n\r\n" + whole,
    ):  # fmt: skip
        said, taken = await both(doors, lines, framed)
        assert said.status == 200 or not taken
        lines[0].close(), lines[1].close()
    for step in (1, 7, 100, 300, size):
        pieces = [whole[at : at + step] for at in range(0, len(whole), step)]
        if step == 1:
            pieces = [*pieces[:200], whole[200:]]
        said, _ = await both(doors, lines, *pieces)
        assert said.status == 200


async def test_hundreds_of_requests_of_many_oddities_are_answered_alike(doors):
    dice = Random(3)
    secrets = [*list((await people(doors)).values()), None]
    every = bodies(doors)
    lines = doors.short.line(), doors.long.line()
    short = odd = 0
    for _ in range(COMBINATIONS):
        more = {}
        if dice.random() < 0.3:
            more["auth"] = dice.choice(secrets)
        if dice.random() < 0.3:
            more["body"] = dice.choice(every)
        if dice.random() < 0.2:
            more["path"] = dice.choice([H1 + dice.choice(PATHS[:3]), *OTHERS[:6]])
        fields = [one for _ in range(dice.randrange(3)) for one in dice.choice(FIELDS[9:-2])]
        said, taken = await both(doors, lines, doors.good(*fields, **more))
        short += taken
        odd += said.status != 200
        lines[0].close(), lines[1].close()
    assert short > COMBINATIONS // 20
    assert odd > COMBINATIONS // 3


async def test_requests_behind_one_another_are_answered_in_their_order(doors):
    nonces = [f"{number:02x}" for number in range(40)]
    body = {"account": "alice", "certificate": doors.certificate}
    asked = [doors.good(body={**body, "nonce": nonce}) for nonce in nonces]
    wrong = doors.good(body={**body, "account": "root", "nonce": "ff"})
    dice = Random(4)
    for _ in range(12):
        line = doors.short.line()
        await doors.warm(line)
        stream, order = [], []
        for number, one in enumerate(asked):
            stream.append(one.replace(b"\r\n\r\n", b"\r\nAccept: text/plain\r\n\r\n", 1))
            order.append(nonces[number])
            if dice.random() < 0.2:
                stream.append(wrong)
                order.append("")
        data = b"".join(stream)
        cuts = sorted(dice.sample(range(len(data)), dice.choice([0, 1, 5, 20])))
        await line.send([data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)])
        for nonce in order:
            said = await line.answer()
            assert (said.status == 200) == bool(nonce)
            assert not nonce or said.headers["x-tms-answer"].split()[0] == nonce
        line.close()


async def test_only_names_that_are_listed_are_answered(doors, lite):
    async with open_door(lite, short=True, allowed_hosts=("tms.example.org",)) as door:
        line = door.line()
        for _ in range(2):
            assert (await line.ask(doors.good())).status == 200
        assert door.short == 1
        for name in (b"evil.example", b"tms.example.org.evil.example", b"", b"h@tms.example.org"):
            said = await line.ask(doors.good().replace(b"tms.example.org", name))
            assert (said.status, said.code) == (421, "host_not_allowed")
        assert door.short == 1


async def test_what_is_written_down_is_the_same(doors):
    lines = doors.short.line(), doors.long.line()
    await doors.warm(lines[0])
    await lines[1].ask(doors.good())
    doors.short.logged(), doors.long.logged()
    metrics = doors.world.context.metrics
    before = metrics.logins.count
    for line in lines:
        said = await line.ask(doors.good())
        (written,) = (doors.short if line is lines[0] else doors.long).logged()
        assert written["request_id"] == said.headers["x-request-id"]
        own = {name: written.pop(name) for name in ("request_id", "at", "ms")}
        assert own["ms"] >= 0
        assert written == {
            "level": "info", "method": "POST", "path": H1, "endpoint": "check_login", "status": 200, "address": "127.0.0.1",
        }  # fmt: skip
    assert metrics.logins.count == before + 2


async def test_whose_proxy_it_is_is_told_by_its_address(doors, lite):
    import ipaddress

    async with open_door(lite, short=True, trusted_proxies=(ipaddress.ip_network("127.0.0.0/8"),)) as door:
        line = door.line()
        for _ in range(2):
            await line.ask(doors.good("X-Forwarded-For: 192.0.2.7"))
        assert door.short == 1
        assert [one["address"] for one in door.logged()] == ["192.0.2.7"] * 2


async def test_H_06_a_field_that_a_proxy_adds_counts_before_those_that_the_client_sent(doors, lite):
    import ipaddress

    async with open_door(lite, short=True, trusted_proxies=(ipaddress.ip_network("127.0.0.0/8"),)) as door:
        line = door.line()
        for _ in range(3):
            await line.ask(doors.good("X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 192.0.2.7"))
        assert door.short == 2
        assert [one["address"] for one in door.logged()] == ["192.0.2.7"] * 3
