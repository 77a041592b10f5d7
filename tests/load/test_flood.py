"""The program that asks at a constant rate counts every request once, whatever the service does with connections."""

import asyncio
import shutil
import socket
from types import SimpleNamespace

import pytest

from tests.load.flood import flood
from tests.load.storm import Ask

YES, NO = (
    b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}",
)
LAST = NO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
KEPT = 40
TURNS = 11  # not a divisor of how often a new connection is made: its requests would all be answered alike
needs_a_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler: make storms installs one")


class Rude(asyncio.Protocol):
    """Turns every tenth of the first connections away unasked; ends every 11th request's with a no, or with nothing."""

    def __init__(self, counts):
        self._counts = counts

    def connection_made(self, transport):
        self._transport = transport
        self._counts["connections"] += 1
        if self._counts["connections"] <= KEPT and self._counts["connections"] % 10 == 0:
            transport.write(LAST)
            transport.close()

    def data_received(self, data):
        for _ in range(data.count(b"POST ")):
            self._counts["asked"] += 1
            turn = self._counts["asked"] % TURNS
            if turn == 0:
                self._transport.close()
            else:
                self._transport.write({1: LAST, 2: NO}.get(turn, YES))
            if turn in {0, 1}:
                self._transport.close()
                return


def asking(port):
    return Ask(SimpleNamespace(url=f"http://127.0.0.1:{port}"), "/x", "Basic x", b"{}")


async def flooded(protocol, directory, **wanted):
    """Flood a server of that protocol; return what came of it."""
    made = []

    def one():
        made.append(protocol())
        return made[-1]

    server = await asyncio.get_running_loop().create_server(one, "127.0.0.1", 0)
    ask = asking(server.sockets[0].getsockname()[1])
    found = await asyncio.to_thread(flood, ask, directory, connections=KEPT, **wanted)
    server.close()
    # The client has ended, of which the service has not heard yet: what is left open would be told to a later test.
    async with asyncio.timeout(60):
        while len(asyncio.all_tasks()) > 1:  # who was just accepted
            await asyncio.sleep(0)
    for each in made:
        each._transport.abort()
    await asyncio.sleep(0)
    return found


@needs_a_compiler
async def test_every_request_is_answered_or_lost_with_its_connection(tmp_path):
    counts = {"connections": 0, "asked": 0}
    found = await flooded(lambda: Rude(counts), tmp_path, rate=1000, seconds=1, patient=0, few=20, grace=60)
    answered = sum(row.count for row in found.rows)
    sent = 1000 - found.unsent  # a machine that is busy at the end leaves some to wait for a connection
    assert (found.offered, found.unanswered, answered + found.lost) == (1000, 0, sent)
    assert counts["asked"] == sent
    expected = {(kind, status) for kind in ("kept", "new") for status in (201, 503)}
    assert {(row.kind, row.status) for row in found.rows} == expected
    assert found.lost == sent // TURNS > 0
    assert found.granted_ms() == max(row.p99_ms for row in found.rows if row.status == 201) > 0


@needs_a_compiler
def test_what_a_service_that_takes_no_connection_delays_is_not_held_against_the_machine(tmp_path):
    with socket.create_server(("127.0.0.1", 0), backlog=1) as nobody_accepts:
        ask = asking(nobody_accepts.getsockname()[1])
        found = flood(ask, tmp_path, rate=20, seconds=0.5, connections=0, patient=0, few=1, grace=1.5)
    assert (found.offered, found.unanswered) == (10, 10)
    assert found.late_p99_ms > 1000
    assert found.late_ms < found.late_p99_ms / 2


class Refusing(asyncio.Protocol):
    """Says no, and after how many seconds to ask again; `slow` says nothing."""

    def __init__(self, slow):
        self._slow = slow

    def connection_made(self, transport):
        self._transport = transport

    def data_received(self, data):
        if not self._slow:
            self._transport.write(NO * data.count(b"POST "))


@needs_a_compiler
@pytest.mark.parametrize("slow", [False, True])
async def test_who_is_patient_asks_again_after_retry_after_and_what_finds_no_connection_is_never_sent(tmp_path, slow):
    found = await flooded(
        lambda: Refusing(slow), tmp_path, rate=300, seconds=2.5, patient=5, few=10, grace=1 if slow else 60
    )
    refused = {kind: found.refused(kind).count for kind in ("kept", "patient", "new")}
    assert (found.offered, found.lost, found.good) == (750, 0, 0)
    if slow:
        assert (sum(refused.values()), found.unanswered) == (0, KEPT + 5 + 75)
        assert found.unsent == 750 - found.unanswered
    else:
        assert (found.unanswered, refused["new"]) == (0, 75)
        assert 5 < refused["patient"] <= 15, (
            "each at once, then a second after the answer: not as often as there is a turn"
        )
        assert refused["kept"] == 750 - 75 - refused["patient"] - found.unsent
