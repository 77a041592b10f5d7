"""What a look at the database's health reads: heads of the audit chains, the newest certificate, the clock."""

from typing import NamedTuple

from sqlalchemy import and_, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.store.tables import audit_chains, audit_events, certificates

MOST_CHAINS = 16  # the youngest: those that are being written


class Head(NamedTuple):
    """Where an audit chain ends."""

    chain: str
    seq: int
    hash: bytes
    mac: bytes
    has_its_event: bool  # the last event is there, or the chain has none


class State(NamedTuple):
    """The database at one moment; times are Unix seconds."""

    heads: list[Head]
    newest_at: int  # when the newest certificate was issued; 0 without any
    database_at: int | None  # None where the database has no clock of its own
    read_only: bool


async def state(connection: AsyncConnection, *, sqlite: bool) -> State:
    """Return how the database stands."""
    chains, events = audit_chains.c, audit_events.c
    last = and_(events.chain == chains.chain, events.seq == chains.head_seq, events.hash == chains.head_hash)
    query = (
        select(
            chains.chain, chains.head_seq, chains.head_hash, chains.head_mac,
            events.seq.is_not(None), chains.head_seq == func.coalesce(chains.start_seq, 0),
        )
        .select_from(audit_chains.outerjoin(audit_events, last))
        .order_by(chains.started_at.desc())
        .limit(MOST_CHAINS)
    )  # fmt: skip
    heads = [Head(row[0], row[1], row[2], row[3], bool(row[4] or row[5])) for row in await connection.execute(query)]
    newest = select(certificates.c.issued_at).order_by(certificates.c.id.desc()).limit(1)
    newest_at = (await connection.execute(newest)).scalar() or 0
    if sqlite:
        return State(heads, newest_at, None, read_only=False)
    own = "SELECT extract(epoch FROM clock_timestamp())::bigint, pg_is_in_recovery()"
    database_at, standby = (await connection.execute(text(own))).one()
    return State(heads, newest_at, database_at, standby)
