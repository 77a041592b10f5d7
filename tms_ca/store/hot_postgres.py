"""The hot path on PostgreSQL: a pool of asyncpg, a group as one transaction."""

from collections.abc import Sequence
from typing import Any

import asyncpg
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.engine import URL

from tms_ca.store.chainwriter import ChainWriter, event_row
from tms_ca.store.engine import BUSY_SECONDS
from tms_ca.store.hot import Entry, HotStatements, Prepared, SpoiledGroup, place, standing_of, tenants_of, unavailable
from tms_ca.store.rows import certificate_row


class PostgresDriver:
    """A pool of asyncpg; a group is one transaction."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self.dialect = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call] # untyped in SQLAlchemy
        self._pool = pool
        self._statements = HotStatements(self.dialect)

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
            raise unavailable() from error

    async def fetch(self, prepared: Prepared, args: Sequence[object]) -> Sequence[Sequence[Any]]:
        """Run a SELECT."""
        try:
            rows: Sequence[Sequence[Any]] = await self._pool.fetch(prepared.sql, *args)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            raise unavailable() from error
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
                    for tenant in tenants_of(entries):
                        epochs.update(await connection.fetch(statements.epoch_locked.sql, tenant))
                    standing = standing_of(entries, epochs)
                    kept = [entry for entry, stands in zip(entries, standing, strict=True) if stands]
                    if not kept:
                        await transaction.rollback()
                        return standing
                    args = statements.certificate.args
                    rows = [args(certificate_row(e.certificate)) for e in kept if e.certificate is not None]
                    if rows:
                        await connection.executemany(statements.certificate.sql, rows)
                    async with chain.lock:
                        placed = place(kept, chain)
                        args = statements.event.args
                        await connection.executemany(
                            statements.event.sql, [args(event_row(row)) for row in placed.rows]
                        )
                        await connection.execute(statements.head.sql, *statements.head.args(chain.head_params(placed)))
                        with chain.committing():
                            await transaction.commit()
                        chain.moved(placed)
                except BaseException:
                    if not connection.is_closed() and connection.is_in_transaction():
                        await transaction.rollback()
                    raise
                return standing
        except asyncpg.IntegrityConstraintViolationError as error:
            raise SpoiledGroup from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            raise unavailable() from error

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.close()
