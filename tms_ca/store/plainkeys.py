"""Escrowed public keys: their rows, and the facts of a login with one."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, case, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.keylogin import USE_SECONDS, EscrowedKey, KeyFacts
from tms_ca.core.model import PublicKeyRecord, Selector
from tms_ca.core.record import fields_of
from tms_ca.store import facts_sql
from tms_ca.store.facts import login_facts
from tms_ca.store.hot import HotDriver, Prepared
from tms_ca.store.rows import Shelf
from tms_ca.store.tables import public_keys, tenants
from tms_ca.store.upsert import insert_into

_AROUND = 32  # columns of `facts_sql.plain_key` that are those of a login, too
_COLUMNS = (
    public_keys.c.key_id,
    public_keys.c.user,
    public_keys.c.client_id,
    public_keys.c.host,
    public_keys.c.account,
    public_keys.c.delegation_id,
    public_keys.c.key_type,
    public_keys.c.public_key,
    public_keys.c.critical_options,
    public_keys.c.extensions,
    public_keys.c.valid_after,
    public_keys.c.expires_at,
    public_keys.c.uses_left,
    public_keys.c.used_at,
    public_keys.c.revocation_id,
)
_SELECTED = {
    Selector.PUBLIC_KEY: public_keys.c.fingerprint,
    Selector.KEY_ID: public_keys.c.key_id,
    Selector.USER: public_keys.c.user,
    Selector.CLIENT: public_keys.c.client_id,
    Selector.DELEGATION: public_keys.c.delegation_id,
    Selector.HOST: public_keys.c.host,
}


def _key(row: Any) -> PublicKeyRecord:
    fields = {name: row[name] for name in fields_of(PublicKeyRecord)}
    fields["critical_options"] = tuple((name, value) for name, value in row["critical_options"])
    fields["extensions"] = tuple(row["extensions"])
    return PublicKeyRecord(**fields)


KEYS = Shelf[PublicKeyRecord](
    "public key",
    public_keys,
    ("tenant", "fingerprint"),
    _key,
    (("delegation_id",), ("user",), ("host",), ("client_id",)),
)


def _escrowed(row: Sequence[Any]) -> EscrowedKey | None:
    if row[0] is None:
        return None
    options = tuple((name, value) for name, value in json.loads(row[8]))
    values = [*row[:8], options, tuple(json.loads(row[9])), *row[10:14], row[14] is not None]
    return EscrowedKey(*values)


FACTS = facts_sql.plain_key(_COLUMNS)  # what a plain key's login rests on: a row for `key_facts`


def key_facts(row: Sequence[Any]) -> KeyFacts:
    """Return the facts of a row of FACTS, as `login_facts` takes one."""
    return KeyFacts(_escrowed(row[_AROUND + 1 :]), login_facts((*row[:_AROUND], None)), row[_AROUND])


class KeyFactsReader:
    """Fetch the facts of a plain key's login, in one round trip."""

    def __init__(self, driver: HotDriver) -> None:
        self._driver = driver
        self._prepared = Prepared(FACTS, driver.dialect)

    async def get(self, tenant: str, host: str, fingerprint: str) -> KeyFacts | None:
        """Return them; None when there is no such tenant.

        Raises:
            Unavailable: the database does not answer

        """
        args = self._prepared.args({"tenant": tenant, "host": host, "fingerprint": fingerprint})
        rows = await self._driver.fetch(self._prepared, args)
        return key_facts(rows[0]) if rows else None


async def epoch_held(connection: AsyncConnection, tenant: str) -> int | None:
    """Return the tenant's count of changes, which stands until this transaction is done; None for no such tenant."""
    query = select(tenants.c.epoch).where(tenants.c.tenant == tenant).with_for_update(read=True)
    found: int | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def put(connection: AsyncConnection, key: PublicKeyRecord, instead_of: str | None) -> bool:
    """Insert a key, or replace the one with the key ID `instead_of`; False where what is there is not so any more."""
    values = {name: getattr(key, name) for name in fields_of(PublicKeyRecord)}
    if instead_of is not None:
        which = KEYS.where(key.tenant, key.fingerprint) & (public_keys.c.key_id == instead_of)
        return (await connection.execute(update(public_keys).where(which).values(**values))).rowcount == 1
    fresh = insert_into(connection, public_keys).values(**values).on_conflict_do_nothing(index_elements=KEYS.key)
    return (await connection.execute(fresh)).rowcount == 1


async def take_use(connection: AsyncConnection, tenant: str, fingerprint: str, key_id: str, now: int) -> int | None:
    """Take one of a key's uses; return how many are left, None where there was none to take.

    Within USE_SECONDS of the one before, it is the same use.
    """
    c = public_keys.c
    which = (c.tenant == tenant, c.fingerprint == fingerprint, c.key_id == key_id, c.revocation_id.is_(None))
    taken = (
        update(public_keys)
        .where(*which, c.uses_left > 0, or_(c.used_at.is_(None), c.used_at <= now - USE_SECONDS, c.used_at > now))
        .values(uses_left=c.uses_left - 1, used_at=now)
        .returning(c.uses_left)
    )
    left: int | None = (await connection.execute(taken)).scalar_one_or_none()
    if left is not None:
        return left
    same = select(c.uses_left).where(*which, c.used_at > now - USE_SECONDS, c.used_at <= now)
    found: int | None = (await connection.execute(same)).scalar_one_or_none()
    return found


async def change(
    connection: AsyncConnection,
    key: PublicKeyRecord,
    now: int,
    *,
    max_uses: int | None,
    expires_at: int | None,
) -> PublicKeyRecord | None:
    """Set how many uses a key is for and when it ends, None leaving it; return the key as it is then, None if gone.

    What was used stays used. One statement: a use that is taken at the same moment is counted before or after it.
    """
    c = public_keys.c
    values: dict[str, Any] = {"updated_at": now}
    if expires_at is not None:
        values["expires_at"] = expires_at
    if max_uses is not None:
        used = func.coalesce(c.max_uses - c.uses_left, 0)
        values |= {"max_uses": max_uses, "uses_left": case((used < max_uses, max_uses - used), else_=0)}
    which = KEYS.where(key.tenant, key.fingerprint) & (c.key_id == key.key_id)
    done = await connection.execute(update(public_keys).where(which).values(**values).returning(public_keys))
    row = done.mappings().first()
    return None if row is None else _key(row)


def _which(tenant: str, selector: Selector, value: str) -> ColumnElement[bool] | None:
    column = _SELECTED.get(selector)
    return None if column is None else (public_keys.c.tenant == tenant) & (column == value)


async def end_selected(
    connection: AsyncConnection, tenant: str, selector: Selector, value: str, revocation_id: str, now: int
) -> int:
    """Revoke, for good, every key that `selector` names; return how many had not ended."""
    which = _which(tenant, selector, value)
    if which is None:
        return 0
    standing = which & public_keys.c.revocation_id.is_(None)
    revoked = update(public_keys).values(revocation_id=revocation_id)
    ended = (await connection.execute(revoked.where(standing, public_keys.c.expires_at > now))).rowcount
    # One whose time is over opens nothing, but it could be given more time.
    await connection.execute(revoked.where(standing))
    return ended


async def selects_any(connection: AsyncConnection, tenant: str, selector: Selector, value: str, **owner: str) -> bool:
    """Tell whether `selector` names a key at all; `owner` is a column and whose it must be."""
    which = _which(tenant, selector, value)
    if which is None:
        return False
    query = select(public_keys.c.key_id).where(which, *(public_keys.c[name] == is_ for name, is_ in owner.items()))
    return (await connection.execute(query.limit(1))).first() is not None
