"""The hot path: issuing and login checks go underneath SQLAlchemy's engine, here and nowhere else.

The statements are written once, as SQLAlchemy expressions, and compiled once; the driver runs them. Reads on SQLite
run inline: six microseconds, where a thread's round trip costs twenty times that. Writes of many requests share one
durable commit: `GroupCommit` hands over what has gathered each time the group before it is on the disk.
"""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import asyncpg
from sqlalchemy import ClauseElement, bindparam, insert, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.engine import URL
from sqlalchemy.sql.compiler import SQLCompiler

from tms_ca.core.errors import Unavailable
from tms_ca.core.model import CertificateRecord, Event
from tms_ca.store.chainwriter import INSERT_EVENT, MOVE_HEAD, ChainWriter, Placed, event_row
from tms_ca.store.engine import BUSY_SECONDS, Database, open_sqlite
from tms_ca.store.rows import certificate_row
from tms_ca.store.tables import audit_events, certificates, tenants

MOST_IN_A_GROUP = 256
INTEGRITY_ERRORS = (sqlite3.IntegrityError, asyncpg.IntegrityConstraintViolationError)


@dataclass(frozen=True, slots=True)
class Entry:
    """What one request wants durable: a certificate (if any) and its event."""

    event: Event
    certificate: CertificateRecord | None = None
    epoch: int = 0  # what the decision saw; a certificate is refused when its tenant's epoch has grown


class Prepared:
    """A statement compiled for one driver: text and the order of its parameters."""

    def __init__(self, statement: ClauseElement, dialect: Any, columns: Sequence[str] | None = None) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=columns)
        assert isinstance(compiled, SQLCompiler)
        self.sql = str(compiled)
        self.names = tuple(compiled.positiontup or ())
        self._defaults = {name: value for name, value in compiled.params.items() if value is not None}

    def args(self, params: Mapping[str, object]) -> list[object]:
        """Return `params` in order; constants of the statement fill the rest."""
        return [params[name] if name in params else self._defaults[name] for name in self.names]


class HotDriver(Protocol):
    """What both engines give the hot path."""

    dialect: Any

    async def fetch(self, prepared: Prepared, args: Sequence[object]) -> Sequence[Sequence[Any]]:
        """Run a SELECT; rows as sequences in the statement's order."""

    async def commit(self, entries: Sequence[Entry], chain: ChainWriter) -> list[bool]:
        """Make `entries` durable in one commit; False for each whose tenant's epoch has grown."""

    async def close(self) -> None:
        """Close connections."""


EPOCHS = select(tenants.c.tenant, tenants.c.epoch).where(tenants.c.tenant == bindparam("of_tenant"))
_CERTIFICATE_COLUMNS = [column.name for column in certificates.columns if column.name != "id"]
_EVENT_COLUMNS = [column.name for column in audit_events.columns]


class _Statements:
    def __init__(self, dialect: Any) -> None:
        self.epoch = Prepared(EPOCHS, dialect)
        self.epoch_locked = Prepared(EPOCHS.with_for_update(read=True), dialect)
        self.certificate = Prepared(insert(certificates).inline(), dialect, _CERTIFICATE_COLUMNS)
        self.event = Prepared(INSERT_EVENT, dialect, _EVENT_COLUMNS)
        self.head = Prepared(MOVE_HEAD, dialect, ["head_seq", "head_hash", "head_mac"])


def _standing(entries: Sequence[Entry], epochs: Mapping[str, int]) -> list[bool]:
    return [e.certificate is None or epochs.get(e.event.tenant) == e.epoch for e in entries]


def _decided(entries: Sequence[Entry]) -> list[str]:
    # Sorted: two processes that lock the same tenants then never wait for each other in a circle.
    return sorted({e.event.tenant for e in entries if e.certificate is not None})


class SqliteDriver:
    """Reads inline on the loop's thread; a group is written by one thread, which lets go of the GIL in fsync."""

    def __init__(self, database: Database) -> None:
        self.dialect = sqlite.dialect(paramstyle="qmark")
        self._database = database
        self._statements = _Statements(self.dialect)
        self._reader = open_sqlite(database.url)
        self._writer = open_sqlite(database.url)
        self._thread = ThreadPoolExecutor(1, "commit")

    async def fetch(self, prepared: Prepared, args: Sequence[object]) -> Sequence[Sequence[Any]]:
        """Run a SELECT inline."""
        try:
            return self._reader.execute(prepared.sql, args).fetchall()
        except sqlite3.Error as error:
            raise _unavailable() from error

    async def commit(self, entries: Sequence[Entry], chain: ChainWriter) -> list[bool]:
        """Write a group in the commit thread."""
        async with self._database.write_lock, chain.lock:
            loop = asyncio.get_running_loop()
            try:
                standing, placed = await loop.run_in_executor(self._thread, self._write, entries, chain)
            except sqlite3.IntegrityError:
                raise
            except sqlite3.Error as error:
                raise _unavailable() from error
            if placed:
                chain.moved(placed)
            return standing

    def _write(self, entries: Sequence[Entry], chain: ChainWriter) -> tuple[list[bool], Placed | None]:
        writer, statements = self._writer, self._statements
        writer.execute("BEGIN IMMEDIATE")
        try:
            epochs: dict[str, int] = {}
            for tenant in _decided(entries):
                epochs.update(writer.execute(statements.epoch.sql, [tenant]).fetchall())
            standing = _standing(entries, epochs)
            kept = [entry for entry, stands in zip(entries, standing, strict=True) if stands]
            placed = chain.place([entry.event for entry in kept]) if kept else None
            if placed:
                args = statements.certificate.args
                writer.executemany(
                    statements.certificate.sql,
                    [args(certificate_row(e.certificate)) for e in kept if e.certificate is not None],
                )
                args = statements.event.args
                writer.executemany(statements.event.sql, [args(event_row(row)) for row in placed.rows])
                writer.execute(statements.head.sql, statements.head.args(chain.head_params(placed)))
            writer.execute("COMMIT")
        except BaseException:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise
        return standing, placed

    async def close(self) -> None:
        """Wait for the last group, then close."""
        self._thread.shutdown()
        self._reader.close()
        self._writer.close()


class PostgresDriver:
    """A pool of asyncpg; a group is one transaction."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self.dialect = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call] # untyped in SQLAlchemy
        self._pool = pool
        self._statements = _Statements(self.dialect)

    @classmethod
    async def open(cls, url: URL) -> "PostgresDriver":
        """Connect.

        Raises:
            Unavailable: the database cannot be reached

        """
        plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
        try:
            return cls(await asyncpg.create_pool(plain, min_size=1, max_size=8, command_timeout=BUSY_SECONDS))
        except (OSError, asyncpg.PostgresError, TimeoutError) as error:
            raise _unavailable() from error

    async def fetch(self, prepared: Prepared, args: Sequence[object]) -> Sequence[Sequence[Any]]:
        """Run a SELECT."""
        try:
            rows: Sequence[Sequence[Any]] = await self._pool.fetch(prepared.sql, *args)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            raise _unavailable() from error
        return rows

    async def commit(self, entries: Sequence[Entry], chain: ChainWriter) -> list[bool]:
        """Write a group in one transaction; the share lock on the epochs holds off every change until it is done."""
        statements = self._statements
        try:
            async with self._pool.acquire(timeout=BUSY_SECONDS) as connection:
                transaction = connection.transaction()
                await transaction.start()
                try:
                    epochs: dict[str, int] = {}
                    for tenant in _decided(entries):
                        epochs.update(await connection.fetch(statements.epoch_locked.sql, tenant))
                    standing = _standing(entries, epochs)
                    kept = [entry for entry, stands in zip(entries, standing, strict=True) if stands]
                    if not kept:
                        await transaction.rollback()
                        return standing
                    args = statements.certificate.args
                    rows = [args(certificate_row(e.certificate)) for e in kept if e.certificate is not None]
                    if rows:
                        await connection.executemany(statements.certificate.sql, rows)
                    async with chain.lock:
                        placed = chain.place([entry.event for entry in kept])
                        args = statements.event.args
                        await connection.executemany(
                            statements.event.sql, [args(event_row(row)) for row in placed.rows]
                        )
                        await connection.execute(statements.head.sql, *statements.head.args(chain.head_params(placed)))
                        await transaction.commit()
                        chain.moved(placed)
                except BaseException:
                    if not connection.is_closed() and connection.is_in_transaction():
                        await transaction.rollback()
                    raise
                return standing
        except asyncpg.IntegrityConstraintViolationError:
            raise
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            raise _unavailable() from error

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.close()


def _refuse(group: Sequence[tuple[Entry, "asyncio.Future[bool]"]], error: Exception) -> None:
    for _, future in group:
        if not future.done():
            answer = _unavailable()
            answer.__cause__ = error
            future.set_exception(answer)


def _unavailable() -> Unavailable:
    return Unavailable(
        "database_unavailable", "the database does not answer; nothing was changed, try again", retry_after=2
    )


async def open_driver(database: Database) -> HotDriver:
    """Open the driver of `database`."""
    return SqliteDriver(database) if database.is_sqlite else await PostgresDriver.open(database.url)


class GroupCommit:
    """Gather entries while a group is being written; write them together next.

    `submit` returns once its entry is durable, True, or was void because the tenant had changed, False. One bad
    entry does not spoil its neighbours: a group that fails is tried again one by one.
    """

    def __init__(self, driver: HotDriver, database: Database) -> None:
        self._driver = driver
        self._database = database
        self._waiting: list[tuple[Entry, asyncio.Future[bool]]] = []
        self._task: asyncio.Task[None] | None = None
        self.groups = 0
        self.entries = 0

    async def submit(self, entry: Entry) -> bool:
        """Make `entry` durable.

        Raises:
            Unavailable: the database did not take it; nothing was written

        """
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, future))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._drain())
        return await future

    async def close(self) -> None:
        """Wait until what has been submitted is durable or refused."""
        if self._task is not None:
            await self._task

    async def _drain(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:MOST_IN_A_GROUP], self._waiting[MOST_IN_A_GROUP:]
            await self._write(group)

    async def _write(self, group: list[tuple[Entry, "asyncio.Future[bool]"]]) -> None:
        try:
            if not self._database.chain.registered:
                await self._database.start()
            answers = await self._driver.commit([entry for entry, _ in group], self._database.chain)
        except INTEGRITY_ERRORS as error:
            if len(group) == 1:  # a serial that exists: one chance in 2**63, and never signed twice
                _refuse(group, error)
            else:
                for one in group:
                    await self._write([one])
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, every waiting request must hear of it
            _refuse(group, error)
            return
        self.groups += 1
        self.entries += len(group)
        for (_, future), answer in zip(group, answers, strict=True):
            if not future.done():  # the request may have been cancelled; its certificate is on record all the same
                future.set_result(answer)
