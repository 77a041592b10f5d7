"""Who has just come when there is no time hears so before there is a connection to speak of."""

import select
import socket

import pytest

from tests.load.wire import parse
from tms_ca.http import doorstep
from tms_ca.http.admission import Admission
from tms_ca.http.guard import Guard
from tms_ca.http.refusals import Refusals

HEAD = b"POST /api/v1/tenants/default/%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
ISSUE, CHECK = HEAD % b"certificates" + b"{}", HEAD % b"hosts/h1/principals" + b"{}"
WATCH = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def guard() -> Guard:
    return Guard(Admission(), Refusals())


def at_the_door(guard: Guard, data: bytes) -> tuple[bool, bytes, bytes]:
    """Connect and send; return whether it was refused, what the client reads, and what is left for the service."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.connect(listener.getsockname())
        client.sendall(data)
        connection, _ = listener.accept()
        with connection:
            if data:
                assert select.select([connection], [], [], 5)[0]
            connection.setblocking(False)
            refused = doorstep.refused(guard, connection)
            client.settimeout(5)
            if refused:
                said = b""
                while piece := client.recv(65536):
                    said += piece
                return True, said, b""
            try:
                return False, b"", connection.recv(65536)
            except BlockingIOError:
                return False, b"", b""


@pytest.mark.parametrize("data", [ISSUE, CHECK])
def test_H_11_without_time_a_request_that_came_with_its_connection_is_refused_and_it_closes(guard, data):
    guard.admission.came(10_000)
    refused, said, _ = at_the_door(guard, data)
    answer = parse(said)
    assert (refused, answer.status, answer.code, answer.rest) == (True, 503, "overloaded", b"")
    assert (answer.headers["connection"], answer.headers["retry-after"]) == ("close", "1")


def test_H_11_with_time_it_is_left_unread(guard):
    assert at_the_door(guard, ISSUE) == (False, b"", ISSUE)


def test_H_11_a_login_check_has_more_patience_at_the_door_too(guard):
    guard.admission.came(int(guard.admission.gate * 1.5))
    assert at_the_door(guard, CHECK) == (False, b"", CHECK)
    assert at_the_door(guard, ISSUE)[0]


@pytest.mark.parametrize("data", [b"", WATCH, ISSUE[:-1], ISSUE[:30], ISSUE + WATCH, b"\x16\x03\x01\x02"])
def test_H_11_what_is_not_plainly_to_be_refused_is_left_unread(guard, data):
    guard.admission.came(10_000)
    assert at_the_door(guard, data) == (False, b"", data)
