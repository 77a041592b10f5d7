"""Open a database and run transactions on it; the only module that knows SQLite from PostgreSQL.

Everything but the hot path (store.hot) goes through SQLAlchemy's async engine. A change is one transaction: the
tenant's epoch grows first, so that no certificate decided on older facts can be committed after it; then the rows;
then the audit events; then the commit. On SQLite all writers of this process queue for `write_lock`, which is
cheaper than to look for a turn (store.turns); on PostgreSQL the changes of one tenant queue here, not for its row.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import event, select, update
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    InvalidatePoolError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from tms_ca.core.errors import Unavailable
from tms_ca.core.model import Event
from tms_ca.store import again, deadline, postgres, sqlite, turns
from tms_ca.store.chainwriter import ChainWriter
from tms_ca.store.counts import grown
from tms_ca.store.postgres import Connector, postgres_url
from tms_ca.store.postgres_still import Still
from tms_ca.store.standstill import Standstill, StandstillFile
from tms_ca.store.tables import tenants


@dataclass(slots=True)
class Transaction:
    """An open transaction; events recorded in it become durable with it or not at all."""

    connection: AsyncConnection
    before: int | None = None  # the tenant's epoch before this change, where `change` was asked to look
    events: list[Event] = field(default_factory=list)

    def record(self, event_: Event) -> None:
        """Add an audit event to this transaction."""
        self.events.append(event_)


def database_url(text: str) -> URL:
    """Return `text` as a URL with the async driver named.

    Raises:
        ValueError: neither sqlite:///PATH nor postgresql://..., or a parameter that is not taken

    """
    expected = "expected sqlite:///PATH or postgresql://USER@HOST/NAME"
    if text.partition("://")[0] in {"postgresql", "postgres", "postgresql+asyncpg"}:
        return postgres_url(text)
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ValueError(f"{expected}, got something that is no URL") from error
    if url.drivername in {"sqlite", "sqlite+aiosqlite"} and url.database:
        return url.set(drivername="sqlite+aiosqlite")
    raise ValueError(f"{expected}, got {url.render_as_string()!r}")


def make_engine(url: URL, answer_seconds: float | None = None) -> AsyncEngine:
    """Return an engine whose transactions behave alike on both databases.

    `answer_seconds` is how long PostgreSQL's answer to a statement is waited for, where that is not the usual.
    """
    if url.get_backend_name() != "sqlite":
        return _postgres_engine(Connector(url, answer_seconds))
    engine = create_async_engine(
        url, async_creator=partial(sqlite.connect, url),
        pool_size=4, max_overflow=0, pool_timeout=turns.BUSY_SECONDS,
    )  # fmt: skip
    event.listen(engine.sync_engine, "begin", turns.begin)
    return engine


def _postgres_engine(connector: Connector) -> AsyncEngine:
    async def connect(*_: object, **__: object) -> Any:
        return await connector.connect()

    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=connect,
        pool_size=16, max_overflow=0, pool_timeout=postgres.ANSWER_SECONDS,
        pool_use_lifo=True,  # the last that was used knows the statements: to prepare them costs more than to run them
    )  # fmt: skip

    @event.listens_for(engine.sync_engine, "checkout")
    def on_checkout(connection: Any, *_: object) -> None:
        # A server that went away has ended all its connections; asking each whether it lives would cost a round trip.
        if connection.driver_connection.is_closed():
            raise InvalidatePoolError

    still = Still(connector)

    @event.listens_for(engine.sync_engine, "handle_error")
    def on_error(context: ExceptionContext) -> None:
        still.noticed(context.original_exception)

    return engine


class Database:
    """An open database with the audit chain of this process's changes."""

    def __init__(self, url: URL, chain: ChainWriter) -> None:
        self.url = url
        self.chain = chain
        self.engine = make_engine(url)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.write_lock = asyncio.Lock()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # of changes, by tenant
        self.standstill = Standstill(self._keep_still)
        self._others = StandstillFile(Path(url.database or "").parent / ".standstill.lock") if self.is_sqlite else None

    def exclusive(self) -> AbstractAsyncContextManager[object]:
        """Return what a writer holds: the queue for the one writer of SQLite, nothing on PostgreSQL."""
        return self.write_lock if self.is_sqlite else nullcontext()

    async def begin(self, chain: ChainWriter) -> None:
        """Put `chain` into the database, once, on SQLite; on PostgreSQL the hot path does it by itself.

        Raises:
            Unavailable: the database cannot be reached

        """
        async with self._translated(), self.exclusive(), chain.lock:
            if not chain.registered:
                with chain.committing():
                    async with self._begun() as connection:
                        await chain.register(connection)
                chain.registered = True

    async def close(self) -> None:
        """Close every connection."""
        await self.standstill.close()
        await self.engine.dispose()
        if self._others is not None:
            self._others.close()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection inside one read transaction."""
        async with self._translated(), self._connected() as connection:
            yield await connection.execution_options(reading=True)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Yield a transaction that changes nothing that a decision rests on; see `change`."""
        async with self._translated(), self.exclusive():
            async with self._begun() as connection:
                transaction = Transaction(connection)
                yield transaction
                if not transaction.events:
                    await connection.commit()
                else:
                    # The lock stays until the commit is known, so that the next event follows what is really there.
                    async with self.chain.lock:
                        placed = await self.chain.write(connection, transaction.events)
                        with self.chain.committing():
                            await connection.commit()
                        self.chain.moved(placed)
            again.note_commit()

    @asynccontextmanager
    async def change(self, tenant: str, *, look: bool = False) -> AsyncIterator[Transaction]:
        """Yield a transaction that changes `tenant`: its epoch grows first; `look` at it before, under its lock."""
        await self._pass(tenant)
        async with self._turn(tenant), self.transaction() as transaction:
            if look:
                row = select(tenants.c.epoch).where(tenants.c.tenant == tenant).with_for_update()
                transaction.before = (await transaction.connection.execute(row)).scalar_one_or_none()
            await transaction.connection.execute(
                update(tenants).where(tenants.c.tenant == tenant).values(epoch=grown(tenants.c.epoch))
            )
            yield transaction

    @asynccontextmanager
    async def _turn(self, tenant: str) -> AsyncIterator[None]:
        """Let the changes of a tenant by this process come one after the other, in order; SQLite has one writer anyway.

        Whoever waits for the row itself does so on a connection, which others then lack, and in a statement whose time
        runs out although nothing is wrong but a long queue.
        """
        if self.is_sqlite:
            yield
            return
        turn = self._turns.setdefault(tenant, asyncio.Lock())
        async with self._translated():
            await turn.acquire()
        try:
            yield
        finally:
            turn.release()

    async def _pass(self, tenant: str) -> None:
        if not await self.standstill.passed(tenant) and self._others is not None:
            await self._others.passed(tenant)

    @asynccontextmanager
    async def _keep_still(self, tenant: str) -> AsyncIterator[None]:
        if self._others is not None:
            with self._others.held(tenant):
                async with self.write_lock:
                    pass  # the changes that were there before are done
                yield
            return
        row = select(tenants.c.epoch).where(tenants.c.tenant == tenant).with_for_update(read=True)
        async with self._translated(), self._begun() as connection:
            await connection.execute(row)
            yield

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        # The time for a turn in the pool and for connecting, together; the statements have theirs.
        async with asyncio.timeout(None if self.is_sqlite else postgres.ANSWER_SECONDS):
            connection = await self.engine.connect()
        try:
            yield connection
        finally:
            # Shielded: a request that is cancelled here must not keep its place in the pool.
            await asyncio.shield(asyncio.create_task(connection.close()))

    @asynccontextmanager
    async def _begun(self) -> AsyncIterator[AsyncConnection]:
        async with self._connected() as connection, connection.begin():
            try:
                yield connection
            except asyncio.CancelledError:
                if not self.is_sqlite:
                    await connection.invalidate()  # hanging up rolls back, too, and waits for no answer
                raise

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(None if self.is_sqlite else deadline.at()):
                yield
        except (IntegrityError, ProgrammingError, DataError, NotSupportedError):
            # A rule of the schema, which the service that knows what it inserted explains; or a bug of ours.
            raise
        except (DBAPIError, PoolTimeoutError, OSError) as error:
            raise again.undone(error) or Unavailable(
                "database_unavailable",
                "the database does not answer; nothing was handed out, and nobody knows whether a change was made: "
                "try again",
                retry_after=2,
            ) from error


def sqlite_url(path: Path) -> str:
    """Return the URL of the database file at `path`."""
    return f"sqlite:///{path}"
