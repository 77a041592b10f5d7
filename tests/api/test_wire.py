"""F-09, H-02: what is hardly HTTP, byte by byte on a socket: always a problem, never a version, a trace or an echo."""

import asyncio
import json

from tests.api.test_contract import INSIDE

SESSIONS = b"POST /api/v1/tenants/default/sessions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
CASES = {
    "another version": (b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n", 400, "not_http"),
    "a blank in a header's name": (b"GET /healthz HTTP/1.1\r\nAuthori zation: Bearer s3cr3t\r\n\r\n", 400, "not_http"),
    "a path over 8 KiB": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "address_too_long"),
    "a header over 16 KiB": (GET + b"X: " + b"a" * 20_000 + b"\r\n\r\n", 431, "head_too_large"),
    "three hundred headers": (GET + b"".join(b"X%d: a\r\n" % n for n in range(300)) + b"\r\n", 431, "head_too_large"),
    "bytes in the path": (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400, "not_http"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400, "not_http"),
    "a URL that is none": (b"GET http://[::x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "not_http"),
    "two lengths": (SESSIONS + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "not_http"),
    "two different lengths": (SESSIONS + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, "not_http"),
    "a negative length": (SESSIONS + b"Content-Length: -2\r\n\r\n{}", 400, "not_http"),
    "a bad chunk": (
        SESSIONS + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        400,
        None,
    ),
    "bytes for a credential": (GET + b"Authorization: Bearer \xff\xfe\r\n\r\n", 401, "credential_malformed"),
    "bytes for a name": (GET + b"Authorization: Basic /zp4\r\n\r\n", 401, "credential_malformed"),
    "bytes for a scheme": (GET + b"Authorization: \xff x\r\n\r\n", 401, "credential_malformed"),
    "a name with a NUL": (GET + b"Authorization: Basic AAAAOng=\r\n\r\n", 401, "credential_not_good"),
    "bytes for a media type": (SESSIONS + b"Content-Type: \xff/json\r\nContent-Length: 2\r\n\r\n{}", 415, None),
    "a method of its own": (b"BREW /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method_not_allowed"),
    "another's method": (GET.replace(b"GET", b"PROPFIND") + b"\r\n", 405, "method_not_allowed"),
    "an encoded NUL": (GET.replace(b"/healthz", b"/%00"), 404, "no_such_path"),
    "bytes, encoded": (GET.replace(b"/healthz", b"/api/v1/tenants/%ff%fe/krl") + b"\r\n", 404, "tenant_unknown"),
    "dots": (GET.replace(b"/healthz", b"/../../etc/passwd") + b"\r\n", 404, "no_such_path"),
}


async def exchange(world, data):
    reader, writer = await asyncio.open_connection("127.0.0.1", world.base.port)
    writer.write(data if data.endswith((b"\r\n\r\n", b"{}")) else data + b"\r\n")
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split(" ")[1]), {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}, body


async def test_F_09_what_is_hardly_http_is_a_problem_too(bare_world):
    for case, (data, status, code) in CASES.items():
        got, headers, body = await exchange(bare_world, data)
        found = json.loads(body)
        assert (got, headers["content-type"]) == (status, "application/problem+json"), (case, body)
        assert code is None or found["code"] == code, case
        assert headers["server"] == "tms-ca", case
        assert headers["x-request-id"] == found["request_id"], case
        assert headers["content-security-policy"].startswith("default-src 'none'"), case
        assert not INSIDE.search(body.decode()), (case, body)
        assert b"s3cr3t" not in body, case
    assert (await bare_world.call("GET", "/healthz")).status == 200


async def test_F_09_a_strange_expectation_names_no_version(bare_world):
    got, headers, body = await exchange(bare_world, SESSIONS + b"Expect: nonsense\r\nContent-Length: 2\r\n\r\n{}")
    assert (got, headers["server"]) == (417, "tms-ca")
    assert json.loads(body)["code"] == "expectation_unknown"


async def test_F_08_what_is_not_http_is_not_in_the_log(bare_world, caplog):
    await exchange(bare_world, CASES["a blank in a header's name"][0])
    assert "s3cr3t" not in caplog.text
    assert "Traceback" not in caplog.text
