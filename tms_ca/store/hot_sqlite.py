"""The hot path on SQLite: reads inline on the loop's thread, groups written by one thread."""

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.dialects import sqlite

from tms_ca.store.aside import Aside
from tms_ca.store.bulk import BulkInsert
from tms_ca.store.chainwriter import ChainWriter, Placed
from tms_ca.store.checkpoints import Checkpoints
from tms_ca.store.engine import Database
from tms_ca.store.hot import Entry, HotStatements, Prepared, SpoiledGroup, place, unavailable
from tms_ca.store.sqlite import open_sqlite
from tms_ca.store.standing_sqlite import Decided, Standing
from tms_ca.store.turns import NO_WAITING, take_turn

_INDEX_HEAD_BYTES = 96  # two copies of 48


def _open_index(database: str | None) -> int | None:
    """Return the descriptor under which SQLite itself has the index open in this process; None where that is unknown.

    It is SQLite's, and stays open as long as our reader does. One of our own would be wrong: closing it would give up
    every lock that this process holds on the file (fcntl(2), "Advisory record locking").
    """
    wanted = Path(f"{os.path.realpath(database or '')}-shm")
    with contextlib.suppress(OSError):  # not Linux, or no /proc: the epoch is read from the database each time
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                if descriptor.readlink() == wanted:
                    return int(descriptor.name)
    return None


class SqliteReader:
    """Reads inline on the loop's thread."""

    def __init__(self, database: Database) -> None:
        self.dialect = sqlite.dialect(paramstyle="qmark")
        self._database = database
        self._statements = HotStatements(self.dialect)
        self._reader = open_sqlite(database.url)
        self._reader.execute("SELECT 1 FROM tenants LIMIT 1").fetchall()  # opens the index
        self._index = _open_index(database.url.database)

    async def fetch(self, prepared: Prepared, args: Sequence[object]) -> Sequence[Sequence[Any]]:
        """Run a SELECT inline."""
        return self.fetch_at_once(prepared, args)

    def fetch_at_once(self, prepared: Prepared, args: Sequence[object]) -> Sequence[Sequence[Any]]:
        """Run a SELECT."""
        try:
            return self._reader.execute(prepared.sql, args).fetchall()
        except sqlite3.Error as error:
            raise unavailable() from error

    def version(self) -> bytes | None:
        """Return the head of the index of the write-ahead log: every commit of any process changes it.

        SQLite's own readers compare the same bytes to find out whether what they know is still true
        (sqlite.org/walformat.html, section 2.1), so a head that has not changed is the snapshot of now. Where it is
        just being written it is another one too, and the database is asked.
        """
        return None if self._index is None else os.pread(self._index, _INDEX_HEAD_BYTES, 0)

    async def close(self) -> None:
        """Close the connection."""
        self._index = None
        self._reader.close()


class SqliteDriver(SqliteReader):
    """A group is written by one thread, which lets go of the GIL while the disk works."""

    gathers = True

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._writer = open_sqlite(database.url)
        self._writer.execute(NO_WAITING)
        self._certificates = BulkInsert(self._statements.certificate)
        self._events = BulkInsert(self._statements.event)
        self._standing = Standing(self._writer, self.dialect)
        self._checkpoints = Checkpoints(database.url)
        self._thread = Aside("commit")

    async def commit(self, entries: Sequence[Entry], chain: ChainWriter) -> list[bool]:
        """Write a group in the commit thread."""
        async with self._database.write_lock, chain.lock:
            try:
                standing, placed = await self._thread.do(self._write, entries, chain)
            except sqlite3.IntegrityError as error:
                raise SpoiledGroup from error
            except sqlite3.Error as error:
                raise unavailable() from error
            if placed:
                chain.moved(placed)
            return standing

    def _write(self, entries: Sequence[Entry], chain: ChainWriter) -> tuple[list[bool], Placed | None]:
        with self._checkpoints.turn:
            standing, placed = self._transaction(entries, chain)
        self._checkpoints.wrote(len(entries))
        return standing, placed

    def _transaction(self, entries: Sequence[Entry], chain: ChainWriter) -> tuple[list[bool], Placed | None]:
        writer, statements = self._writer, self._statements
        take_turn(writer)
        try:
            standing = self._standing.of(list(map(_decided, entries)))
            kept = [entry for entry, stands in zip(entries, standing, strict=True) if stands]
            placed = place(kept, chain) if kept else None
            if placed:
                values = statements.certificate_values
                self._certificates.run(writer, [values(e.certificate) for e in kept if e.certificate is not None])
                self._events.run(writer, list(map(statements.event_values, placed.rows)))
                writer.execute(statements.head.sql, statements.head.args(chain.head_params(placed)))
            if placed:
                with chain.committing():
                    writer.execute("COMMIT")
            else:
                writer.execute("ROLLBACK")
        except BaseException:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise
        return standing, placed

    async def close(self) -> None:
        """Wait for the last group, then close."""
        self._thread.close()
        self._checkpoints.close()
        self._writer.close()
        await super().close()


def _decided(entry: Entry) -> Decided | None:
    certificate = entry.certificate
    return None if certificate is None else (certificate.tenant, entry.epoch, certificate.public_key_fingerprint)
