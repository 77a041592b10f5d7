"""Passwords, TOTP factors, sessions and the counts of failures."""

from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.model import Session
from tms_ca.core.record import fields_of
from tms_ca.store.tables import sessions, throttles, totp_factors, users
from tms_ca.store.upsert import insert_into


async def password_hash(connection: AsyncConnection, tenant: str, user: str, *, hold: bool = False) -> str | None:
    """Return the stored hash; None for no password and for no user. Held, it stays until the transaction ends."""
    query = select(users.c.password_hash).where(users.c.tenant == tenant, users.c.user == user)
    if hold:
        query = query.with_for_update(read=True)
    found: str | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def add_session(connection: AsyncConnection, digest: bytes, session: Session) -> None:
    """Insert a session."""
    values = {name: getattr(session, name) for name in fields_of(type(session))}
    await connection.execute(insert(sessions).values(digest=digest, **values))


async def session_verified(connection: AsyncConnection, digest: bytes, now: int) -> None:
    """Note that a session has proved the second factor."""
    await connection.execute(update(sessions).where(sessions.c.digest == digest).values(mfa_verified_at=now))


async def end_session(connection: AsyncConnection, digest: bytes) -> None:
    """Delete a session."""
    await connection.execute(delete(sessions).where(sessions.c.digest == digest))


async def end_other_sessions(connection: AsyncConnection, tenant: str, user: str, kept: bytes = b"") -> None:
    """Delete all of a user's sessions, but the one to be kept."""
    await connection.execute(
        delete(sessions).where(sessions.c.tenant == tenant, sessions.c.user == user, sessions.c.digest != kept)
    )


async def end_old_sessions(connection: AsyncConnection, tenant: str, user: str, now: int) -> None:
    """Delete the sessions of a user that have ended."""
    ended = (sessions.c.tenant == tenant) & (sessions.c.user == user) & (sessions.c.expires_at <= now)
    await connection.execute(delete(sessions).where(ended))


async def totp_factor(connection: AsyncConnection, tenant: str, user: str) -> Row[Any] | None:
    """Return the user's factor, confirmed or not."""
    query = select(totp_factors).where(totp_factors.c.tenant == tenant, totp_factors.c.user == user)
    return (await connection.execute(query)).first()


async def remove_totp(connection: AsyncConnection, tenant: str, user: str) -> None:
    """Delete the user's factor."""
    await connection.execute(delete(totp_factors).where(totp_factors.c.tenant == tenant, totp_factors.c.user == user))


async def replace_totp(connection: AsyncConnection, tenant: str, user: str, sealed: bytes, now: int) -> None:
    """Put an unconfirmed factor in the place of any other."""
    await remove_totp(connection, tenant, user)
    await connection.execute(
        insert(totp_factors).values(
            tenant=tenant, user=user, sealed_seed=sealed, last_step=0, confirmed_at=None, created_at=now
        )
    )


async def take_step(connection: AsyncConnection, tenant: str, user: str, step: int, now: int) -> bool:
    """Use up a time step; False when it, or a later one, was used before (RFC 6238 section 5.2)."""
    result = await connection.execute(
        update(totp_factors)
        .where(totp_factors.c.tenant == tenant, totp_factors.c.user == user, totp_factors.c.last_step < step)
        .values(last_step=step)
    )
    if result.rowcount != 1:
        return False
    await connection.execute(
        update(totp_factors)
        .where(totp_factors.c.tenant == tenant, totp_factors.c.user == user, totp_factors.c.confirmed_at.is_(None))
        .values(confirmed_at=now)
    )
    return True


async def failures(connection: AsyncConnection, tenant: str, subject: str) -> tuple[int, int]:
    """Return the failures in a row and when the next guess counts, holding the row until the transaction ends."""
    query = (
        select(throttles.c.failures, throttles.c.retry_at)
        .where(throttles.c.tenant == tenant, throttles.c.subject == subject)
        .with_for_update()
    )
    while True:
        await _ensure(connection, tenant, subject)
        row = (await connection.execute(query)).first()
        if row is not None:  # else upkeep removed it in between
            return row.failures, row.retry_at


async def _ensure(connection: AsyncConnection, tenant: str, subject: str) -> None:
    fresh = insert_into(connection, throttles).values(tenant=tenant, subject=subject, failures=0, retry_at=0)
    await connection.execute(fresh.on_conflict_do_nothing())


async def save_failures(connection: AsyncConnection, tenant: str, subject: str, count: int, retry_at: int) -> None:
    """Keep a count."""
    await connection.execute(
        update(throttles)
        .where(throttles.c.tenant == tenant, throttles.c.subject == subject)
        .values(failures=count, retry_at=retry_at)
    )


async def clear_failures(connection: AsyncConnection, tenant: str, subject: str) -> None:
    """Forget a count; the row stays, because another guess may be holding it."""
    await save_failures(connection, tenant, subject, 0, 0)
