"""Secrets of machines and admins: digests, never the secrets."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.access import Role
from tms_ca.store.tables import credentials

MOST_HELD = 2  # the old one and the new one, while the new one is rolled out


@dataclass(frozen=True, slots=True)
class Credential:
    """What may be known of a secret."""

    credential_id: str
    created_at: int
    expires_at: int | None
    node: str | None  # of a host: the machine that made it for itself


async def add(
    connection: AsyncConnection, digest: bytes, credential_id: str, role: Role, tenant: str, subject: str, now: int
) -> None:
    """Insert one."""
    await connection.execute(
        insert(credentials).values(
            digest=digest,
            credential_id=credential_id,
            role=role,
            tenant=tenant,
            subject=subject,
            created_at=now,
            expires_at=None,
        )
    )


async def rekey(connection: AsyncConnection, old: bytes, new: bytes) -> bool:
    """Keep a secret under another digest; False when somebody else has done it.

    Raises:
        sqlalchemy.exc.IntegrityError: the new digest is another secret's

    """
    c = credentials.c
    return (await connection.execute(update(credentials).where(c.digest == old).values(digest=new))).rowcount == 1


async def any_of(connection: AsyncConnection, tenant: str, digests: Sequence[bytes]) -> bool:
    """Tell whether somebody in the tenant has one of these secrets."""
    c = credentials.c
    query = select(c.digest).where(c.digest.in_(digests), c.tenant == tenant).limit(1)
    return (await connection.execute(query)).first() is not None


async def held(connection: AsyncConnection, tenant: str, role: Role, subject: str) -> list[Credential]:
    """Return the secrets of one holder, oldest first."""
    c = credentials.c
    query = (
        select(c.credential_id, c.created_at, c.expires_at, c.node)
        .where(c.tenant == tenant, c.role == role, c.subject == subject)
        .order_by(c.created_at, c.credential_id)
    )
    return [Credential(*row) for row in await connection.execute(query)]


async def remove(connection: AsyncConnection, tenant: str, role: Role, subject: str, credential_id: str) -> bool:
    """Delete one; False when it is not there."""
    c = credentials.c
    result = await connection.execute(
        delete(credentials).where(
            c.tenant == tenant, c.role == role, c.subject == subject, c.credential_id == credential_id
        )
    )
    return result.rowcount == 1


async def remove_all(connection: AsyncConnection, tenant: str, role: Role, subject: str) -> None:
    """Delete every secret of one holder."""
    c = credentials.c
    await connection.execute(delete(credentials).where(c.tenant == tenant, c.role == role, c.subject == subject))
