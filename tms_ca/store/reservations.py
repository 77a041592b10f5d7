"""Reservations: their rows."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.model import Reservation
from tms_ca.core.record import fields_of
from tms_ca.store.rows import Shelf
from tms_ca.store.tables import reservations


def _reservation(row: Mapping[Any, Any]) -> Reservation:
    return Reservation(**{name: row[name] for name in fields_of(Reservation)})


RESERVATIONS = Shelf[Reservation](
    "reservation", reservations, ("tenant", "reservation_id"), _reservation, (("client_id",), ("user",))
)


async def add(connection: AsyncConnection, made: Reservation) -> None:
    """Insert one."""
    await RESERVATIONS.add(connection, **{name: getattr(made, name) for name in fields_of(Reservation)})


async def live_of_user(connection: AsyncConnection, tenant: str, user: str, now: int, limit: int) -> list[Reservation]:
    """Return up to `limit` reservations of a user that have not ended, the last to end first."""
    c = reservations.c
    query = select(reservations).where(c.tenant == tenant, c.user == user, c.expires_at > now)
    ordered = query.order_by(c.expires_at.desc(), c.reservation_id).limit(limit)
    return [_reservation(row) for row in (await connection.execute(ordered)).mappings()]


async def end_children(connection: AsyncConnection, tenant: str, parent_id: str, now: int) -> int:
    """Let the children of a reservation end now; return how many had not ended."""
    c = reservations.c
    which = (c.tenant == tenant, c.parent_id == parent_id, c.expires_at > now)
    return (await connection.execute(update(reservations).where(*which).values(expires_at=now))).rowcount


async def remove_related(connection: AsyncConnection, tenant: str, reservation_id: str) -> int:
    """Delete a reservation and its children; return how many that were."""
    c, removed = reservations.c, 0
    for which in (c.reservation_id == reservation_id, c.parent_id == reservation_id):  # each by an index of its own
        removed += (await connection.execute(delete(reservations).where(c.tenant == tenant, which))).rowcount
    return removed


async def remove_of_user(connection: AsyncConnection, tenant: str, user: str) -> int:
    """Delete every reservation of a user; return how many that were."""
    c = reservations.c
    return (await connection.execute(delete(reservations).where(c.tenant == tenant, c.user == user))).rowcount
