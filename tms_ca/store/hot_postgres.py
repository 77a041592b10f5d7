"""The hot path on PostgreSQL: reads on a few kept connections, a group in one statement on a connection of its own."""

import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import asyncpg
import orjson
from sqlalchemy import insert
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.engine import URL

from tms_ca.store.chainwriter import ChainWriter
from tms_ca.store.group_statement import CERTIFICATES, EVENTS, STATEMENT
from tms_ca.store.hot import Entry, Prepared, SpoiledGroup, place, unavailable
from tms_ca.store.postgres import ERRORS, Connector
from tms_ca.store.postgres_lines import Lines, is_certain, is_spoiled
from tms_ca.store.postgres_still import Still
from tms_ca.store.tables import audit_chains

READERS = 8
_TRIES = 4
_OPENING = ("chain", "writer", "started_at", "head_seq", "head_hash", "head_mac")  # of a chain that begins

# Nothing is wrong with what was asked: asked again, it may well be done. PostgreSQL says so of a deadlock, servers that
# run every transaction serializably also of two that met.
_AGAIN = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


class PostgresDriver:
    """The connections of one process's hot path."""

    gathers = False  # the server works while this process does

    def __init__(self, connector: Connector) -> None:
        self.dialect = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call] # untyped in SQLAlchemy
        still = Still(connector)
        self._readers = Lines(connector, still, READERS)
        self._writer = Lines(connector, still, 1)  # of its own: a group never waits for reads
        self._opening = Prepared(insert(audit_chains).inline(), self.dialect, _OPENING)

    @classmethod
    async def open(cls, url: URL) -> "PostgresDriver":
        """Connect.

        Raises:
            Unavailable: the database cannot be reached

        """
        driver = cls(Connector(url))
        try:
            await driver._readers.open()
            await driver._writer.open()
        except ERRORS as error:
            await driver.close()
            raise unavailable() from error
        return driver

    async def fetch(self, prepared: Prepared, args: Sequence[object]) -> Sequence[Sequence[Any]]:
        """Run a SELECT."""
        try:
            for _ in range(_TRIES - 1):
                with contextlib.suppress(*_AGAIN):
                    return await self._readers.fetch(prepared.sql, args)
            return await self._readers.fetch(prepared.sql, args)
        except ERRORS as error:
            raise unavailable() from error

    def fetch_at_once(self, prepared: Prepared, args: Sequence[object]) -> Sequence[Sequence[Any]]:  # noqa: ARG002 - the protocol's
        """Return nothing: every answer of PostgreSQL must be waited for."""
        return ()

    def version(self) -> None:
        """Return None: only the server knows."""

    async def commit(self, entries: Sequence[Entry], chain: ChainWriter) -> list[bool]:
        """Write a group; where a tenant has changed, or a key is forbidden, once more without what that concerns."""
        seen = _newest(entries)
        forbidden: set[tuple[str, str]] = set()
        try:
            async with chain.lock:
                while True:
                    standing = [_stands(entry, seen, forbidden) for entry in entries]
                    kept = [entry for entry, stands in zip(entries, standing, strict=True) if stands]
                    if not kept:
                        return standing
                    found = await self._write(kept, seen, chain)
                    if found is None:
                        return standing
                    seen, keys = found
                    forbidden |= keys  # at least one tenant's or one key's entries fewer each time: this ends
        except ERRORS as error:
            raise unavailable() from error

    async def _write(
        self, kept: Sequence[Entry], seen: Mapping[str, int], chain: ChainWriter
    ) -> tuple[dict[str, int], set[tuple[str, str]]] | None:
        """Write `kept` where every tenant's epoch is as `seen`, and no key is forbidden: None.

        Else write nothing; return the epochs of `kept` and, as tenants and fingerprints, its forbidden keys.
        """
        if not chain.registered:
            await self._begin(chain)
        placed = place(kept, chain)
        certificates = [entry.certificate for entry in kept if entry.certificate is not None]
        names = list({one.tenant for one in certificates})
        head = [names, [seen[name] for name in names], chain.chain, placed.seq, placed.hash, placed.mac]
        try:
            args = [*head, *CERTIFICATES.lists(certificates), *EVENTS.lists(placed.rows)]
        except orjson.JSONEncodeError as error:
            raise SpoiledGroup from error
        refused: Exception | None = None
        with chain.committing():
            try:
                (unchanged, moved, tenants, epochs, whose, keys), *_ = await self._commit(STATEMENT, args)
            except asyncpg.PostgresError as error:
                if not is_certain(error):
                    raise
                refused = error
            else:
                if unchanged and moved != 1:
                    raise unavailable()  # the chain is no longer in the database: begin another
        if refused is not None:
            raise (SpoiledGroup() if is_spoiled(refused) else unavailable()) from refused
        if not unchanged:
            return dict(zip(tenants, epochs, strict=True)), set(zip(whose, keys, strict=True))
        chain.moved(placed)
        return None

    async def _begin(self, chain: ChainWriter) -> None:
        with chain.committing():
            await self._commit(self._opening.sql, self._opening.args(chain.opening()))
        chain.registered = True

    async def _commit(self, sql: str, args: Sequence[object]) -> Sequence[Any]:
        for _ in range(_TRIES - 1):
            with contextlib.suppress(*_AGAIN):
                return await self._writer.fetch(sql, args)
        return await self._writer.fetch(sql, args)

    async def close(self) -> None:
        """Close every connection."""
        await self._readers.close()
        await self._writer.close()


def _stands(entry: Entry, epochs: Mapping[str, int], forbidden: Collection[tuple[str, str]]) -> bool:
    """Tell whether an entry may be written: its tenant's epoch is what was seen, and its key is not forbidden."""
    one = entry.certificate
    if one is None:
        return True
    return epochs.get(one.tenant) == entry.epoch and (one.tenant, one.public_key_fingerprint) not in forbidden


def _newest(entries: Sequence[Entry]) -> dict[str, int]:
    """Return the newest epoch that was seen of each tenant: epochs only grow, so what saw an older one is void."""
    seen: dict[str, int] = {}
    for entry in entries:
        one = entry.certificate
        if one is not None and entry.epoch >= seen.get(one.tenant, entry.epoch):
            seen[one.tenant] = entry.epoch
    return seen
