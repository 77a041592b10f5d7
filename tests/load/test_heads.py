"""Heads that are too large, methods that nobody takes, names that are not ours: each a problem document."""

import asyncio
import shutil

import pytest

from tests.load.wire import exchange, in_pieces, keep, parse
from tests.ssh.service import Service
from tms_ca.settings import SettingsError, load_settings

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
LAST = b"Connection: close\r\n\r\n"
FIT = b"".join(b"X%d: %s\r\n" % (n, b"a" * 150) for n in range(90))  # 14 KiB in 90 fields
REFUSED = {
    "a path over 8 KiB": (b"GET /" + b"a" * 8300 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "address_too_long"),
    "a query over 8 KiB": (b"GET /healthz?" + b"a" * 8300 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "address_too_long"),
    "a field over 16 KiB": (GET + b"X: " + b"a" * 17_000 + b"\r\n\r\n", 431, "head_too_large"),
    "17 KiB in 10 fields": (GET + b"X: %s\r\n" % (b"a" * 1700) * 10 + b"\r\n", 431, "head_too_large"),
    "101 fields": (GET + b"X: a\r\n" * 100 + b"\r\n", 431, "head_too_large"),
    "TRACE": (b"TRACE /healthz HTTP/1.1\r\nHost: x\r\n" + LAST, 405, "method_not_allowed"),
    "CONNECT": (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method_not_allowed"),
    "BREW": (b"BREW /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method_not_allowed"),
    "PROPFIND": (b"PROPFIND /healthz HTTP/1.1\r\nHost: x\r\n" + LAST, 405, "method_not_allowed"),
    "a method of bytes": (b"G\x01T /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 400, "not_http"),
    "an expectation": (GET + b"Expect: 200-ok\r\n" + LAST, 417, "expectation_unknown"),
    "two expectations": (GET + b"Expect: 100-continue\r\nExpect: x\r\n" + LAST, 417, "expectation_unknown"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_H_02_H_06_a_head_that_is_refused_is_a_problem(served, case):
    data, status, code = REFUSED[case]
    answer = parse(await exchange(served.base.port, data))
    assert (answer.status, answer.code, answer.rest) == (status, code, b"")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert len(answer.headers["x-request-id"]) == 13
    assert status != 405 or answer.headers["allow"]


@pytest.mark.parametrize("data", [GET + FIT + LAST, GET + b"X: a\r\n" * 98 + LAST])
async def test_H_02_a_head_that_fits_is_answered(served, data):
    assert parse(await exchange(served.base.port, data)).status == 200


async def test_H_02_a_head_in_pieces_has_the_same_limit(served):
    answer = parse(await in_pieces(served.base.port, [GET, *[b"X: " + b"a" * 900 + b"\r\n"] * 20, b"\r\n"]))
    assert (answer.status, answer.code) == (431, "head_too_large")


async def test_H_02_a_head_without_an_end_is_not_read_on(served):
    reader, writer = await asyncio.open_connection("127.0.0.1", served.base.port)
    writer.write(GET)
    sent = 0
    try:
        while sent < 10_000_000 and not reader.at_eof():
            writer.write(b"X: " + b"a" * 900 + b"\r\n")
            sent += 905
            await asyncio.sleep(0)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()
    assert sent < 10_000_000


async def test_H_06_100_continue_is_honoured(served):
    head = b"POST /api/v1/tenants/default/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    found = await keep(served.base.port, head + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}")
    assert found.startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert parse(found.partition(b"\r\n\r\n")[2]).code == "invalid_request"


async def test_H_06_no_cors_unless_asked(served):
    ask = b"OPTIONS /api/v1/tenants HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\n"
    answer = parse(await exchange(served.base.port, ask + b"Access-Control-Request-Method: POST\r\n" + LAST))
    assert answer.status == 405
    assert "POST" in answer.headers["allow"]
    assert not any(name.startswith("access-control") for name in answer.headers)


async def test_H_06_only_names_that_are_listed_are_answered(initialised, tmp_path):
    shutil.copytree(initialised.data, tmp_path / "data")
    settings = tmp_path / "data" / "settings.toml"
    hosts = '["tms.example.org", "127.0.0.1", "[::1]"]'
    settings.write_text(settings.read_text().replace("# allowed_hosts = []", f"allowed_hosts = {hosts}"))
    cases = {
        b"tms.example.org": 200, b"TMS.example.org:8443": 200, b"127.0.0.1": 200, b"[::1]:80": 200,
        b"evil.example": 421, b"tms.example.org.evil.example": 421, b"": 421, b"a@tms.example.org": 421,
        b"tms.example.org:x": 421, b"::1": 421,
    }  # fmt: skip
    service = Service(tmp_path / "data")
    service.start()
    with service:
        port = int(service.url.rpartition(":")[2])
        for host, status in cases.items():
            answer = parse(await exchange(port, GET.replace(b"x", host) + LAST))
            assert answer.status == status, host
            assert status == 200 or answer.code == "host_not_allowed"
        absolute = GET.replace(b"/healthz", b"http://evil.example/healthz").replace(b"x", b"127.0.0.1")
        assert parse(await exchange(port, absolute + LAST)).status == 421


def test_H_06_names_are_written_as_they_are_compared(tmp_path):
    (tmp_path / "settings.toml").write_text('[listen]\nallowed_hosts = ["TMS.example.org:443"]\n')
    with pytest.raises(SettingsError, match=r"listen\.allowed_hosts"):
        load_settings(tmp_path)


async def test_H_06_what_is_refused_is_logged_without_what_was_sent(own_process):
    port = int(own_process.url.rpartition(":")[2])
    await exchange(port, GET + b"Authorization: Bearer s3cr3t\r\nAuthorization: Bearer s3cr3t\r\n" + LAST)
    counted = own_process.call("GET", "/metrics").body.decode()
    assert 'tms_http_requests_total{endpoint="refused",status="400"} 1.0' in counted
    own_process.stop()
    text = (own_process.data / "serve.log").read_text()
    lines = [line for line in text.splitlines() if '"endpoint":"refused"' in line]
    assert len(lines) == 1
    assert '"code":"not_http"' in lines[0]
    assert "s3cr3t" not in text
