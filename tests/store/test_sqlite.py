"""A statement is one visit to the thread of SQLite's connection, and behaves as aiosqlite's own do."""

import sqlite3

import aiosqlite
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from tms_ca.store.engine import database_url, make_engine


@pytest.fixture
async def engine(tmp_path):
    engine = make_engine(database_url(f"sqlite:///{tmp_path / 'x.db'}"))
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE t (n INTEGER PRIMARY KEY, word TEXT UNIQUE)"))
        await connection.execute(
            text("INSERT INTO t VALUES (:n, :word)"), [{"n": n, "word": f"w{n}"} for n in range(1, 2501)]
        )
    yield engine
    await engine.dispose()


@pytest.fixture
def visits(monkeypatch):
    """Return what was done in the threads of connections, as it grows."""
    seen, plain = [], aiosqlite.Connection._execute

    async def execute(self, act, *args, **more):
        seen.append(args[1:] or act.__name__)
        return await plain(self, act, *args, **more)

    monkeypatch.setattr(aiosqlite.Connection, "_execute", execute)
    return seen


async def test_a_statement_is_one_visit_to_the_thread(engine, visits):
    async with engine.connect() as connection:
        await connection.execution_options(reading=True)
        rows = (await connection.execute(text("SELECT n FROM t WHERE n <= :most ORDER BY n"), {"most": 3})).all()
    assert [row.n for row in rows] == [1, 2, 3]
    assert [visit if isinstance(visit, str) else visit[1].partition(" ")[0] for visit in visits] == [
        "BEGIN", "SELECT", "rollback",
    ]  # fmt: skip


async def test_what_a_statement_leaves_behind_is_there(engine):
    async with engine.begin() as connection:
        changed = await connection.execute(text("UPDATE t SET word = word || '!' WHERE n <= 7"))
        assert (changed.rowcount, changed.returns_rows) == (7, False)
        new = await connection.execute(text("INSERT INTO t VALUES (NULL, 'new') RETURNING n, word"))
        assert new.all() == [(2501, "new")]
        more = await connection.execute(text("INSERT INTO t VALUES (NULL, 'newer')"))
        assert more.lastrowid == 2502
        nothing = await connection.execute(text("SELECT n, word AS said FROM t WHERE n < 0"))
        assert (list(nothing.keys()), nothing.first()) == (["n", "said"], None)


async def test_rows_can_be_asked_for_in_pieces(engine):
    async with engine.connect() as connection:
        streamed = await (await connection.stream(text("SELECT n FROM t ORDER BY n"))).scalars().all()
        assert streamed == list(range(1, 2501))
        found = await connection.execute(text("SELECT n FROM t ORDER BY n"))
        assert [len(found.fetchmany(1000)) for _ in range(4)] == [1000, 1000, 500, 0]


async def test_what_fails_says_so_and_leaves_the_connection_of_use(engine):
    async with engine.connect() as connection:
        with pytest.raises(OperationalError, match="no such table: nowhere"):
            await connection.execute(text("SELECT 1 FROM nowhere"))
        with pytest.raises(IntegrityError):
            await connection.execute(text("INSERT INTO t VALUES (9999, 'w9')"))
        assert (await connection.execute(text("SELECT count(*) FROM t"))).scalar_one() == 2500
        await connection.rollback()
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM t WHERE n = 9999"))).scalar_one() == 0


async def test_a_read_that_was_left_in_the_middle_holds_nothing(engine, tmp_path):
    """A statement that is open keeps a table from being dropped, and the log from being brought home."""
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT n FROM t"))
        assert found.fetchone() == (1,)
        await connection.execute(text("DROP TABLE t"))
        await connection.commit()
    with sqlite3.connect(tmp_path / "x.db") as plain:
        assert plain.execute("SELECT name FROM sqlite_master").fetchall() == []
        assert plain.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
