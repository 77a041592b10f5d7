"""Who is slow is told so and loses the connection; nobody else notices."""

import asyncio
import select
import socket
import statistics
import time
from pathlib import Path

import pytest

from tests.load.slow import Slow, ask
from tests.load.wire import parse
from tms_ca.http import guard, unsent
from tms_ca.serving import acceptor

LONG = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /api/v1/tenants/default/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def test_H_03_two_thousand_slow_heads_end_in_15_s_and_nobody_else_notices(own_process):
    port = int(own_process.url.rpartition(":")[2])
    took: list[float] = []
    slow = Slow(port, 2000, HEAD, b"X-A: b\r\n", 5.0)
    slow.run(25, lambda: took.append(ask(port)))
    assert len(slow.closed_after) == 2000
    assert max(slow.closed_after) <= 16.5  # 15 s, and what it took this test to open 2,000 and to notice
    said = [parse(answer) for answer in slow.answers]
    assert {(one.status, one.code, one.headers["connection"]) for one in said} == {(408, "too_slow", "close")}
    assert len(took) > 50
    assert statistics.quantiles(took, n=100)[98] <= 2  # who waits for the slow ones waits for 15 s


def test_H_03_a_connection_that_says_nothing_is_closed_without_a_word(own_process):
    slow = Slow(int(own_process.url.rpartition(":")[2]), 20, b"")
    slow.run(20)
    assert len(slow.closed_after) == 20
    assert set(slow.answers) == {b""}


@pytest.fixture
def impatient(monkeypatch):
    """Seconds that a test can wait for."""
    monkeypatch.setattr(guard, "BODY_WINDOW_SECONDS", 1.0)
    monkeypatch.setattr(guard, "HEAD_SECONDS", 1.0)


async def drip(port: int, head: bytes, piece: bytes, every: float, pieces: int) -> tuple[bytes, float]:
    """Send a body piece by piece, again where a piece crossed the end of the connection and reset it."""
    for _ in range(20):
        try:
            return await drip_once(port, head, piece, every, pieces)
        except ConnectionResetError:
            continue
    raise AssertionError("the answer was lost twenty times")


async def drip_once(port: int, head: bytes, piece: bytes, every: float, pieces: int) -> tuple[bytes, float]:
    """Send a body piece by piece; return what came back and after how many seconds the connection ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begun = time.monotonic()
    reading = asyncio.create_task(reader.read())
    writer.write(head)
    for _ in range(pieces):
        await asyncio.wait([reading], timeout=every)
        if reading.done():
            break
        writer.write(piece)
    answer = await asyncio.wait_for(reading, 15)
    writer.close()
    return answer, time.monotonic() - begun


async def test_H_03_a_body_under_100_bytes_a_second_is_given_up(served, impatient):
    head = POST + b"Content-Length: 60000\r\n\r\n"
    answer, seconds = await drip(served.base.port, head, b"a" * 9, 0.1, 100)
    said = parse(answer)
    assert (said.status, said.code, said.rest) == (408, "too_slow", b"")
    assert said.headers["connection"] == "close"
    assert seconds < 5


async def test_H_03_a_body_over_100_bytes_a_second_is_read(served, impatient):
    """The twin: it takes as long, and is answered."""
    head = POST + b"Connection: close\r\nContent-Length: 3000\r\n\r\n"
    answer, seconds = await drip(served.base.port, head, b" " * 100, 0.1, 30)
    assert parse(answer).code == "malformed_json"
    assert seconds > 2.5


async def test_H_03_a_body_may_not_take_for_ever(served, impatient, monkeypatch):
    monkeypatch.setattr(guard, "BODY_SECONDS", 2.0)
    answer, seconds = await drip(served.base.port, POST + b"Content-Length: 60000\r\n\r\n", b" " * 100, 0.1, 100)
    assert parse(answer).status == 408
    assert seconds < 5


async def test_H_03_a_slow_head_after_a_pause_ends_a_kept_connection(served, impatient):
    reader, writer = await asyncio.open_connection("127.0.0.1", served.base.port)
    for _ in range(2):  # it dozes between them, and wakes
        writer.write(HEAD + b"\r\n")
        assert parse(await reader.read(65536)).status == 200
        await asyncio.sleep(0.6)
    writer.write(HEAD)
    said = parse(await asyncio.wait_for(reader.read(), 10))
    writer.close()
    assert (said.status, said.code) == (408, "too_slow")


@pytest.mark.parametrize("answers", [2, 40])  # the system takes two of these at once; of forty most wait in the service
async def test_H_03_who_does_not_take_the_answers_loses_the_connection(served, monkeypatch, answers):
    monkeypatch.setattr(unsent, "WINDOW_SECONDS", 2.0)
    line = _line(served.base.port)
    await asyncio.get_running_loop().sock_sendall(line, LONG * answers)
    reset = select.poll()
    reset.register(line, 0)  # errors alone: nothing is read
    async with asyncio.timeout(10):
        while not reset.poll(0):
            await asyncio.sleep(0.1)
    line.close()


@pytest.mark.parametrize(
    ("answers", "buffer", "piece"), [(2, 4096, 2048), (40, 4096, 2048), (40, None, 40_000)], ids=str
)
async def test_H_03_who_takes_them_slowly_keeps_it(served, monkeypatch, answers, buffer, piece):
    """The twin: the same answers, of which 10 KB a second are read at first; 200 KB where the system takes more at once."""
    monkeypatch.setattr(unsent, "WINDOW_SECONDS", 2.0)
    line, loop = _line(served.base.port, buffer), asyncio.get_running_loop()
    await loop.sock_sendall(line, LONG * answers)
    found, begun = 0, time.monotonic()
    while found < answers * 200_000:  # each is a little longer
        got = await loop.sock_recv(line, 65536 if time.monotonic() - begun > 4.5 else piece)
        assert got
        found += len(got)
        if time.monotonic() - begun < 4.5:
            await asyncio.sleep(0.2)
    line.close()


async def test_H_03_the_system_keeps_little_of_what_nobody_reads_and_who_reads_gets_all(own_process):
    port, answers = int(own_process.url.rpartition(":")[2]), 20
    line, loop = _line(port), asyncio.get_running_loop()
    await loop.sock_sendall(line, LONG * answers)
    kept, before = 0, -1
    async with asyncio.timeout(10):
        while not kept or kept != before:
            await asyncio.sleep(0.2)
            before, kept = kept, _unsent(port, line.getsockname()[1])
    assert kept <= 2 * acceptor.UNSENT_BYTES
    found = 0
    while found < answers * 200_000:
        found += len(await asyncio.wait_for(loop.sock_recv(line, 65536), 10))
    line.close()


def _unsent(port: int, peer: int) -> int:
    """Return how many bytes the system keeps for the connection from `port` to `peer`: proc(5), /proc/net/tcp."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return next(
        int(row[4].split(":")[0], 16)
        for row in rows
        if row[1].endswith(f":{port:04X}") and row[2].endswith(f":{peer:04X}")
    )


def _line(port: int, buffer: int | None = 4096) -> socket.socket:
    line = socket.socket()
    if buffer:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    line.connect(("127.0.0.1", port))
    line.setblocking(False)
    return line
