"""The load asks what it says it asks, and hides no slow answer."""

import asyncio
import json
import os
import shutil
import subprocess
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.bench import steady
from tests.bench.client import ask_all
from tests.bench.load import Load, Variant, measure, read, wrk_command
from tests.bench.processes import Server, started

STALL_SECONDS = 0.4


@asynccontextmanager
async def server(answer=lambda _: 200, before=None):
    """Serve on loopback; `answer(body)` gives the status, and 0 hangs up. Yield the URL and the bodies that came."""
    bodies = []

    async def serve(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                bodies.append(await reader.readexactly(length))
                status = answer(bodies[-1])
                if before is not None:
                    await before(bodies)
                if not status:
                    break
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % status)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/x", bodies


def lines(tmp_path, count, text="{}"):
    path = tmp_path / "bodies"
    path.write_text("".join(text.format(number) + "\n" for number in range(count)))
    return path


async def test_a_server_that_stands_still_is_seen_in_every_request_that_was_due_meanwhile(tmp_path):
    stalls = []

    async def stall_from_the_fifth_on(bodies):
        if len(bodies) == 5:
            stalls.append(time.monotonic() + STALL_SECONDS)
        if stalls:
            await asyncio.sleep(stalls[0] - time.monotonic())

    async with server(before=stall_from_the_fifth_on) as (url, bodies):
        found = await steady.drive(Load(url, {}, lines(tmp_path, 3)), rate=100, seconds=0.5, connections=2)
    assert len(bodies) == found.requests == 50
    assert found.max_ms >= STALL_SECONDS * 900
    # 40 of the 50 were due during the stall, though it left only two connections to send on: half of those waited long.
    assert found.p50_ms >= STALL_SECONDS * 250


async def test_refusals_at_a_constant_rate_are_counted_and_half_of_them_measure_nothing(tmp_path):
    load = Load("", {}, lines(tmp_path, 20))
    async with server(lambda body: 403 if int(body) < 9 else 200) as (url, _):
        found = await steady.drive(replace(load, url=url), rate=500, seconds=0.04, connections=2)
        assert (found.requests, found.refused) == (20, 9)
    async with server(lambda body: 403 if int(body) < 10 else 200) as (url, _):
        with pytest.raises(RuntimeError, match="of 20 requests 10 were refused, 0 lost"):
            await steady.drive(replace(load, url=url), rate=500, seconds=0.04, connections=2)


async def test_a_lost_connection_ends_the_measurement(tmp_path):
    async with server(lambda body: 0 if body == b"5" else 200) as (url, _):
        with pytest.raises(RuntimeError, match="of 20 requests 0 were refused, 1 lost"):
            await steady.drive(Load(url, {}, lines(tmp_path, 20)), rate=500, seconds=0.04, connections=2)


def certificates_of(requests):
    asked = [json.loads(body) for body in requests]
    assert len({body["nonce"] for body in asked}) == len(asked)
    assert {len(body["nonce"]) for body in asked} == {32}
    return [body["certificate"] for body in asked]


async def test_at_a_constant_rate_a_login_is_asked_about_twice_and_then_not_before_all_others(tmp_path):
    load = Load("http://127.0.0.1:1/x", {}, lines(tmp_path, 64, '{{"certificate": {}, "nonce": "'), login=True)
    made = steady.requests(load)
    asked = certificates_of([next(made).split(b"\r\n\r\n")[1] for _ in range(128)])
    assert asked[:32] == [*range(16), *range(16)]
    assert {number: asked.count(number) for number in asked} == dict.fromkeys(range(64), 2)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="make bench installs wrk")
async def test_wrk_asks_about_a_login_twice_and_then_not_before_all_others(tmp_path):
    count, connections = 3000, 1
    file = lines(tmp_path, count, '{{"certificate": {}, "nonce": "')
    async with server() as (url, bodies):
        load = Load(url, {"X-A": "b"}, file, login=True)
        wrk = await asyncio.create_subprocess_exec(
            *wrk_command(load, connections=connections, seconds=1, cpu=None), stdout=subprocess.PIPE
        )
        output, _ = await wrk.communicate()
    result = read(output.decode())
    asked = certificates_of(bodies)[: 2 * count]
    assert result["requests"] <= len(bodies) <= result["requests"] + connections
    assert len(asked) > 10
    assert asked == [(asked[0] + number // 2) % count for number in range(len(asked))]


def test_a_round_with_failed_requests_measures_nothing():
    good = 'RESULT {"requests": 10, "seconds": 1, "p50_ms": 1, "p99_ms": 2, "max_ms": 3, "refused": 0, "failed": 0}'
    assert read(f"Running\n{good}\n")["requests"] == 10
    assert read(good.replace('"refused": 0', '"refused": 4'))["refused"] == 4
    with pytest.raises(RuntimeError, match="of 10 answers 5 were no success, and 0 requests had none"):
        read(good.replace('"refused": 0', '"refused": 5'))
    with pytest.raises(RuntimeError, match="of 10 answers 0 were no success, and 1 requests had none"):
        read(good.replace('"failed": 0', '"failed": 1'))
    with pytest.raises(RuntimeError, match="of 0 answers"):
        read(good.replace('"requests": 10', '"requests": 0'))
    with pytest.raises(RuntimeError, match="reported nothing: unable to connect"):
        read("unable to connect")


async def test_answers_come_in_the_order_of_the_questions():
    async with server() as (url, bodies):
        assert await ask_all(url, {}, map(str, range(40)), connections=4) == [b"ok"] * 40
        assert sorted(map(int, bodies)) == list(range(40))
    async with server(lambda _: 429) as (url, _):
        with pytest.raises(RuntimeError, match="answered 429"):
            await ask_all(url, {}, ["1"], connections=1)


def test_a_server_is_watched_with_its_children_and_ended():
    burn = "import os,time\nmain = os.getpid()\nos.fork() and print('http://127.0.0.1:9', flush=True)\n"
    burn += "end = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
    burn += "while main in (os.getpid(), os.getppid()): time.sleep(0.05)"  # whoever an orphan is given to
    with started(["python3", "-c", burn], cpu=None) as watched:
        assert watched.address == "http://127.0.0.1:9"
        until = time.monotonic() + 60
        while watched.cpu_seconds() < 0.4 and time.monotonic() < until:
            time.sleep(0.05)
        assert len(watched.processes()) == 2
        assert watched.cpu_seconds() >= 0.4  # 0.2 of each
        assert watched.resident_bytes() > 2 * 2**20
    assert watched.processes() == [watched.pid]
    assert watched.cpu_seconds() == 0


def test_a_server_that_does_not_start_says_why():
    failing = ["sh", "-c", "echo out of beans >&2; exit 3"]
    with pytest.raises(RuntimeError, match="did not start: out of beans"), started(failing, cpu=None):
        pass


@pytest.mark.skipif(shutil.which("wrk") is None, reason="make bench installs wrk")
async def test_refusals_are_not_counted_as_done(tmp_path):
    async with server(lambda body: 503 if body == b"1" else 200) as (url, bodies):
        variant = Variant("x", "x", Server(url, os.getpid()), Load(url, {}, lines(tmp_path, 4)))
        begun = time.monotonic()
        found = await asyncio.to_thread(measure, variant, connections=1, seconds=1, cpu=None)
        took = time.monotonic() - begun
    refused, asked = map(int, found.refused.split(" of "))
    assert len(bodies) - 1 <= asked <= len(bodies)
    assert abs(refused - asked / 4) <= 1
    done = asked - refused
    assert done / took < found.per_second <= done * 1.1, "of the one second that it lasted, or of a little more"
    assert found.cpu_us > 0
