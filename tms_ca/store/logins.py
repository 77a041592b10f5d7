"""Login records, the count of a delegation's logins, and the facts of a login inside a transaction."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.facts import LoginFacts
from tms_ca.core.keylogin import KeyFacts
from tms_ca.core.model import Login
from tms_ca.core.record import fields_of
from tms_ca.store import facts_sql, pages, plainkeys
from tms_ca.store.facts import login_facts
from tms_ca.store.parts import parts
from tms_ca.store.tables import certificates, delegations, logins, public_keys, tenants

LOST = "lost"  # the reason of an end that nobody reported: the node no longer has the session
MOST_OPEN = 10_000  # sessions of a node that are looked at
_NEWEST_FIRST = pages.Order(("id",), (("delegation_id",), ("user",), ("host",), ("client_id",)), descending=True)
_LOGIN = facts_sql.login()
_FIELDS = fields_of(Login)


def _login(row: Any) -> Login:
    return Login(**{name: row[name] for name in _FIELDS})


async def find(connection: AsyncConnection, tenant: str, host: str, login_id: str) -> Login | None:
    """Return the record of a login of this host."""
    c = logins.c
    query = select(logins).where(c.tenant == tenant, c.host == host, c.login_id == login_id)
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else _login(row)


async def hold_tenant(connection: AsyncConnection, tenant: str) -> None:
    """Let changes of the tenant wait until this transaction is done (SQLite: there is no other writer anyway)."""
    await connection.execute(select(tenants.c.epoch).where(tenants.c.tenant == tenant).with_for_update(read=True))


async def facts_within(connection: AsyncConnection, tenant: str, host: str, serial: int) -> LoginFacts | None:
    """Return the facts of a login as this transaction sees them; None when there is no such tenant."""
    statement = _LOGIN.params(tenant=tenant, host=host, serial=serial)
    row = (await connection.execute(statement)).first()
    # What SQLAlchemy has read of JSON is text again, as the drivers beneath it have it.
    return None if row is None else login_facts([_text(value) for value in row])


async def key_facts_within(connection: AsyncConnection, tenant: str, host: str, fingerprint: str) -> KeyFacts | None:
    """Return the facts of a plain key's login, as `facts_within` does."""
    statement = plainkeys.FACTS.params(tenant=tenant, host=host, fingerprint=fingerprint)
    row = (await connection.execute(statement)).first()
    return None if row is None else plainkeys.key_facts([_text(value) for value in row])


def _text(value: object) -> object:
    return json.dumps(value) if isinstance(value, list | dict) else value


async def take_use(connection: AsyncConnection, tenant: str, delegation_id: str) -> int | None:
    """Count a login against its delegation; return how many are left, None where none was."""
    c = delegations.c
    taken = (
        update(delegations)
        .where(c.tenant == tenant, c.delegation_id == delegation_id, c.uses_left > 0)
        .values(uses_left=c.uses_left - 1)
        .returning(c.uses_left)
    )
    left: int | None = (await connection.execute(taken)).scalar_one_or_none()
    return left


async def take_key_use(connection: AsyncConnection, tenant: str, fingerprint: str, key_id: str) -> int | None:
    """Count a login against its plain key; return how many are left, None where none was.

    `used_at` stays: it makes one use of what machines ask that report no logins, and this login is a use by itself.
    """
    c = public_keys.c
    which = (c.tenant == tenant, c.fingerprint == fingerprint, c.key_id == key_id, c.revocation_id.is_(None))
    taken = update(public_keys).where(*which, c.uses_left > 0).values(uses_left=c.uses_left - 1).returning(c.uses_left)
    left: int | None = (await connection.execute(taken)).scalar_one_or_none()
    return left


async def key_id_of(connection: AsyncConnection, serial: int) -> str:
    """Return the key ID of a certificate on record."""
    query = select(certificates.c.key_id).where(certificates.c.serial == serial)
    return str((await connection.execute(query)).scalar_one())


async def add(connection: AsyncConnection, **values: object) -> None:
    """Insert a login.

    Raises:
        sqlalchemy.exc.IntegrityError: the host has told of it before

    """
    await connection.execute(insert(logins).values(**values))


async def end(connection: AsyncConnection, number: int, ended_at: int, reason: str) -> bool:
    """Put the end of one on record; False where an end that was told of stands."""
    open_ = logins.c.ended_at.is_(None) | (logins.c.end_reason == LOST)
    return bool(await _settle(connection, [number], open_, ended_at=ended_at, end_reason=reason))


async def tell(connection: AsyncConnection, ids: Sequence[int], now: int) -> list[str]:
    """Note of those that were never told of that they must end; return their login ids."""
    return await _settle(connection, ids, logins.c.told_at.is_(None), told_at=now)


async def told_since(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, int]:
    """Return when each was told of first, by its number."""
    found: dict[int, int] = {}
    for some in parts(ids):
        query = select(logins.c.id, logins.c.told_at).where(logins.c.id.in_(some))
        found |= {row.id: row.told_at for row in await connection.execute(query)}
    return found


async def lose(connection: AsyncConnection, ids: Sequence[int], now: int) -> list[str]:
    """Close as lost those that nobody has closed meanwhile; return their login ids."""
    return await _settle(connection, ids, logins.c.ended_at.is_(None), ended_at=now, end_reason=LOST)


async def take_back(connection: AsyncConnection, ids: Sequence[int]) -> list[str]:
    """Open again those that are closed as lost, and no better known meanwhile; return their login ids."""
    return await _settle(connection, ids, logins.c.end_reason == LOST, ended_at=None, end_reason=None)


async def _settle(
    connection: AsyncConnection, ids: Sequence[int], still: ColumnElement[bool], **values: object
) -> list[str]:
    found: list[str] = []
    for some in parts(ids):
        which = update(logins).where(logins.c.id.in_(some), still).values(**values).returning(logins.c.login_id)
        found += (await connection.execute(which)).scalars()
    return found


async def open_of_node(connection: AsyncConnection, tenant: str, host: str, node: str) -> list[Login]:
    """Return the logins of a node that have not ended, oldest first."""
    c = logins.c
    query = (
        select(logins)
        .where(c.tenant == tenant, c.host == host, c.node == node, c.ended_at.is_(None))
        .order_by(c.id)
        .limit(MOST_OPEN)
    )
    return [_login(row) for row in (await connection.execute(query)).mappings()]


async def lost_of(
    connection: AsyncConnection, tenant: str, host: str, node: str, login_ids: Sequence[str]
) -> list[Login]:
    """Return those of `login_ids` that were closed because the node had not named them."""
    if not login_ids:
        return []
    c = logins.c
    query = select(logins).where(
        c.tenant == tenant, c.host == host, c.login_id.in_(login_ids), c.node == node, c.end_reason == LOST
    )
    return [_login(row) for row in (await connection.execute(query)).mappings()]


async def page(
    connection: AsyncConnection, tenant: str, filters: Mapping[str, object], before: int | None, limit: int
) -> tuple[list[Login], int | None]:
    """Return logins, newest first, from below row `before`; and the row to go on from."""
    found, following = await pages.page(
        connection,
        select(logins),
        logins,
        _NEWEST_FIRST,
        {"tenant": tenant},
        filters,
        None if before is None else [before],
        limit,
    )
    return (
        [_login(row._mapping) for row in found],  # noqa: SLF001 - SQLAlchemy's documented name
        None if following is None else int(str(following[0])),
    )
