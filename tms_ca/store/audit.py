"""Read audit events, and cut the oldest off; only store.chainwriter and store.hot write them."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.model import ChainedEvent
from tms_ca.core.record import fields_of
from tms_ca.store import pages
from tms_ca.store.tables import audit_chains, audit_events

_COLUMNS = [audit_events.c[name] for name in fields_of(ChainedEvent)]
_NEWEST_FIRST = pages.Order(("at_ms", "chain", "seq"), descending=True)
_AT_A_TIME = 1000


async def page(
    connection: AsyncConnection, tenant: str, filters: dict[str, object], before: Sequence[object] | None, limit: int
) -> tuple[list[ChainedEvent], list[object] | None]:
    """Return events of a tenant, newest first, and the key to go on from."""
    found, following = await pages.page(
        connection, select(*_COLUMNS), audit_events, _NEWEST_FIRST, {"tenant": tenant}, filters, before, limit
    )
    return [ChainedEvent(*tuple(row)) for row in found], following


async def hold_still(connection: AsyncConnection) -> None:
    """Let all that follows in this transaction see one moment: chains grow and are pruned meanwhile."""
    if connection.dialect.name == "postgresql":  # SQLite's transactions are so by themselves
        await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))


async def heads(connection: AsyncConnection) -> Sequence[Row[Any]]:
    """Return the head of every chain, oldest first."""
    query = select(audit_chains).order_by(audit_chains.c.started_at, audit_chains.c.chain)
    return (await connection.execute(query)).all()


async def chains_with_events(connection: AsyncConnection) -> list[str]:
    """Return the chain of every event there is."""
    return list((await connection.execute(select(audit_events.c.chain).distinct())).scalars())


async def events(connection: AsyncConnection, chain: str) -> AsyncIterator[ChainedEvent]:
    """Yield the events of a chain in order, a thousand at a time."""
    seq = -(2**62)
    while True:
        query = (
            select(*_COLUMNS)
            .where(audit_events.c.chain == chain, audit_events.c.seq > seq)
            .order_by(audit_events.c.seq)
            .limit(_AT_A_TIME)
        )
        found = [ChainedEvent(*row) for row in await connection.execute(query)]
        for event in found:
            yield event
        if len(found) < _AT_A_TIME:
            return
        seq = found[-1].seq


async def chains_older(connection: AsyncConnection, before: int) -> Sequence[Row[Any]]:
    """Return the head of every chain that was begun before `before` and still has events."""
    c = audit_chains.c
    left = c.head_seq > func.coalesce(c.start_seq, 0)
    query = select(audit_chains).where(c.started_at < before, left).order_by(c.started_at, c.chain)
    return (await connection.execute(query)).all()


async def first_events(connection: AsyncConnection, chain: str, start: int, limit: int) -> list[ChainedEvent]:
    """Return the events of a chain after event `start`, in order."""
    query = (
        select(*_COLUMNS)
        .where(audit_events.c.chain == chain, audit_events.c.seq > start)
        .order_by(audit_events.c.seq)
        .limit(limit)
    )
    return [ChainedEvent(*tuple(row)) for row in await connection.execute(query)]


async def prune(connection: AsyncConnection, chain: str, start: int, last: ChainedEvent, seal: bytes) -> int:
    """Let a chain that begins after event `start` begin after `last`, and delete what lies between; return how many.

    Nothing is deleted when another process has moved the beginning meanwhile.
    """
    c = audit_chains.c
    moved = await connection.execute(
        update(audit_chains)
        .where(c.chain == chain, func.coalesce(c.start_seq, 0) == start, c.head_seq >= last.seq)
        .values(start_seq=last.seq, start_hash=last.hash, start_mac=seal)
    )
    if moved.rowcount != 1:
        return 0
    between = (audit_events.c.chain == chain) & (audit_events.c.seq > start) & (audit_events.c.seq <= last.seq)
    return (await connection.execute(delete(audit_events).where(between))).rowcount
