"""The program that asks at a constant rate counts every request once, whatever the service does with connections."""

import asyncio
import shutil
from types import SimpleNamespace

import pytest

from tests.load.flood import flood
from tests.load.storm import Ask

YES, NO = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}", b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\n{}"
LAST = NO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
KEPT = 40


class Rude(asyncio.Protocol):
    """Turns every tenth of the first connections away unasked; ends every tenth request's with a no, or with nothing."""

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
            turn = self._counts["asked"] % 10
            if turn == 0:
                self._transport.close()
            else:
                self._transport.write({1: LAST, 2: NO}.get(turn, YES))
            if turn in {0, 1}:
                self._transport.close()
                return


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler: make storms installs one")
async def test_every_request_is_answered_or_lost_with_its_connection(tmp_path):
    counts = {"connections": 0, "asked": 0}
    server = await asyncio.get_running_loop().create_server(lambda: Rude(counts), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    ask = Ask(SimpleNamespace(url=f"http://127.0.0.1:{port}"), "/x", "Basic x", b"{}")
    wanted = {"rate": 1000, "seconds": 1, "connections": KEPT, "one_in": 20}
    found = await asyncio.to_thread(flood, ask, tmp_path, **wanted)
    server.close()
    answered = sum(row.count for row in found.rows)
    assert (found.offered, found.unanswered, answered + found.lost) == (1000, 0, 1000)
    assert counts["asked"] == 1000
    assert {(row.new, row.status) for row in found.rows} == {(new, status) for new in (0, 1) for status in (201, 503)}
    assert found.lost == 100
