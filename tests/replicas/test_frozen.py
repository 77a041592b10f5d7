"""E-05: a database that is frozen or gone. Every request has its answer in five seconds, and all is well again soon."""

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter

import aiohttp
import asyncpg
import pytest
from sqlalchemy import text

from tests.halting import halt
from tests.postgres import server
from tests.replicas.asking import Asking, family, resident, told
from tests.replicas.conftest import in_our_times
from tests.serve.load import MEASURED, in_time
from tests.ssh.conftest import new_key
from tests.ssh.service import People, Service
from tms_ca.core.errors import Unavailable
from tms_ca.store import migrate
from tms_ca.store.chainwriter import ChainWriter
from tms_ca.store.engine import Database, database_url

MOST_SECONDS = 5.0
FROZEN_SECONDS = 7.0  # longer than any time-out of ours
WHATS = ["issue", "check", "list", "change", "revoke", "krl"]


@pytest.fixture(scope="module")
def database():
    """A server of its own: the others' must not freeze."""
    with server("fsync=off") as running:
        running.start()
        yield running


async def fresh(database, name: str) -> str:
    admin = await asyncpg.connect(database.url("postgres"))
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    return database.url(name)


@contextlib.contextmanager
def frozen(database):
    """Stop every process of the server, and let them go on."""
    database.freeze()
    try:
        yield
    finally:
        database.thaw()


async def probe(url: str, path: str) -> tuple[int, float]:
    begun = time.monotonic()
    async with aiohttp.ClientSession() as http, http.get(url + path) as answer:
        await answer.read()
        return answer.status, time.monotonic() - begun


async def well_again(asking: Asking) -> float:
    """Wait until everything is answered well; return after how long."""
    begun = time.monotonic()
    good = {"issue": 201, "check": 200, "list": 200, "change": 200, "krl": 200}
    async with aiohttp.ClientSession() as http:
        while True:
            found = [await asking.once(http, what) for what in good]
            if all(one.status == good[one.what] for one in found):
                return time.monotonic() - begun
            assert time.monotonic() - begun < 60, told(found)
            await asyncio.sleep(0.05)


async def test_E_05_a_frozen_database_is_answered_for_in_time_and_nothing_piles_up(database, tmp_path):
    url = await fresh(database, "frozen")
    with Service(tmp_path / "data", environment={"TMS_CA_DATABASE_URL": url}) as service:
        await asyncio.to_thread(service.init)
        await asyncio.to_thread(service.start)
        people = People(service, "alice")
        await asyncio.to_thread(people.furnish)
        key = new_key(tmp_path, "id").public
        issued = await asyncio.to_thread(people.issue, key)
        asking = Asking(people, service.url, key, issued.json["certificate"])
        running = asyncio.create_task(asking.run(WHATS, 6))
        async with asyncio.timeout(60):
            while told(asking.asked).get("issue", {}).get(201, 0) <= 20:
                await asyncio.sleep(0.05)
        base = resident(family(service.process.pid))
        before = told(asking.asked)
        with frozen(database):
            begun = time.monotonic()
            await asyncio.sleep(FROZEN_SECONDS / 2)
            lives, ready = await asyncio.gather(probe(service.url, "/healthz"), probe(service.url, "/readyz"))
            await asyncio.sleep(FROZEN_SECONDS / 2)
            await asking.answered()  # all who asked before and meanwhile; the database stands still yet
            grown = resident(family(service.process.pid)) - base
            ended = time.monotonic()
        asking.stop.set()
        await running
        in_time(await well_again(asking), MOST_SECONDS)
    during = asking.between(begun, ended)
    in_time(max(one.seconds for one in asking.asked), MOST_SECONDS)
    later = [one for one in during if one.at > begun + 0.5 and one.at + one.seconds < ended]
    assert {status for statuses in told(later).values() for status in statuses} <= {503}
    assert set(told(later)) == set(WHATS), "each was asked while the database stood still"
    assert (lives[0], ready[0]) == (200, 503)
    in_time(lives[1], 1)
    in_time(ready[1], MOST_SECONDS)
    assert grown < 50 << 20
    assert before["issue"][201] > 5, "the negative twin: all was well before"


async def issues(world) -> None:
    """Wait until certificates are issued, five in a row."""
    begun, row = time.monotonic(), 0
    while row < 5:
        row = row + 1 if (await world.issue()).status == 201 else 0
        assert row or time.monotonic() - begun < 60
        await asyncio.sleep(0 if row else 0.05)
    in_time(time.monotonic() - begun, MOST_SECONDS)


def tasks() -> Counter[str]:
    """Return what runs in this loop, but for aiohttp's one task for each connection that is kept open."""
    names = Counter(getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks())
    return Counter({name: count for name, count in names.items() if not name.endswith("RequestHandler.start")})


async def test_E_05_no_task_and_no_connection_is_left_behind(database, tmp_path, clock):
    url = await fresh(database, "tasks")
    await migrate.upgrade(database_url(url))
    async with in_our_times(tmp_path / "data", url, clock) as world:
        await issues(world)
        base = tasks()
        with frozen(database):
            begun = time.monotonic()
            first = [asyncio.create_task(world.issue()) for _ in range(40)]
            first += [asyncio.create_task(world.call("GET", "users", auth=world.operator)) for _ in range(10)]
            answers = await asyncio.gather(*first)
            assert {one.status for one in answers} == {503}
            in_time(time.monotonic() - begun, MOST_SECONDS)
            begun = time.monotonic()
            assert {(await world.issue()).status for _ in range(20)} == {503}
            in_time(time.monotonic() - begun, 1)  # who comes later is told at once
        await issues(world)
        begun = time.monotonic()
        while left := tasks() - base:
            assert time.monotonic() - begun < 60, left
            await asyncio.sleep(0.05)
        admin = await asyncpg.connect(database.url("postgres"))
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'tasks'"
        while (left := await admin.fetchval(query)) > 40:
            assert time.monotonic() - begun < 60, left
            await asyncio.sleep(0.1)
        await admin.close()
        assert (await world.context.auditing.verify()).faults == ()


async def test_E_05_a_connection_that_owes_an_answer_is_not_used_again(database, our_times):
    """One backend is frozen, the server is well: the statement is given up in time, and the next has another."""
    opened = Database(database_url(database.url("postgres")), ChainWriter(b"k", 1))
    pid_of = text("SELECT pg_backend_pid()")
    async with opened.read() as connection:
        pid = (await connection.execute(pid_of)).scalar_one()
    halt(pid)
    try:
        begun = time.monotonic()
        with pytest.raises(Unavailable):
            async with opened.read() as connection:
                await connection.execute(pid_of)
        in_time(time.monotonic() - begun, MOST_SECONDS)
        begun = time.monotonic()
        async with opened.read() as connection:
            assert (await connection.execute(pid_of)).scalar_one() != pid
        in_time(time.monotonic() - begun, 1)
    finally:
        os.kill(pid, signal.SIGCONT)
        await opened.close()


async def test_E_05_a_database_that_is_gone_is_answered_for_at_once(tmp_path, clock):
    with server("fsync=off") as gone:
        gone.start()
        url = await fresh(gone, "gone")
        await migrate.upgrade(database_url(url))
        async with in_our_times(tmp_path / "data", url, clock) as world:
            await issues(world)
            gone.kill()
            begun = time.monotonic()
            calls = [world.issue() for _ in range(20)]
            calls += [world.call("PATCH", "users/alice", auth=world.operator, json={"display_name": "x"})]
            assert {one.status for one in await asyncio.gather(*calls)} == {503}
            in_time(time.monotonic() - begun, MOST_SECONDS)
            await asyncio.to_thread(gone.start)
            await issues(world)
            # The first change finds that its kept connections are dead, and takes another at once, once who may is read.
            async with asyncio.timeout(60):
                while (await world.call("GET", "users", auth=f"Bearer tms_h_{'A' * 43}")).status != 401:
                    await asyncio.sleep(0.05)
                change = "PATCH", "users/alice"
                while (await world.call(*change, auth=world.operator, json={"display_name": "y"})).status != 200:
                    assert not MEASURED
                    await asyncio.sleep(0.05)
