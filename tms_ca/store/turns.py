"""SQLite's one writer among several processes: everybody who waits for that turn looks for it as often.

SQLite waits by looking again, ever more seldom: after a quarter of a second, each 100 ms. Where turns follow one upon
another, whoever has waited longest then hardly ever looks in the right moment: under changes of three processes
without a pause, the writer of the certificates waited 1.6 s for its own.
"""

import sqlite3
import time
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

BUSY_SECONDS = 5.0  # how long a statement waits for another process's lock before the request is refused
NO_WAITING = "PRAGMA busy_timeout=0"
WAITING = f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}"
_LOOK_SECONDS = 0.001


def take_turn(connection: sqlite3.Connection) -> None:
    """Begin a transaction that writes, on a connection on which SQLite itself does not wait (NO_WAITING).

    Raises:
        sqlite3.Error: there was no turn for as long as any statement waits, or the database cannot be used

    """
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        else:
            return
        time.sleep(_LOOK_SECONDS)


def begin(connection: Connection) -> None:
    """Begin a transaction of SQLAlchemy's, which has been told whether it reads alone."""
    if connection.get_execution_options().get("reading"):
        connection.exec_driver_sql("BEGIN")
        return
    # With a deferred BEGIN, a transaction that reads and then writes fails under concurrency.
    try:
        connection.connection.dbapi_connection.run_async(_aside)  # type: ignore[union-attr] # it is one of aiosqlite's
    except sqlite3.Error as error:
        raise OperationalError("BEGIN IMMEDIATE", None, error) from error


async def _aside(connection: Any) -> None:
    """Wait in the thread that the connection has of its own; aiosqlite opens no way there for this."""
    await connection._execute(_take_turn_once, connection._conn)  # noqa: SLF001


def _take_turn_once(connection: sqlite3.Connection) -> None:
    """Take a turn on a connection whose other statements wait as SQLite does."""
    connection.execute(NO_WAITING)
    try:
        take_turn(connection)
    finally:
        connection.execute(WAITING)
