"""A job runs in one replica at a time, and the lock ends with its holder."""

import asyncio
import subprocess
import sys
import textwrap

import asyncpg
import pytest

from tms_ca.core.errors import Unavailable
from tms_ca.store import jobs_lock
from tms_ca.store.engine import database_url
from tms_ca.store.jobs_lock import JobsLock

# Another replica: takes the lock, says so, and holds it until its standard input ends.
HOLDER = textwrap.dedent("""
    import asyncio, sys
    from tms_ca.store.engine import database_url
    from tms_ca.store.jobs_lock import JobsLock

    async def main():
        async with JobsLock(database_url(sys.argv[1])).only_here("krl") as here:
            print(here, flush=True)
            await asyncio.to_thread(sys.stdin.read)

    asyncio.run(main())
""")


def lock(url: str) -> JobsLock:
    return JobsLock(database_url(url))


@pytest.fixture
async def holder(fresh_database):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, fresh_database], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert await asyncio.to_thread(process.stdout.readline) == "True\n"
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


async def free_within(url: str, seconds: float) -> bool:
    async with asyncio.timeout(seconds):
        while True:
            async with lock(url).only_here("krl") as here:
                if here:
                    return True
            await asyncio.sleep(0.05)


async def test_one_of_many_and_others_after_it(fresh_database):
    async with lock(fresh_database).only_here("krl") as first:
        assert first
        async with lock(fresh_database).only_here("krl") as second:
            assert not second
        async with lock(fresh_database).only_here("retention") as other:
            assert other, "each job has a lock of its own"
    async with lock(fresh_database).only_here("krl") as again:
        assert again


async def test_a_body_that_fails_gives_the_lock_back(fresh_database):
    with pytest.raises(OSError, match="disk"):
        async with lock(fresh_database).only_here("krl"):
            raise OSError("disk")
    async with lock(fresh_database).only_here("krl") as here:
        assert here


async def test_another_process_holds_it_until_it_is_killed(fresh_database, holder):
    async with lock(fresh_database).only_here("krl") as here:
        assert not here
    holder.kill()
    assert await free_within(fresh_database, 60)


async def test_another_process_gives_it_back_when_it_is_done(fresh_database, holder):
    holder.stdin.close()
    assert await asyncio.to_thread(holder.wait, 60) == 0
    async with lock(fresh_database).only_here("krl") as here:
        assert here


async def test_who_loses_the_connection_is_ended_inside(postgres, monkeypatch):
    url = await postgres.fresh()
    reached, so_far, beat = [], asyncio.Event(), jobs_lock._beat

    async def later(*args):
        await so_far.wait()  # else a machine that stands still would have it noticed before
        await beat(*args)

    monkeypatch.setattr(jobs_lock, "_beat", later)

    async def job():
        async with asyncio.timeout(60), lock(url).only_here("krl") as here:
            assert here
            admin = await asyncpg.connect(url)
            query = (  # which waits until the session has ended
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_locks JOIN pg_database d ON d.oid = database "
                "WHERE locktype = 'advisory' AND datname = current_database()"
            )
            assert await admin.fetchval(query)
            await admin.close()
            async with lock(url).only_here("krl") as other:
                assert other, "the lock died with its connection"
            reached.append("so far")
            so_far.set()
            await asyncio.sleep(50)
            reached.append("too far")

    with pytest.raises(Unavailable) as lost:
        await job()
    assert lost.value.code == "job_lock_lost"
    assert reached == ["so far"]


async def test_no_database_no_job(tmp_path):
    with pytest.raises(Unavailable):
        async with lock(f"postgresql://postgres@/none?host={tmp_path}").only_here("krl"):
            pass
