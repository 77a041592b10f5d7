"""How SQLite is reached: guarantees, and a statement in one visit to its thread. Every connection is opened here.

aiosqlite's cursor visits its connection's thread four times for each statement: to make a cursor, execute, fetch and
close. Each visit ends in a turn of the loop, and under a flood a turn takes a tenth of a second: what a look at the
service's readiness asks took seconds then, and a balancer took the service for dead.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, Self

import aiosqlite
from sqlalchemy.engine import URL

from tms_ca.store import turns

# Pages of the write-ahead log, 49 MB, at which SQLite itself brings them home, within a commit: store.checkpoints does
# long before, where certificates are issued.
MOST_LOG_PAGES = 12_000
MOST_LOG_BYTES = 64 * 2**20  # what a log that grew behind a long read keeps of the disk afterwards

# synchronous=FULL: a commit is on the disk when it returns. WAL: readers never wait for the writer.
PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    turns.WAITING,
    f"PRAGMA wal_autocheckpoint={MOST_LOG_PAGES}",
    f"PRAGMA journal_size_limit={MOST_LOG_BYTES}",
)


def open_sqlite(url: URL) -> sqlite3.Connection:
    """Open a connection; each statement outside a transaction that was begun is one of its own."""
    assert url.database
    connection = sqlite3.connect(url.database, isolation_level=None, check_same_thread=False, cached_statements=128)
    for pragma in PRAGMAS:
        connection.execute(pragma)
    return connection


async def connect(url: URL) -> aiosqlite.Connection:
    """Open one for SQLAlchemy's engine, with a thread of its own."""
    return await _Connection(partial(open_sqlite, url), iter_chunk_size=0)


class _Connection(aiosqlite.Connection):
    """A connection whose cursors need its thread once for each statement."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._thread.daemon = True  # a process that ends without closing it must not hang

    def cursor(self) -> "_Cursor":  # type: ignore[override] # aiosqlite's is made in the thread
        return _Cursor(self)


class _Done(NamedTuple):
    """What a statement left behind; aiosqlite's and PEP 249's names."""

    description: Any = None
    rowcount: int = -1
    lastrowid: int | None = None
    rows: Sequence[Any] = ()


class _Cursor:
    """What SQLAlchemy asks of a cursor of aiosqlite's."""

    arraysize = 1

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._done = _Done()
        self._rows: Sequence[Any] = ()

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, statement: str, parameters: Iterable[Any] = ()) -> Self:
        """Execute, and fetch every row."""
        await self._in_thread("execute", statement, parameters)
        return self

    async def executemany(self, statement: str, parameters: Iterable[Iterable[Any]]) -> Self:
        """Execute once with each of `parameters`."""
        await self._in_thread("executemany", statement, parameters)
        return self

    async def _in_thread(self, method: str, statement: str, parameters: Iterable[Any]) -> None:
        connection: Any = self._connection
        # aiosqlite opens no other way into its thread.
        self._done = await connection._execute(_do, connection._conn, method, statement, parameters)  # noqa: SLF001
        self._rows = self._done.rows

    async def fetchall(self) -> Sequence[Any]:
        """Return the rows that were not asked for yet."""
        rows, self._rows = self._rows, ()
        return rows

    async def fetchmany(self, size: int = arraysize) -> Sequence[Any]:
        """Return the next so many rows."""
        rows, self._rows = self._rows[:size], self._rows[size:]
        return rows

    async def close(self) -> None:
        """Do nothing: the thread has closed it."""

    @property
    def description(self) -> Any:
        """Return the columns; None where the statement has no rows to return."""
        return self._done.description

    @property
    def rowcount(self) -> int:
        """Return how many rows were changed."""
        return self._done.rowcount

    @property
    def lastrowid(self) -> int | None:
        """Return the number of the row that was inserted last."""
        return self._done.lastrowid


def _do(connection: sqlite3.Connection, method: str, statement: str, parameters: Iterable[Any]) -> _Done:
    cursor = connection.cursor()
    try:
        getattr(cursor, method)(statement, parameters)
        rows = cursor.fetchall() if cursor.description else ()
        return _Done(cursor.description, cursor.rowcount, cursor.lastrowid, rows)
    finally:
        cursor.close()  # it ends the statement, which else keeps what it reads from being changed
