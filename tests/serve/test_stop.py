"""SIGTERM: the service says that it ends, answers what it has accepted, and is gone in time; one process or several."""

import http.client
import json
import os
import signal
import socket
import sqlite3
import threading
import time
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from tests.serve.load import children, fifty_a_second, in_time, is_read, until
from tms_ca.store.turns import BUSY_SECONDS


def _address(service) -> tuple[str, int]:
    parts = urlsplit(service.url)
    return parts.hostname, parts.port


def _log(service) -> str:
    return (service.data / "serve.log").read_text()


class Probe(threading.Thread):
    """What a balancer does: asks /readyz on fresh connections until nobody answers."""

    def __init__(self, service) -> None:
        super().__init__(daemon=True)
        self.address = _address(service)
        self.seen: list[int] = []
        self.fault = ""

    def run(self) -> None:
        while True:
            connection = http.client.HTTPConnection(*self.address, timeout=60)
            try:
                connection.connect()
            except ConnectionRefusedError:
                return
            try:
                connection.request("GET", "/readyz")
                answer = connection.getresponse()
                self.seen.append(answer.status)
                answer.read()
            except OSError as error:
                self.fault = repr(error)
                return
            finally:
                connection.close()
            time.sleep(0.03)


def _certificate_asked(shop) -> tuple[bytes, bytes]:
    """Return the head and the body of a request for a certificate."""
    body = json.dumps(shop.people.body(shop.key)).encode()
    head = f"POST /api/v1/tenants/default/certificates HTTP/1.1\r\nHost: x\r\nAuthorization: {shop.people.client}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode(), body


class Slow:
    """A certificate's request whose body comes in two pieces; the service has read the first."""

    def __init__(self, shop) -> None:
        head, body = _certificate_asked(shop)
        self.rest = body[20:]
        self.socket = socket.create_connection(_address(shop.service), timeout=60)
        self.socket.sendall(head + body[:20])
        until(lambda: is_read(self.socket))

    def finish(self) -> bytes:
        with self.socket:
            self.socket.sendall(self.rest)
            answer = b""
            while piece := self.socket.recv(65536):
                answer += piece
        return answer


@pytest.mark.parametrize("workers", [1, 2])
def test_E_07_sigterm_flips_readiness_and_resets_nobody(shop, workers):
    opened = shop(workers, deep=True)
    service = opened.service
    with fifty_a_second(opened.people, opened.key) as load:
        time.sleep(0.8)
        slow, probe = Slow(opened), Probe(service)
        probe.start()
        until(lambda: probe.seen)
        begun = time.monotonic()
        service.process.terminate()
        until(lambda: 503 in probe.seen)
        late = slow.finish()
        assert service.process.wait(60) == 0
        lasted = time.monotonic() - begun
        probe.join(60)
        for client in load.clients:  # each ran until nobody listened any more
            assert client.refused.wait(60)
    in_time(lasted, 10)
    assert "ended with requests unfinished" not in _log(service)
    assert load.faults == []
    assert set(load.answers) == {200, 201}
    assert probe.fault == ""
    assert probe.seen[0] == 200
    assert probe.seen[-1] == 503
    assert late.startswith(b"HTTP/1.1 201")
    assert b"connection: close" in late.lower()
    print(f"{workers} workers: gone after {lasted:.2f} s, {sum(load.answers.values())} answers, 0 resets")


@pytest.mark.parametrize("workers", [1, 2])
def test_E_07_a_second_sigterm_ends_at_once(shop, workers):
    opened = shop(workers)
    slow = Slow(opened)  # holds the end up
    below = set(children(opened.service))
    opened.service.process.terminate()
    until(lambda: '"stopping"' in _log(opened.service))
    time.sleep(1.5)
    assert opened.service.process.poll() is None, "one SIGTERM did not wait for the request"
    begun = time.monotonic()
    opened.service.process.terminate()
    opened.service.process.wait(60)
    in_time(time.monotonic() - begun, 1)
    # Whoever waits until the time is over says so; those that it has begun end with it.
    assert "ended with requests unfinished" not in _log(opened.service)
    assert workers > 1 or "ended at once, at the second signal" in _log(opened.service)
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in below))
    slow.socket.close()


def test_a_signal_to_the_whole_group_counts_once(shop):
    opened = shop(2)
    slow = Slow(opened)
    opened.service.signal(signal.SIGTERM)
    until(lambda: '"stopping"' in _log(opened.service))
    assert slow.finish().startswith(b"HTTP/1.1 201")
    assert opened.service.process.wait(60) == 0


def test_a_request_that_never_ends_does_not_hold_the_service(shop):
    opened = shop(1)
    slow = Slow(opened)
    begun = time.monotonic()
    opened.service.process.terminate()
    assert opened.service.process.wait(60) == 0
    took = time.monotonic() - begun
    assert took > 2
    in_time(took, 10)
    slow.socket.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_at_the_terminal_nobody_waits(shop, workers):
    opened = shop(workers)
    probe = Probe(opened.service)
    probe.start()
    until(lambda: probe.seen)
    begun = time.monotonic()
    opened.service.signal(signal.SIGINT)
    assert opened.service.process.wait(60) == 0
    in_time(time.monotonic() - begun, 2)
    probe.join(60)
    assert set(probe.seen) == {200}, "as long as it answers that it ends, it waits for somebody to hear it"


def _answer(connection: socket.socket) -> tuple[int, dict, http.client.HTTPResponse]:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, json.load(answer), answer


@pytest.mark.parametrize(
    ("pieces", "expected", "on_record"),
    [
        pytest.param(1, (503, "overloaded"), 4, id="at once: what was not parsed is not decided anew"),
        pytest.param(2, (201, None), 5, id="the long way: it is decided anew"),
    ],
)
def test_E_07_what_a_stalled_database_lets_through_late_is_answered_before_the_end(shop, pieces, expected, on_record):
    """SIGTERM while the database is locked, and the tenant changes before it is free, once connections end."""
    opened = shop(1)
    for _ in range(10):
        found, stood = _ended_while_locked(opened, pieces)
        if stood < BUSY_SECONDS:  # else nobody could wait so long: it is tried again on a machine that stood still
            break
        opened.service.start()
    assert found == (*expected, "close", "1" if expected[0] == 503 else None, on_record)


def _ended_while_locked(opened, pieces: int) -> tuple[tuple, float]:
    """Return status, code, two fields of the answer and how many certificates are new; and for how long it was locked."""
    head, body = _certificate_asked(opened)
    with (
        socket.create_connection(_address(opened.service), timeout=60) as asked,
        socket.create_connection(_address(opened.service), timeout=60) as idle,
        closing(sqlite3.connect(opened.service.data / "tms.db", isolation_level=None)) as other,
    ):
        (before,) = other.execute("SELECT count(*) FROM certificates").fetchone()
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert _answer(idle)[0] == 200
        for _ in range(4):  # until its head is known
            asked.sendall(head + body)
            assert _answer(asked)[0] == 201
        begun = time.monotonic()
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE tenants SET epoch = epoch + 1")
        asked.sendall(head + body if pieces == 1 else head)
        until(lambda: is_read(asked))
        if pieces == 2:
            asked.sendall(body)
            until(lambda: is_read(asked))
        opened.service.process.terminate()
        assert idle.recv(1) == b""
        time.sleep(0.3)  # connections are ended now, all of them
        assert opened.service.process.poll() is None
        other.execute("COMMIT")
        stood = time.monotonic() - begun
        status, said, answer = _answer(asked)
        assert opened.service.process.wait(60) == 0
        (after,) = other.execute("SELECT count(*) FROM certificates").fetchone()
        fields = answer.getheader("Connection"), answer.getheader("Retry-After")
        return (status, said.get("code"), *fields, after - before), stood
