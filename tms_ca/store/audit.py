"""Read audit events; only store.chainwriter and store.hot write them."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import select
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
