"""What the tests of the API read straight from the database, with nothing of our own between."""

import asyncio
import sqlite3

import asyncpg

from tms_ca.store.tables import metadata

CHANGES_BY_ASKING = {"audit_events", "audit_chains"}


async def query(world, sql):
    """Return the rows of a statement."""
    url = world.settings.database_url
    if url.startswith("sqlite:///"):

        def run():
            connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60)
            try:
                return connection.execute(sql).fetchall()
            finally:
                connection.close()

        return await asyncio.to_thread(run)
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


async def snapshot(world):
    """Return all rows of all tables but the audit log."""
    return {
        table: sorted(map(repr, await query(world, f'SELECT * FROM "{table}"')))
        for table in metadata.tables
        if table not in CHANGES_BY_ASKING
    }


async def everything(world):
    """Return all rows of all tables."""
    return {table: await query(world, f'SELECT * FROM "{table}"') for table in metadata.tables}


async def events(world, **wanted):
    """Return the audit events whose columns are as `wanted`, oldest first."""
    names = ("tenant", "actor", "action", "outcome", "target", "detail", "request_id")
    rows = await query(world, f"SELECT {', '.join(names)} FROM audit_events ORDER BY at_ms, chain, seq")
    found = [dict(zip(names, row, strict=True)) for row in rows]
    return [one for one in found if all(one[name] == value for name, value in wanted.items())]
