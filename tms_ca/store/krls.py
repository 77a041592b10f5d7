"""A tenant's KRL as it was last built, and the changes that the next one is made of.

`krls.wanted` counts the changes; each revoked certificate and key has the number of its change. A process that has
read everything up to one number reads from there on: never what it knows already.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.facts import KeyStanding
from tms_ca.core.model import CaKey
from tms_ca.store import rows
from tms_ca.store.tables import ca_keys, forbidden_keys, krls, revoked_certificates

Batch = Sequence[tuple[str, int, int]]  # CA key's fingerprint, serial, end
AT_A_TIME = 5000  # rows of one answer: the loop has other work in between

_STATE = (krls.c.version, krls.c.changes, krls.c.wanted, krls.c.content, krls.c.generated_at, krls.c.stale_at)


class KrlState(NamedTuple):
    """Where a tenant's KRL stands; times in Unix seconds."""

    version: int
    changes: int  # what the KRL in the database covers
    wanted: int  # what there is
    content: bytes
    generated_at: int
    stale_at: int

    def fresh(self, now: int) -> bool:
        """Tell whether the KRL in the database is the one of `now`."""
        return self.changes == self.wanted and now < self.stale_at


async def state(connection: AsyncConnection, tenant: str) -> KrlState | None:
    """Return how the KRL stands, without its bytes; None for no such tenant."""
    row = (await connection.execute(select(*_STATE).where(krls.c.tenant == tenant))).first()
    return None if row is None else KrlState(*row)


async def states(connection: AsyncConnection, tenants: Sequence[str]) -> dict[str, KrlState]:
    """Return how the KRL of each of a few tenants stands."""
    query = select(krls.c.tenant, *_STATE).where(krls.c.tenant.in_(tenants))
    return {row[0]: KrlState(*row[1:]) for row in await connection.execute(query)}


async def built(connection: AsyncConnection, tenant: str) -> tuple[int, int, bytes]:
    """Return version, time and bytes of the KRL that is kept."""
    query = select(krls.c.version, krls.c.generated_at, krls.c.blob).where(krls.c.tenant == tenant)
    version, generated_at, blob = (await connection.execute(query)).one()
    return version, generated_at, blob


async def save(connection: AsyncConnection, tenant: str, instead_of: int, **values: object) -> bool:
    """Put `values` in the place of the version `instead_of`; False when another process was first."""
    query = update(krls).where(krls.c.tenant == tenant, krls.c.version == instead_of).values(**values)
    return (await connection.execute(query)).rowcount == 1


async def unexpired(connection: AsyncConnection, tenant: str, ended: int, through: int) -> AsyncIterator[Batch]:
    """Yield CA key, serial and end of what ends after `ended` and came with a change up to `through`, in batches."""
    c = revoked_certificates.c
    query = (
        select(c.ca_fingerprint, c.serial, c.valid_before)
        .where(c.tenant == tenant, c.change <= through)
        .order_by(c.valid_before, c.serial)
    )
    after = (ended, 2**63 - 1)
    async for batch in _batches(connection, query, (c.valid_before, c.serial), after, (2, 1)):
        yield batch


async def revoked_since(connection: AsyncConnection, tenant: str, change: int, through: int) -> AsyncIterator[Batch]:
    """Yield CA key, serial and end of what came after `change`, up to `through`, in batches."""
    c = revoked_certificates.c
    query = (
        select(c.ca_fingerprint, c.serial, c.valid_before, c.change)
        .where(c.tenant == tenant, c.change <= through)
        .order_by(c.change, c.serial)
    )
    async for batch in _batches(connection, query, (c.change, c.serial), (change, 2**63 - 1), (3, 1)):
        yield [(row[0], row[1], row[2]) for row in batch]


async def keys_since(
    connection: AsyncConnection, tenant: str, change: int, through: int
) -> AsyncIterator[Sequence[str]]:
    """Yield the fingerprints of the keys that were revoked after `change`, up to `through`, in batches."""
    c = forbidden_keys.c
    query = (
        select(c.fingerprint, c.change)
        .where(c.tenant == tenant, c.standing == KeyStanding.REVOKED, c.change <= through)
        .order_by(c.change, c.fingerprint)
    )
    async for batch in _batches(connection, query, (c.change, c.fingerprint), (change + 1, ""), (1, 0)):
        yield [row[0] for row in batch]


async def _batches(
    connection: AsyncConnection, query: Select[Any], key: Sequence[Any], after: tuple[Any, Any], places: tuple[int, int]
) -> AsyncIterator[Sequence[Any]]:
    """Yield the rows of `query` after the key `after`; `places` says where a row has its key."""
    while True:
        more = query.where(tuple_(*key) > tuple_(*after)).limit(AT_A_TIME)
        batch = (await connection.execute(more)).all()
        if batch:
            yield batch
        if len(batch) < AT_A_TIME:
            return
        after = (batch[-1][places[0]], batch[-1][places[1]])


async def authorities(connection: AsyncConnection, tenant: str) -> list[CaKey]:
    """Return every CA key there is or was: the scopes of the serials."""
    every = select(ca_keys).where(ca_keys.c.tenant == tenant)
    return [rows.CA_KEYS.make(row) for row in (await connection.execute(every)).mappings()]
