"""Fill an initialised database with a million certificates and what belongs to them, in about a minute.

    python -m tests.scale.fill URL [--scale 0.1] [--master-key FILE]

Nothing that is there is changed, but the tenant's epoch and its KRL's count of changes; the rows have names of their
own (scale-...). The service must not run meanwhile: indexes are dropped and made anew. With the master key there is an
audit event for each certificate, in sealed chains.
"""

import argparse
import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.schema import CreateIndex, DropIndex

from tests.scale import people
from tests.scale.people import Crowd, Row
from tms_ca.store import tables
from tms_ca.store.chainwriter import event_row
from tms_ca.store.engine import database_url
from tms_ca.vault import load_vault

Rows = Callable[[Crowd], Iterator[Row]]

# In this order nothing refers to what is not there yet.
FILLED: tuple[tuple[Table, Rows], ...] = (
    (tables.clients, people.clients),
    (tables.users, people.users),
    (tables.hosts, people.hosts),
    (tables.forbidden_keys, people.forbidden_keys),
    (tables.credentials, people.credentials),
    (tables.sessions, people.sessions),
    (tables.identities, people.identities),
    (tables.account_links, people.account_links),
    (tables.delegations, people.delegations),
    (tables.certificates, people.certificates),
    (tables.revocations, people.revocations),
    (tables.revoked_certificates, people.revoked_certificates),
)
TENANT = "default"
_CA_KEY = f"SELECT fingerprint FROM ca_keys WHERE tenant = '{TENANT}' AND purpose = 'user' AND state = 'active'"
_WANTED = f"SELECT wanted FROM krls WHERE tenant = '{TENANT}'"
_CHANGED = (
    f"UPDATE tenants SET epoch = epoch + 1 WHERE tenant = '{TENANT}'",
    f"UPDATE krls SET wanted = wanted + 1 WHERE tenant = '{TENANT}'",
)
_AT_ONCE = 20_000


def fill(url: str, *, scale: float = 1.0, master_key: Path | None = None, now: int | None = None) -> None:
    """Add 1,000,000 certificates (times `scale`) and what belongs to them to the tenant `default` at `url`.

    Raises:
        RuntimeError: the database has no tenant `default` with an active CA key: run tms-ca init first

    """
    moment = int(time.time()) if now is None else now
    seal_key = None if master_key is None else load_vault(master_key).audit_key
    target = database_url(url)
    if target.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(str(target.database), isolation_level=None)) as connection:
            _sqlite(connection, scale, moment, seal_key)
    else:
        asyncio.run(_postgres(target, scale, moment, seal_key))


def load(url: str, table: Table, rows: Iterable[Row]) -> None:
    """Insert `rows` into one table, by the quickest way there is; its indexes stay."""
    target = database_url(url)
    if target.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(str(target.database), isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            _insert(connection, table, rows)
            connection.execute("COMMIT")
    else:
        asyncio.run(_load_postgres(target, table, rows))


async def _load_postgres(url: URL, table: Table, rows: Iterable[Row]) -> None:
    connection = await asyncpg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        await _copy(connection, table, rows)
    finally:
        await connection.close()


def _insert(connection: sqlite3.Connection, table: Table, rows: Iterable[Row]) -> None:
    for names, batch in _batches(table, rows):
        columns = ", ".join(f'"{name}"' for name in names)
        connection.executemany(f"INSERT INTO {table.name} ({columns}) VALUES ({', '.join('?' * len(names))})", batch)


async def _copy(connection: Any, table: Table, rows: Iterable[Row]) -> None:
    for names, batch in _batches(table, rows):
        await connection.copy_records_to_table(table.name, records=batch, columns=names)


def _crowd(ca_key: Any, wanted: Any, scale: float, now: int) -> Crowd:
    if ca_key is None or wanted is None:
        raise RuntimeError(f"the database has no tenant {TENANT!r} with an active CA key; run tms-ca init first")
    return Crowd(TENANT, ca_key[0], now, scale, wanted[0] + 1)


def _names(table: Table, row: Mapping[str, object]) -> list[str]:
    """Return the columns that rows of `table` give: all of them, but a number that counts by itself."""
    known = {column.name for column in table.columns}
    needed = {column.name for column in table.columns if not column.nullable and column.name != "id"}
    if set(row) - known or needed - set(row):
        wrong = sorted((set(row) - known) | (needed - set(row)))
        raise RuntimeError(f"tests/scale/people.py and the table {table.name} differ in {wrong}")
    return list(row)


def _batches(table: Table, rows: Iterable[Row]) -> Iterator[tuple[list[str], list[Sequence[object]]]]:
    source = iter(rows)
    while batch := list(islice(source, _AT_ONCE)):
        names = _names(table, batch[0])
        yield names, [tuple(row.values()) for row in batch]


def _content(crowd: Crowd, seal_key: bytes | None) -> Iterator[tuple[Table, Iterable[Row]]]:
    for table, rows in FILLED:
        yield table, rows(crowd)
    if seal_key is not None:
        for head, events in people.chains(crowd, seal_key):
            yield tables.audit_chains, [head]
            yield tables.audit_events, map(event_row, events)


def _indexes(dialect: Any) -> tuple[list[str], list[str]]:
    """Return the statements that drop the big tables' indexes and that make them anew: one sort, not a million seeks."""
    big = [tables.certificates, tables.delegations, tables.account_links, tables.audit_events]
    found = sorted((index for table in big for index in table.indexes), key=lambda index: str(index.name))
    drop = [str(DropIndex(index, if_exists=True).compile(dialect=dialect)) for index in found]
    return drop, [str(CreateIndex(index).compile(dialect=dialect)) for index in found]


def _sqlite(connection: sqlite3.Connection, scale: float, now: int, seal_key: bytes | None) -> None:
    for pragma in ("synchronous=OFF", "cache_size=-262144", "temp_store=MEMORY", "foreign_keys=OFF"):
        connection.execute(f"PRAGMA {pragma}")
    crowd = _crowd(connection.execute(_CA_KEY).fetchone(), connection.execute(_WANTED).fetchone(), scale, now)
    drop, create = _indexes(sqlite.dialect())
    connection.execute("BEGIN IMMEDIATE")
    for statement in drop:
        connection.execute(statement)
    for table, rows in _content(crowd, seal_key):
        _insert(connection, table, rows)
    for statement in (*create, *_CHANGED, "COMMIT", "ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)"):
        connection.execute(statement)


async def _postgres(url: URL, scale: float, now: int, seal_key: bytes | None) -> None:
    connection = await asyncpg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        crowd = _crowd(await connection.fetchrow(_CA_KEY), await connection.fetchrow(_WANTED), scale, now)
        drop, create = _indexes(postgresql.dialect())
        async with connection.transaction():
            await connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
            for statement in drop:
                await connection.execute(statement)
            for table, rows in _content(crowd, seal_key):
                await _copy(connection, table, rows)
            for statement in (*create, *_CHANGED):
                await connection.execute(statement)
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def main() -> None:
    """Fill what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="sqlite:///PATH or postgresql://...")
    parser.add_argument("--scale", type=float, default=1.0, help="1.0 is a million certificates (default)")
    parser.add_argument("--master-key", type=Path, help="also write an audit event for each certificate, sealed")
    options = parser.parse_args()
    began = time.monotonic()
    fill(options.url, scale=options.scale, master_key=options.master_key)
    print(f"filled in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
