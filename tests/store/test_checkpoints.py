"""The write-ahead log comes home beside the commits: all of it, again and again, and whoever looks on is not disturbed."""

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.store.test_commits import entry, epoch_of
from tests.store.test_writer import rows, world, written  # noqa: F401 - fixtures
from tms_ca.core.errors import Unavailable
from tms_ca.store import checkpoints
from tms_ca.store.aside import Aside

FRAME = 4096 + 24
FIRST = 1000  # serial


@pytest.fixture
def often(monkeypatch) -> None:
    monkeypatch.setattr(checkpoints, "PAGES", 60)


async def idle(watched: checkpoints.Checkpoints) -> None:
    async with asyncio.timeout(60):
        while watched._under_way:
            await asyncio.sleep(0.001)


async def write(one, watched: checkpoints.Checkpoints, first: int, groups: int) -> None:
    epoch = await epoch_of(one)
    for serial in range(first, first + 10 * groups, 10):
        answers = await asyncio.gather(*(one.context.commits.submit(entry(serial + n, epoch)) for n in range(10)))
        assert answers == [True] * 10
        await idle(watched)


def watched_by(one) -> checkpoints.Checkpoints:
    driver = one.context.commits._driver
    return getattr(driver, "_driver", driver)._checkpoints


def at_home(file: Path, away: Path) -> int:
    """Return how many certificates the database file has without its log."""
    shutil.copy(file, away / "home.db")
    with sqlite3.connect(away / "home.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (count,) = connection.execute("SELECT count(*) FROM certificates WHERE serial >= ?", [FIRST]).fetchone()
    connection.close()
    return count


async def test_E_02_what_is_home_is_whole_and_the_log_begins_anew(often, world, tmp_path):  # noqa: F811 - a fixture
    watched, file = watched_by(world), Path(world.context.commits._database.url.database)
    away = tmp_path / "away"
    away.mkdir()
    await write(world, watched, FIRST, 2)
    assert watched.done == 1
    assert at_home(file, away) == 20
    size = file.with_name("tms.db-wal").stat().st_size
    await write(world, watched, FIRST + 20, 30)
    assert watched.done > 10
    assert file.with_name("tms.db-wal").stat().st_size <= size + 60 * FRAME, "it grows for ever"
    assert (await world.context.auditing.verify()).faults == ()


async def test_whoever_looks_on_sees_one_moment_and_stops_no_commit(often, world, tmp_path):  # noqa: F811 - a fixture
    watched, file = watched_by(world), world.context.commits._database.url.database
    await write(world, watched, FIRST, 2)
    done = watched.done
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute("BEGIN")
    count = "SELECT count(*) FROM certificates WHERE serial >= 1000"
    assert reader.execute(count).fetchone() == (20,)
    await write(world, watched, FIRST + 20, 6)
    assert reader.execute(count).fetchone() == (20,)
    assert watched.done == done
    reader.execute("COMMIT")
    assert reader.execute(count).fetchone() == (80,)
    reader.close()
    await write(world, watched, FIRST + 80, 4)
    assert watched.done > done


async def test_the_writer_process_brings_its_log_home_too(often, written):  # noqa: F811 - a fixture
    _, epoch, writer, driver, _ = written
    for serial in range(FIRST, FIRST + 80, 10):
        group = rows(driver, *(entry(serial + n, epoch) for n in range(10)))
        assert writer.write([group]) == [[True] * 10]
        await idle(writer._checkpoints)
    assert writer._checkpoints.done >= 2


async def test_a_log_that_cannot_come_home_refuses_nothing(often, world, caplog):  # noqa: F811 - a fixture
    watched = watched_by(world)
    watched._connection.close()
    await write(world, watched, FIRST, 4)
    assert watched.done == 0
    assert "could not be brought home" in caplog.text


async def test_a_thread_aside_returns_raises_and_ends_with_what_it_has():
    aside, seen = Aside("aside"), []
    assert await aside.do(divmod, 7, 2) == (3, 1)
    with pytest.raises(Unavailable, match="none"):
        await aside.do(_refuse)
    given_up = asyncio.ensure_future(aside.do(seen.append, 1))
    await asyncio.sleep(0)
    given_up.cancel()
    aside.put(lambda: seen.append(2))
    aside.close()
    assert seen == [1, 2]
    await asyncio.sleep(0)
    assert given_up.cancelled()


def _refuse() -> None:
    raise Unavailable("database_unavailable", "none")
