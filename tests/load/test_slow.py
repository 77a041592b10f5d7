"""Who is slow is told so and loses the connection; nobody else notices."""

import asyncio
import select
import socket
import statistics
from pathlib import Path

import pytest

from tests.hot.jump import Jump
from tests.load.slow import Slow, ask
from tests.load.wire import parse
from tests.serve.load import in_time
from tms_ca.http import guard, unsent
from tms_ca.serving import acceptor

LONG = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /api/v1/tenants/default/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def test_H_03_two_thousand_slow_heads_end_and_nobody_else_notices(own_process):
    port = int(own_process.url.rpartition(":")[2])
    beside: list[int] = []  # how many of them had been ended when another was answered
    slow = Slow(port, 2000, HEAD, b"X-A: b\r\n", 5.0)

    took: list[float] = []

    def another() -> None:
        took.append(ask(port))
        beside.append(len(slow.closed_after))

    slow.run(120, another)
    assert len(slow.closed_after) == 2000
    in_time(max(slow.closed_after), 16.5)  # 15 s, and what it took this test to open 2,000 and to notice
    said = [parse(answer) for answer in slow.answers]
    assert {(one.status, one.code, one.headers["connection"]) for one in said} == {(408, "too_slow", "close")}
    in_time(statistics.quantiles(took, n=100)[98], 2)
    assert beside.count(0) > 3, "who waits for the slow ones waits until they are ended"


def test_H_03_a_head_has_fifteen_seconds_with_the_look_that_ends_it():
    assert not guard.Watch(100.0).late(100.0 + guard.HEAD_SECONDS)
    assert guard.Watch(100.0).late(100.1 + guard.HEAD_SECONDS)
    assert guard.HEAD_SECONDS + guard.SWEEP_TICKS * guard.TICK_SECONDS <= 15


async def test_H_03_a_connection_that_says_nothing_is_closed_without_a_word(served, jump):
    reader, writer = await asyncio.open_connection("127.0.0.1", served.base.port)
    assert await answer_after(jump, guard.HEAD_SECONDS / 2, reader) == b""
    writer.close()


async def answer_after(jump: Jump, step: float, reader: asyncio.StreamReader) -> bytes:
    """Let time pass until the connection ends; return what it said."""
    reading = asyncio.create_task(reader.read())
    for _ in range(100):
        await jump(step)
        if reading.done():
            return await reading
    raise AssertionError("it is left open")


async def drip(port: int, jump: Jump, head: bytes, piece: bytes, every: float, most: int) -> tuple[bytes, bool]:
    """Send a body piece by piece, again where a piece crossed the end of the connection and reset it."""
    for _ in range(20):
        try:
            return await drip_once(port, jump, head, piece, every, most)
        except ConnectionResetError:
            continue
    raise AssertionError("the answer was lost twenty times")


async def drip_once(port: int, jump: Jump, head: bytes, piece: bytes, every: float, most: int) -> tuple[bytes, bool]:
    """Send a body in so many pieces at most; return what came back, and whether that was before the last of them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.create_task(reader.read())
    writer.write(head)
    for _ in range(most):
        await jump(every)
        if reading.done():
            break
        writer.write(piece)
    before = reading.done()
    answer = await asyncio.wait_for(reading, 60)
    writer.close()
    return answer, before


async def test_H_03_a_body_under_100_bytes_a_second_is_given_up(served, jump):
    head = POST + b"Content-Length: 60000\r\n\r\n"
    answer, before = await drip(served.base.port, jump, head, b"a" * 900, 10, 5)
    assert before
    said = parse(answer)
    assert (said.status, said.code, said.rest) == (408, "too_slow", b"")
    assert said.headers["connection"] == "close"


async def test_H_03_a_body_over_100_bytes_a_second_is_read(served, jump):
    """The twin: it takes as long, and is answered; what the machine takes of the time does not make it slow."""
    head = POST + b"Connection: close\r\nContent-Length: 12000\r\n\r\n"
    answer, before = await drip(served.base.port, jump, head, b" " * 3000, 10, 4)
    assert (parse(answer).code, before) == ("malformed_json", False)


async def test_H_03_a_body_may_not_take_for_ever(served, jump):
    head = POST + b"Content-Length: 60000\r\n\r\n"
    answer, before = await drip(served.base.port, jump, head, b" " * 3000, 10, 8)
    assert (parse(answer).status, before) == (408, True)


async def test_H_03_a_slow_head_after_a_pause_ends_a_kept_connection(served, jump):
    reader, writer = await asyncio.open_connection("127.0.0.1", served.base.port)
    for _ in range(2):  # it dozes between them, and wakes
        writer.write(HEAD + b"\r\n")
        assert parse(await reader.read(65536)).status == 200
        await jump(1)
    writer.write(HEAD)
    said = parse(await answer_after(jump, guard.HEAD_SECONDS / 2, reader))
    writer.close()
    assert (said.status, said.code) == (408, "too_slow")


@pytest.mark.parametrize("answers", [2, 40])  # the system takes two of these at once; of forty most wait in the service
async def test_H_03_who_does_not_take_the_answers_loses_the_connection(served, jump, answers):
    line = _line(served.base.port)
    await asyncio.get_running_loop().sock_sendall(line, LONG * answers)
    reset = select.poll()
    reset.register(line, 0)  # errors alone: nothing is read
    for _ in range(100):
        await jump(unsent.WINDOW_SECONDS / 10)
        if reset.poll(0):
            break
    assert reset.poll(0)
    line.close()


@pytest.mark.parametrize(
    ("answers", "buffer", "piece"), [(2, 4096, 2048), (40, 4096, 2048), (40, None, 40_000)], ids=str
)
async def test_H_03_who_takes_them_slowly_keeps_it(served, jump, answers, buffer, piece):
    """The twin: the same answers, taken for two minutes in pieces, ten in the time in which one must be taken."""
    line, loop = _line(served.base.port, buffer), asyncio.get_running_loop()
    await loop.sock_sendall(line, LONG * answers)
    found = turns = 0
    while found < answers * 200_000:  # each is a little longer
        got = await loop.sock_recv(line, 65536 if turns > 20 else piece)
        assert got
        found += len(got)
        turns += 1
        if turns <= 20:
            await jump(unsent.WINDOW_SECONDS / 10)
    line.close()


async def test_H_03_the_system_keeps_little_of_what_nobody_reads_and_who_reads_gets_all(own_process):
    port, answers = int(own_process.url.rpartition(":")[2]), 20
    line, loop = _line(port), asyncio.get_running_loop()
    await loop.sock_sendall(line, LONG * answers)
    kept, before = 0, -1
    async with asyncio.timeout(60):
        while not kept or kept != before:
            await asyncio.sleep(0.2)
            before, kept = kept, _unsent(port, line.getsockname()[1])
    assert kept <= 2 * acceptor.UNSENT_BYTES
    found = 0
    while found < answers * 200_000:
        found += len(await asyncio.wait_for(loop.sock_recv(line, 65536), 60))
    line.close()


def _unsent(port: int, peer: int) -> int:
    """Return how many bytes the system keeps for the connection from `port` to `peer`: proc(5), /proc/net/tcp.

    Also 0 where it is not told of: that list is not of one moment.
    """
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    kept = (
        int(row[4].split(":")[0], 16)
        for row in rows
        if row[1].endswith(f":{port:04X}") and row[2].endswith(f":{peer:04X}")
    )
    return next(kept, 0)


def _line(port: int, buffer: int | None = 4096) -> socket.socket:
    line = socket.socket()
    if buffer:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    line.connect(("127.0.0.1", port))
    line.setblocking(False)
    return line
