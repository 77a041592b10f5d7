"""The daemon's connections: kept open, strictly read, passed over to the next address when one is away."""

import asyncio
import ssl
import time
from contextlib import asynccontextmanager
from email.utils import formatdate
from types import SimpleNamespace

import pytest

from keycmd.config import Address
from keycmd.hostd.connection import Connection
from keycmd.hostd.upstream import MOST_CONNECTIONS, Upstream
from keycmd.service import ServiceError
from tests.host.test_tls import pki  # noqa: F401 - a fixture

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


def status(text, more=""):
    return f"HTTP/1.1 {text}\r\nContent-Length: 0\r\n{more}\r\n".encode()


class Server:
    """Answers each request on each connection with `said`, counting both."""

    def __init__(self, said=OK):
        self.said, self.connections, self.requests, self.writers, self.ended = said, 0, [], [], 0

    async def serve(self, reader, writer):
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head.decode())
                if self.said is None:
                    await reader.read()
                    self.ended += 1
                    return
                for piece in self.said if isinstance(self.said, list) else [self.said]:
                    writer.write(piece)
                    await asyncio.sleep(0.01 if isinstance(self.said, list) else 0)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def running(*servers, tls=None, port=0):
    """Run the servers; give an Upstream that knows their addresses in this order."""
    listeners = [await asyncio.start_server(server.serve, "127.0.0.1", port, ssl=tls) for server in servers]
    ports = [listener.sockets[0].getsockname()[1] for listener in listeners]
    addresses = [Address(tls is not None, "127.0.0.1", number, f"127.0.0.1:{number}") for number in ports]
    upstream = Upstream(SimpleNamespace(addresses=addresses, token="tms_h_x", ca_pem=None, timeout=60.0))
    upstream.listeners = listeners
    try:
        yield upstream
    finally:
        upstream.close()
        for server in servers:
            for writer in server.writers:
                writer.close()
        for listener in listeners:
            listener.close()


async def test_a_connection_is_used_again():
    server = Server()
    async with running(server) as upstream:
        for _ in range(3):
            assert await upstream.call("GET", "/x") == (
                200,
                {"content-type": "text/plain", "content-length": "2"},
                b"ok",
            )
        await upstream.call("POST", "/x", b"{}")
    assert (server.connections, len(server.requests)) == (1, 4)
    assert "Authorization" not in server.requests[0], "what anyone may fetch needs no credential, nor a good one"
    assert "Authorization: Bearer tms_h_x\r\n" in server.requests[3]


@pytest.mark.parametrize(
    "said",
    [
        OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        OK.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\n\r\n"),
    ],
)
async def test_one_that_the_service_ends_is_not(said):
    server = Server(said)
    async with running(server) as upstream:
        for _ in range(3):
            assert (await upstream.call("GET", "/x"))[2] == b"ok"
    assert server.connections == 3


async def test_one_that_was_cut_in_silence_is_replaced():
    server = Server()
    async with running(server) as upstream:
        assert (await upstream.call("GET", "/x"))[0] == 200
        server.writers[0].transport.abort()
        assert (await upstream.call("GET", "/x"))[0] == 200
    assert server.connections == 2


async def test_one_that_ended_after_it_was_chosen_is_not_waited_for():
    connection = Connection(asyncio.get_running_loop())
    connection.connection_made(asyncio.Transport())
    connection.connection_lost(None)
    with pytest.raises(ServiceError, match="ended before the question"):
        await asyncio.wait_for(connection.ask(b"GET /x HTTP/1.1\r\n\r\n", 10), 60)


async def test_one_that_no_longer_answers_is_replaced_within_the_time():
    """As behind a firewall that has forgotten it: the first connection is mute, a new one is not."""
    server = Server()
    async with running(server) as upstream:
        assert (await upstream.call("GET", "/x"))[0] == 200
        kept, server.said = server.said, None

        async def recover():
            while len(server.requests) < 2:
                await asyncio.sleep(0.01)
            server.said = kept

        recovering = asyncio.ensure_future(recover())
        assert (await upstream.call("GET", "/x", seconds=8.0))[0] == 200
        await recovering
    assert server.connections == 2


async def test_a_byte_that_was_not_asked_for_ends_the_connection():
    """Else it would be the beginning of the next question's answer."""
    server = Server()
    async with running(server) as upstream:
        assert (await upstream.call("GET", "/x"))[0] == 200
        ((_, _, connection),) = upstream._idle
        server.writers[0].write(status("403 Forbidden"))
        async with asyncio.timeout(60):  # else it was not ended
            while connection.usable:
                await asyncio.sleep(0.01)
        assert (await upstream.call("GET", "/x"))[0] == 200
    assert server.connections == 2


async def test_an_answer_that_comes_too_late_is_nobody_s():
    server = Server(None)
    async with running(server) as upstream:
        with pytest.raises(ServiceError, match="no answer in time"):
            await upstream.call("GET", "/slow", seconds=0.3)
        async with asyncio.timeout(60):  # else the connection was left open
            while not server.ended:
                await asyncio.sleep(0.01)
        server.said = OK
        assert (await upstream.call("GET", "/next"))[2] == b"ok"
    assert server.connections == 2


LIES = {
    "not http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "http 1.0": OK.replace(b"1.1", b"1.0"),
    "no length": b"HTTP/1.1 200 OK\r\n\r\nok",
    "two lengths": OK.replace(b"Content-Length: 2", b"Content-Length: 2\r\nContent-Length: 2"),
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "both": OK.replace(b"Content-Length", b"Transfer-Encoding: chunked\r\nContent-Length"),
    "longer than it says": OK + b"!",
    "two answers": OK + OK,
    "too large": status("200 OK").replace(b": 0", b": 2000000"),
    "a length of many digits": status("200 OK").replace(b": 0", b": 0000000000"),
    "a negative length": status("200 OK").replace(b": 0", b": -1"),
    "a head without end": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000,
    "a control character": OK.replace(b"text/plain", b"text/\x01plain"),
    "a folded header": OK.replace(b"text/plain", b"text/plain\r\n charset"),
    "garbage": bytes(range(256)) * 100,
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.replace(" ", "-"))
async def test_G_01_a_lie_is_no_answer(lie):
    server = Server(LIES[lie])
    async with running(server) as upstream:
        with pytest.raises(ServiceError):
            await upstream.call("GET", "/x", seconds=1.0)
        server.said = OK
        assert (await upstream.call("GET", "/x"))[2] == b"ok"


async def test_an_answer_in_pieces_is_whole():
    server = Server([OK[n : n + 1] for n in range(len(OK))])
    async with running(server) as upstream:
        assert (await upstream.call("GET", "/x"))[2] == b"ok"


async def test_a_large_answer_is_taken_where_one_is_expected():
    body = b"x" * 5_000_000
    server = Server(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + body)
    async with running(server) as upstream:
        assert (await upstream.call("GET", "/x", most=5_000_000))[2] == body
        with pytest.raises(ServiceError, match="larger than any true one"):
            await upstream.call("GET", "/x", most=4_999_999)


async def test_an_answer_without_a_body():
    for said in (b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\n"):
        server = Server(said)
        async with running(server) as upstream:
            for _ in range(2):
                assert (await upstream.call("GET", "/x"))[2] == b""
        assert server.connections == 1


async def test_a_redirect_is_not_followed():
    server, other = Server(), Server()
    async with running(server, other) as upstream:
        at = upstream._config.addresses[1].port
        server.said = status("302 Found", f"Location: http://127.0.0.1:{at}/\r\n")
        assert (await upstream.call("GET", "/x"))[0] == 302
    assert other.requests == []


@pytest.mark.parametrize(
    "said", [None, LIES["garbage"], status("500 Internal Server Error"), status("503 Service Unavailable")]
)
async def test_the_next_address_is_asked_and_stays(said):
    first, second = Server(said), Server()
    async with running(first, second) as upstream:
        for _ in range(3):
            assert (await upstream.call("GET", "/x", seconds=60.0 if said else 8.0))[2] == b"ok"
        asked = len(first.requests)
        first.said, second.said = OK, status("503 Service Unavailable")
        second.writers[0].transport.abort()
        assert (await upstream.call("GET", "/x"))[2] == b"ok"  # and back, once the second is away
    assert asked == 1


async def test_an_answer_below_500_is_an_answer():
    """The twin: the next address is not asked until one says yes."""
    for text in ("403 Forbidden", "401 Unauthorized", "404 Not Found", "429 Too Many Requests"):
        first, second = Server(status(text)), Server()
        async with running(first, second) as upstream:
            assert (await upstream.call("GET", "/x"))[0] == int(text[:3])
        assert second.requests == []


async def test_a_closed_port_and_then_nobody():
    first, second = Server(), Server()
    async with running(first, second) as upstream:
        upstream.listeners[0].close()
        assert (await upstream.call("GET", "/x"))[2] == b"ok"
        assert (len(second.requests), upstream.failures, upstream.last_error) == (1, 0, None)
        upstream.close()
        upstream.listeners[1].close()
        with pytest.raises(ServiceError, match=r"connecting to 127\.0\.0\.1"):
            await upstream.call("GET", "/x")
        assert upstream.failures == 1


async def test_the_last_server_error_is_returned_when_all_have_one():
    async with running(Server(status("500 Broken")), Server(status("503 Busy"))) as upstream:
        assert (await upstream.call("GET", "/x"))[0] == 503
        assert (upstream.failures, upstream.last_error) == (1, "the service answered 503")


async def _later(seconds, serve, streams):
    await asyncio.sleep(seconds)
    await serve(*streams)


async def test_G_02_all_addresses_share_the_time():
    """The last would say yes when the time is over, but a whole one of its own would not be."""
    last = Server()
    ask, last.serve = last.serve, lambda *streams: _later(0.45, ask, streams)
    async with running(Server(None), Server(None), last) as upstream:
        with pytest.raises(ServiceError, match="no answer in time"):
            await upstream.call("GET", "/x", seconds=0.6)
    async with running(last) as upstream:
        assert (await upstream.call("GET", "/x"))[2] == b"ok"  # the twin


async def test_more_questions_than_connections_wait_for_their_turn():
    server = Server([OK[:20], OK[20:]])
    async with running(server) as upstream:
        said = await asyncio.gather(*(upstream.call("GET", "/x", seconds=20) for _ in range(100)))
    assert [one[2] for one in said] == [b"ok"] * 100
    assert server.connections <= 32


async def test_G_02_one_that_waits_for_its_turn_in_vain_ends_in_time():
    server = Server(None)
    async with running(server) as upstream:
        waiting = [asyncio.ensure_future(upstream.call("GET", "/x", seconds=4.0)) for _ in range(40)]
        await asyncio.sleep(0.1)
        with pytest.raises(ServiceError, match="too many other questions"):
            await upstream.call("GET", "/x", seconds=0.2)
        await asyncio.gather(*waiting, return_exceptions=True)
        server.said = OK
        assert (await upstream.call("GET", "/x"))[2] == b"ok"  # every slot came back


@pytest.mark.parametrize("ahead", [0, 300, -300])
async def test_the_clock_is_compared_with_the_service_s(ahead):
    server = Server()
    async with running(server) as upstream:
        assert upstream.clock_offset_ms is None
        begun = time.time()
        date = formatdate(begun - ahead, usegmt=True)
        server.said = OK.replace(b"\r\n\r\n", f"\r\nDate: {date}\r\n\r\n".encode())
        await upstream.call("GET", "/x")
        took = 1000 * (time.time() - begun)  # for which the machine may stand still
        assert -501 <= upstream.clock_offset_ms - ahead * 1000 <= 501 + took


@pytest.mark.parametrize(
    "date", ["", "yesterday", "x" * 29, "Sun, 06 Abc 2026 08:49:37 GMT", "2026-11-21T13:00:00.000000000Z"]
)
async def test_a_date_that_is_none_is_passed_over(date):
    server = Server(OK.replace(b"\r\n\r\n", f"\r\nDate: {date}\r\n\r\n".encode()))
    async with running(server) as upstream:
        assert (await upstream.call("GET", "/x"))[2] == b"ok"
        assert upstream.clock_offset_ms is None


@pytest.mark.parametrize("path", ["/x\r\nX: 1", "/\xe9", "/x\ny"])
async def test_a_request_is_one(path):
    server = Server()
    async with running(server) as upstream:
        with pytest.raises(ServiceError, match="printable ASCII"):
            await upstream.call("GET", path)
        with pytest.raises(ServiceError, match="printable ASCII"):
            await upstream.call("GET", "/x", headers=(("X-A", path),))
    assert server.requests == []


@pytest.mark.parametrize(("certificate", "ca", "good"), [("good", "ca", True), ("good", "other", False), ("wrong", "ca", False), ("good", None, False)])  # fmt: skip
async def test_G_01_tls_knows_whom_it_talks_to(pki, certificate, ca, good):  # noqa: F811
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / f"{certificate}.pem", pki / f"{certificate}.key")
    server = Server()
    async with running(server, tls=context) as upstream:
        config = upstream._config
        config.ca_pem = (pki / f"{ca}.pem").read_text() if ca else None
        upstream.configure(config)
        if good:
            for _ in range(2):
                assert (await upstream.call("GET", "/x"))[2] == b"ok"
            assert server.connections == 1
            return
        with pytest.raises(ServiceError, match=r"certificate verify failed|doesn't match"):
            await upstream.call("GET", "/x")
    assert server.requests == []


async def test_another_configuration_drops_the_old_connections():
    old, new = Server(), Server()
    async with running(old, new) as upstream:
        await upstream.call("GET", "/x")
        config = upstream._config
        upstream.configure(SimpleNamespace(addresses=config.addresses[1:], token="tms_h_y", ca_pem=None, timeout=2.0))
        await upstream.call("POST", "/x", b"{}")
    assert (len(old.requests), len(new.requests)) == (1, 1)
    assert "Bearer tms_h_y\r\n" in new.requests[0]


class Full(Server):
    """Has no time, says so on its first connections, and reads no more of them until `Retry-After` is over."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    async def serve(self, reader, writer):
        if self.connections == self.most:
            await super().serve(reader, writer)
            return
        self.connections += 1
        self.writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(status("503 Service Unavailable", "Retry-After: 10\r\n"))


async def test_a_connection_that_was_told_to_wait_makes_nobody_else_wait():
    server = Full(1)
    async with running(server) as upstream:
        assert (await upstream.call("POST", "/x", b"{}"))[0] == 503
        for _ in range(3):
            assert (await upstream.call("POST", "/x", b"{}", seconds=10))[0] == 200
        assert server.connections == 2
        (_, _, first), (_, _, second) = upstream._idle
        assert first.waits_until > second.waits_until == 0
        first.waits_until = 0.0
        second.close()
        assert upstream._take(upstream._config, 0) is first, "once the time is over it is asked again"


async def test_of_connections_that_were_told_to_wait_there_are_no_more_than_of_others():
    server = Full(MOST_CONNECTIONS + 5)
    async with running(server) as upstream:
        for _ in range(MOST_CONNECTIONS + 5):
            assert (await upstream.call("POST", "/x", b"{}"))[0] == 503
        assert len(upstream._idle) == MOST_CONNECTIONS
