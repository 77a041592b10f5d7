"""E-06: the primary is killed and its synchronous standby promoted: nothing acknowledged is lost, nobody restarts."""

import asyncio
import contextlib
import time

import asyncpg
import pytest

from deploy.sandbox_sshd import free_port
from tests.postgres import Server, server
from tests.replicas.asking import Asking, told
from tests.serve.load import in_time
from tests.ssh.conftest import new_key
from tests.ssh.service import People, Service
from tms_ca.store.engine import database_url
from tms_ca.store.postgres import Connector, Unreachable

GOOD = (("issue", 201), ("change", 200))


@contextlib.contextmanager
def standby_of(primary: Server):
    """Yield a synchronous standby of a running server."""
    with contextlib.ExitStack() as stack:
        standby = stack.enter_context(server("fsync=off", "cluster_name=standby", port=free_port(), made=False))
        standby.run(
            "pg_basebackup", "-h", primary.base, "-p", primary.port, "-U", "postgres", "-D", standby.data, "-R",
            "-X", "stream", "-c", "fast", "--no-sync",
        )  # fmt: skip
        standby.start()
        yield standby


async def run(database: Server, *statements: str):
    connection = await asyncpg.connect(database.url("postgres"), timeout=60)
    try:
        return [await connection.fetch(statement) for statement in statements]
    finally:
        await connection.close()


async def until_synchronous(primary: Server) -> None:
    await run(primary, "ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()")
    async with asyncio.timeout(60):
        while not (await run(primary, "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"))[0]:
            await asyncio.sleep(0.1)


@pytest.fixture
def primary():
    with server("fsync=off", port=free_port()) as running:
        running.start()
        yield running


def url_of(*servers: Server) -> str:
    return "postgresql://postgres@" + ",".join(f"127.0.0.1:{one.port}" for one in servers) + "/tms"


async def test_E_06_a_killed_primary_loses_nothing_acknowledged_and_its_standby_is_found(primary, tmp_path):
    await run(primary, "CREATE DATABASE tms")
    with standby_of(primary) as standby, contextlib.ExitStack() as stack:
        await until_synchronous(primary)
        first = Service(tmp_path / "data", environment={"TMS_CA_DATABASE_URL": url_of(primary, standby)})
        await asyncio.to_thread(first.init)
        second = Service(first.data, environment=first.environment, operator=first.operator)
        for one in (first, second):
            stack.enter_context(one)
            await asyncio.to_thread(one.start)
        people = People(first, "alice")
        await asyncio.to_thread(people.furnish)
        key = new_key(tmp_path, "id").public
        askings = [Asking(people, one.url, key) for one in (first, second)]
        running = [asyncio.create_task(one.run(["issue", "change"], 4)) for one in askings]
        async with asyncio.timeout(60):
            while min(answered(one, "issue", 201) for one in askings) < 40:
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
        with pytest.raises(Unreachable):
            await Connector(database_url(url_of(standby))).connect()
        primary.kill()
        killed = time.monotonic()
        async with asyncio.timeout(60):
            while not all(answered(one, what, 503, killed + 0.2) for one in askings for what, _ in GOOD):
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
        promoting = time.monotonic()
        await run(standby, "SELECT pg_promote(true, 60)")
        promoted = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                while not all(answered(one, what, good, promoted) for one in askings for what, good in GOOD):
                    await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        for one in askings:
            one.stop.set()
        await asyncio.gather(*running)
        (rows,) = await asyncio.gather(certificates(standby))
        verified = await asyncio.to_thread(first.tms_ca, "audit", "verify", check=False)
    acknowledged = [asked.serial for one in askings for asked in one.asked if asked.serial]
    assert len([asked for one in askings for asked in one.between(0, killed - 0.2) if asked.serial]) > 50
    assert set(acknowledged) <= rows, "a certificate was answered that the new primary does not know"
    assert len(set(acknowledged)) == len(acknowledged)
    for one in askings:
        after = one.between(promoted, float("inf"))
        for what, good in GOOD:
            back = [asked.at + asked.seconds for asked in after if asked.what == what and asked.status == good]
            assert back, (what, told(after))
            in_time(min(back) - promoted, 10)
        in_time(max(asked.seconds for asked in one.asked), 5)
        between = told([asked for asked in one.between(killed, promoting) if asked.at + asked.seconds < promoting])
        assert (set(between["issue"]), set(between["change"])) == ({503}, {503}), (
            "the negative twin: a standby that is none yet was not written to"
        )
    assert verified.returncode == 0, verified.stdout + verified.stderr


def answered(asking: Asking, what: str, status: int, since: float = 0.0) -> int:
    """Return how often `what` had that answer, of what was asked since then."""
    return sum((one.what, one.status) == (what, status) and one.at >= since for one in asking.asked)


async def certificates(database: Server) -> set[str]:
    connection = await asyncpg.connect(database.url("tms"))
    found = {str(row["serial"]) for row in await connection.fetch("SELECT serial FROM certificates")}
    await connection.close()
    return found


async def test_E_06_what_the_standby_has_not_confirmed_is_not_acknowledged(primary, tmp_path):
    """Not even when somebody cancels the wait, by which PostgreSQL reports success and no more than a warning."""
    await run(primary, "CREATE DATABASE tms")
    with standby_of(primary) as standby:
        await until_synchronous(primary)
        with Service(tmp_path / "data", environment={"TMS_CA_DATABASE_URL": url_of(primary, standby)}) as service:
            await asyncio.to_thread(service.init)
            await asyncio.to_thread(service.start)
            people = People(service, "alice")
            await asyncio.to_thread(people.furnish)
            key = new_key(tmp_path, "id").public
            assert (await asyncio.to_thread(people.issue, key)).status == 201
            standby.freeze()
            try:
                waiting = asyncio.create_task(asyncio.to_thread(people.issue, key))
                query = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                async with asyncio.timeout(60):
                    while not (await run(primary, query))[0]:
                        await asyncio.sleep(0.02)
                cancelled = await waiting
                begun = time.monotonic()
                alone = await asyncio.to_thread(people.issue, key)
                in_time(time.monotonic() - begun, 5)
            finally:
                standby.thaw()
            assert (cancelled.status, alone.status) == (503, 503)
            async with asyncio.timeout(60):
                while (await asyncio.to_thread(people.issue, key)).status != 201:
                    await asyncio.sleep(0.1)
            verified = await asyncio.to_thread(service.tms_ca, "audit", "verify", check=False)
            assert verified.returncode == 0, verified.stdout + verified.stderr
