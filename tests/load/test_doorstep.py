"""Who has just come when there is no time hears so before there is a connection to speak of."""

import math
import select
import socket

import pytest

from tests.load.wire import parse
from tms_ca.http import doorstep
from tms_ca.http.admission import OTHER_SECONDS, REFUSING_SHARE, Admission
from tms_ca.http.doorstep import Door
from tms_ca.http.guard import Guard
from tms_ca.http.refusals import Refusals

HEAD = b"POST /api/v1/tenants/default/%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
ISSUE, CHECK = HEAD % b"certificates" + b"{}", HEAD % b"hosts/h1/principals" + b"{}"
WATCH = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def guard() -> Guard:
    return Guard(Admission(), Refusals())


def at_the_door(guard: Guard, data: bytes) -> tuple[Door, bytes, bytes]:
    """Connect and send; return what was done, what the client reads, and what is left for the service."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.connect(listener.getsockname())
        client.sendall(data)
        connection, _ = listener.accept()
        with connection:
            if data:
                assert select.select([connection], [], [], 5)[0]
            connection.setblocking(False)
            done = doorstep.answer(guard, connection)
            client.settimeout(60)
            if done is Door.REFUSED:
                said = b""
                while piece := client.recv(65536):
                    said += piece
                return done, said, b""
            try:
                return done, b"", connection.recv(65536)
            except BlockingIOError:
                return done, b"", b""


@pytest.mark.parametrize("data", [ISSUE, CHECK])
def test_H_11_without_time_a_request_that_came_with_its_connection_is_refused_and_it_closes(guard, data):
    guard.admission.came(10_000)
    done, said, _ = at_the_door(guard, data)
    answer = parse(said)
    assert (done, answer.status, answer.code, answer.rest) == (Door.REFUSED, 503, "overloaded", b"")
    assert (answer.headers["connection"], answer.headers["retry-after"]) == ("close", "1")


def test_H_11_with_time_it_is_let_in_unread_and_waits_from_now_on(guard):
    assert at_the_door(guard, ISSUE) == (Door.LET_IN, b"", ISSUE)
    assert guard.admission.waiting == 1


def test_H_11_refusals_at_the_door_take_their_share_of_the_time(guard):
    guard.admission.came(10_000)
    guard.admission._tick_seconds = 1.0
    assert guard.admission.refused(0.0)
    for _ in range(int(REFUSING_SHARE / 1e-6)):  # none takes as little as a microsecond
        at_the_door(guard, ISSUE)
        if not guard.admission.refused(0.0):
            return
    pytest.fail("they took no time")


def test_H_11_no_more_are_let_in_than_can_be_answered_in_time(guard):
    fit = math.ceil(OTHER_SECONDS / guard.admission.seconds_each)
    said = [at_the_door(guard, ISSUE)[0] for _ in range(fit + 5)]
    assert said == [Door.LET_IN] * fit + [Door.REFUSED] * 5


def test_H_11_who_is_refused_at_the_door_hears_how_long_the_crowd_takes(guard):
    guard.admission.came(10_000)
    guard.admission.hold_back(10_000)
    assert guard.admission.retry_after > 1
    assert parse(at_the_door(guard, ISSUE)[1]).headers["retry-after"] == str(guard.admission.retry_after)


def test_H_11_a_login_check_has_more_patience_at_the_door_too(guard):
    guard.admission.came(int(guard.admission.gate * 1.5))
    assert at_the_door(guard, CHECK) == (Door.LET_IN, b"", CHECK)
    assert at_the_door(guard, ISSUE)[0] is Door.REFUSED


@pytest.mark.parametrize("data", [b"", ISSUE[:-1], ISSUE[:30], ISSUE + WATCH, b"\x16\x03\x01\x02"])
def test_H_11_what_is_not_plainly_one_request_is_left_unread(guard, data):
    guard.admission.came(10_000)
    assert at_the_door(guard, data) == (Door.UNASKED, b"", data)
    assert guard.admission.waiting == 10_000


def test_H_11_who_watches_is_let_in_whatever_waits(guard):
    guard.admission.came(10_000)
    assert at_the_door(guard, WATCH) == (Door.LET_IN, b"", WATCH)
