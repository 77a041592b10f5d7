"""CA keys, and the public keys that no certificate may be made for."""

from collections.abc import Sequence

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.facts import KeyStanding
from tms_ca.core.model import CaKey, KeyPurpose, KeyState
from tms_ca.core.record import fields_of
from tms_ca.store.counts import grown
from tms_ca.store.rows import CA_KEYS
from tms_ca.store.tables import ca_keys, certificates, forbidden_keys, krls
from tms_ca.store.upsert import insert_into


async def insert_key(connection: AsyncConnection, key: CaKey, sealed: bytes) -> None:
    """Insert a key with its sealed private half."""
    values = {name: getattr(key, name) for name in fields_of(type(key))}
    await connection.execute(insert(ca_keys).values(**values, sealed_private_key=sealed))


async def sealed(connection: AsyncConnection, tenant: str, fingerprint: str) -> bytes | None:
    """Return the sealed private half of a key."""
    query = select(ca_keys.c.sealed_private_key).where(ca_keys.c.tenant == tenant, ca_keys.c.fingerprint == fingerprint)
    found: bytes | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def any_key(connection: AsyncConnection) -> tuple[str, str] | None:
    """Return tenant and fingerprint of one key, whichever."""
    row = (await connection.execute(select(ca_keys.c.tenant, ca_keys.c.fingerprint).limit(1))).first()
    return None if row is None else (row.tenant, row.fingerprint)


async def all_keys(connection: AsyncConnection, tenant: str) -> list[CaKey]:
    """Return every key of a tenant, oldest first."""
    query = select(ca_keys).where(ca_keys.c.tenant == tenant).order_by(ca_keys.c.created_at, ca_keys.c.fingerprint)
    return [CA_KEYS.make(row) for row in (await connection.execute(query)).mappings()]


async def active(connection: AsyncConnection, tenants: Sequence[str]) -> list[CaKey]:
    """Return the keys that sign for a few tenants."""
    query = select(ca_keys).where(ca_keys.c.tenant.in_(tenants), ca_keys.c.state == KeyState.ACTIVE)
    return [CA_KEYS.make(row) for row in (await connection.execute(query)).mappings()]


async def demote_active(connection: AsyncConnection, tenant: str, purpose: KeyPurpose) -> None:
    """Turn the active key, if any, into a retiring one."""
    await connection.execute(
        update(ca_keys)
        .where(ca_keys.c.tenant == tenant, ca_keys.c.purpose == purpose, ca_keys.c.state == KeyState.ACTIVE)
        .values(state=KeyState.RETIRING)
    )


async def unexpired(connection: AsyncConnection, tenant: str, fingerprint: str, now: int) -> int:
    """Return how many certificates of a key have not ended."""
    query = (
        select(func.count())
        .select_from(certificates)
        .where(
            certificates.c.tenant == tenant,
            certificates.c.ca_fingerprint == fingerprint,
            certificates.c.valid_before > now,
        )
    )
    return int((await connection.execute(query)).scalar_one())


async def forbid(connection: AsyncConnection, fingerprint: str, standing: KeyStanding, tenant: str) -> None:
    """Forbid certificates for a public key; a second time changes nothing."""
    change = None
    if standing is KeyStanding.REVOKED:
        counted = (
            update(krls).where(krls.c.tenant == tenant).values(wanted=grown(krls.c.wanted)).returning(krls.c.wanted)
        )
        change = (await connection.execute(counted)).scalar_one_or_none()
    put = insert_into(connection, forbidden_keys).values(
        fingerprint=fingerprint, standing=standing, tenant=tenant, change=change
    )  # fmt: skip
    key = [column.name for column in forbidden_keys.primary_key]
    await connection.execute(put.on_conflict_do_update(index_elements=key, set_={"change": put.excluded.change}))
