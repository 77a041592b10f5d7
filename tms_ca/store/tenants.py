"""What is in a tenant, and what goes with it though no foreign key takes it along."""

from sqlalchemy import ColumnElement, Table, delete, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.access import Role
from tms_ca.store import tables

# In the order of the old server's wipe, and what it counted, by the names that it has on the wire.
COUNTED = {
    "reservations": tables.reservations, "pubkeys": tables.public_keys, "delegations": tables.delegations,
    "user_hosts": tables.account_links, "user_mfa": tables.users, "clients": tables.clients,
    "hosts": tables.tms_v1_hosts, "admins": tables.admins,
}  # fmt: skip
# Without a foreign key to the tenant, because operators have rows in some of them.
_LOOSE = (tables.admins, tables.credentials, tables.throttles, tables.tms_v1_numbers)


async def counts(connection: AsyncConnection, tenant: str) -> dict[str, int]:
    """Return how many rows there are of what the TMS server had tables for, by its names."""
    return {name: await _count(connection, table, tenant) for name, table in COUNTED.items()}


async def enrolled_hosts(connection: AsyncConnection, tenant: str) -> int:
    """Return how many hosts have a credential: the others are but names that account links brought along."""
    c = tables.credentials.c
    query = select(func.count(c.subject.distinct())).where(c.tenant == tenant, c.role == Role.HOST)
    return int((await connection.execute(query)).scalar_one())


async def remove_loose(connection: AsyncConnection, tenant: str) -> None:
    """Delete what would stay when the tenant's row goes; history stays on purpose."""
    for table in _LOOSE:
        await connection.execute(delete(table).where(_of(table, tenant)))


async def client_of(connection: AsyncConnection, tenant: str, app_name: str, app_version: str) -> str | None:
    """Return the client that is registered for a version of an application."""
    c = tables.clients.c
    query = select(c.client_id).where(c.tenant == tenant, c.app_name == app_name, c.app_version == app_version)
    found: str | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def has_history(connection: AsyncConnection, tenant: str) -> bool:
    """Tell whether there are records of a tenant, whether or not it is there itself.

    A stranger's refusals are none: anybody can have some written under any name.
    """
    events = tables.audit_events.c
    return (
        await _any(connection, _of(tables.certificates, tenant))
        or await _any(connection, _of(tables.logins, tenant))
        or await _any(connection, (events.tenant == tenant) & (events.actor != "anyone"))
    )


async def client_has_history(connection: AsyncConnection, tenant: str, client_id: str) -> bool:
    """Tell whether there are certificates or logins of a client, whether or not it is there itself."""
    for table in (tables.certificates, tables.logins):
        if await _any(connection, _of(table, tenant) & (table.c["client_id"] == client_id)):
            return True
    return False


async def _any(connection: AsyncConnection, which: ColumnElement[bool]) -> bool:
    return (await connection.execute(select(literal_column("1")).where(which).limit(1))).first() is not None


def _of(table: Table, tenant: str) -> ColumnElement[bool]:
    return table.c["tenant"] == tenant


async def _count(connection: AsyncConnection, table: Table, tenant: str) -> int:
    query = select(func.count()).select_from(table).where(_of(table, tenant))
    return int((await connection.execute(query)).scalar_one())
