"""The head of this process's audit chain, and the statements that move it."""

import asyncio
import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import bindparam, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.chain import GENESIS, append, head_mac
from tms_ca.core.model import ChainedEvent, Event
from tms_ca.core.record import fields_of, record
from tms_ca.store.tables import audit_chains, audit_events

_EVENT_FIELDS = fields_of(ChainedEvent)
INSERT_EVENT = insert(audit_events)
MOVE_HEAD = (
    update(audit_chains)
    .where(audit_chains.c.chain == bindparam("of_chain"))
    .values(head_seq=bindparam("to_seq"), head_hash=bindparam("to_hash"), head_mac=bindparam("to_mac"))
)


@record
class Placed:
    """Events with their places, and the head that they make."""

    rows: list[ChainedEvent]
    seq: int
    hash: bytes
    mac: bytes


def event_row(event: ChainedEvent) -> dict[str, object]:
    """Return the row of `event`."""
    return {name: getattr(event, name) for name in _EVENT_FIELDS}


class ChainWriter:
    """One writing process's chain: `lock` is held from `place` until the commit, then `moved` makes it so.

    Lock order: whatever the database locks comes before `lock`, nothing of the database is waited for inside it.
    """

    def __init__(self, seal_key: bytes, started_at: int) -> None:
        self.writer = f"{socket.gethostname()}:{os.getpid()}"
        self.started_at = started_at
        self.lock = asyncio.Lock()
        self._seal_key = seal_key
        self._begin()

    def _begin(self) -> None:
        self.chain = secrets.token_hex(8)
        self.registered = False  # a process that only reads begins no chain
        self._seq = 0
        self._hash = GENESIS

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Hold what commits: where it fails, nobody knows what became of it, and the next event begins another chain.

        Either way the old chain is whole: its events and its head were in the one commit.
        """
        try:
            yield
        except BaseException:
            self._begin()
            raise

    def place(self, events: Sequence[Event]) -> Placed:
        """Give `events` the next places; nothing has moved until `moved`."""
        rows = append(self.chain, self._seq, self._hash, events)
        last = rows[-1]
        return Placed(rows, last.seq, last.hash, head_mac(self._seal_key, self.chain, last.seq, last.hash))

    def moved(self, placed: Placed) -> None:
        """Take `placed` as durable: its last event is the head now."""
        self.registered = True
        self._seq, self._hash = placed.seq, placed.hash

    def head_params(self, placed: Placed) -> dict[str, object]:
        """Return the parameters of MOVE_HEAD."""
        return {"of_chain": self.chain, "to_seq": placed.seq, "to_hash": placed.hash, "to_mac": placed.mac}

    def opening(self) -> dict[str, object]:
        """Return the row that puts this chain, empty, into the database."""
        return {
            "chain": self.chain,
            "writer": self.writer,
            "started_at": self.started_at,
            "head_seq": 0,
            "head_hash": GENESIS,
            "head_mac": head_mac(self._seal_key, self.chain, 0, GENESIS),
        }

    async def register(self, connection: AsyncConnection) -> None:
        """Insert this chain, empty."""
        await connection.execute(insert(audit_chains).values(**self.opening()))

    async def write(self, connection: AsyncConnection, events: Sequence[Event]) -> Placed:
        """Insert `events` and move the head, within the open transaction of `connection`; the caller holds `lock`."""
        if not self.registered:
            await self.register(connection)
        placed = self.place(events)
        await connection.execute(INSERT_EVENT, [event_row(row) for row in placed.rows])
        await connection.execute(MOVE_HEAD, self.head_params(placed))
        return placed
