"""Reservations: their rows."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.model import Reservation, Selector
from tms_ca.core.record import fields_of
from tms_ca.store.parts import parts
from tms_ca.store.rows import Shelf
from tms_ca.store.tables import account_links, public_keys, reservations


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


async def remove_selected(connection: AsyncConnection, tenant: str, selector: Selector, value: str) -> int:
    """Delete every reservation that rests on what `selector` names, and their children; return how many that were.

    Of a certificate none is known: one that is issued with a reservation is not what the reservation rests on.
    """
    which = _resting(tenant, selector, value)
    if which is None:
        return 0
    c = reservations.c
    gone = delete(reservations).where(c.tenant == tenant, which).returning(c.reservation_id)
    removed = list((await connection.execute(gone)).scalars())
    count = len(removed)
    # A child may rest on another delegation than its parent did.
    for some in parts(removed):
        of = delete(reservations).where(c.tenant == tenant, c.parent_id.in_(some))
        count += (await connection.execute(of)).rowcount
    return count


def _resting(tenant: str, selector: Selector, value: str) -> ColumnElement[bool] | None:
    """Return the condition that `selector` names, such that an index finds the rows; None for what none rests on."""
    c, links, keys = reservations.c, account_links.c, public_keys.c
    if selector is Selector.USER:
        return c.user == value
    if selector is Selector.CLIENT:
        return c.client_id == value
    if selector is Selector.DELEGATION:
        return c.delegation_id == value
    if selector is Selector.PUBLIC_KEY:
        return c.public_key_fingerprint == value
    if selector is Selector.HOST:  # by its users: there is no index on the host
        users = select(links.user).where(links.tenant == tenant, links.host == value)
        return c.user.in_(users) & (c.host == value)
    if selector is Selector.KEY_ID:
        return c.public_key_fingerprint.in_(select(keys.fingerprint).where(keys.tenant == tenant, keys.key_id == value))
    return None
