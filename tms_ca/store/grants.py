"""What admins' grants need of the database beside the shelves."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, delete, exists, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.model import AccountLink, Delegation, DelegationStatus, User
from tms_ca.core.record import record
from tms_ca.store import rows
from tms_ca.store.tables import (
    account_links,
    delegations,
    identities,
    tms_v1_hosts,
    tms_v1_numbers,
    totp_factors,
    users,
)

ANY = "*"  # the pattern of every host and of every account that is not reserved


@record
class HostAddress:
    """What an admin noted of a host; nothing reads it for a decision."""

    tenant: str
    host: str
    addr: str
    created_at: int


ADDRESSES = rows.Shelf[HostAddress](
    "host address", tms_v1_hosts, ("tenant", "host", "addr"), lambda row: HostAddress(**row)
)


async def link_of(
    connection: AsyncConnection, tenant: str, user: str, host: str, account: str
) -> AccountLink | None:  # fmt: skip
    """Return the link of a user to an account on a host."""
    c = account_links.c
    which = (c.tenant == tenant, c.user == user, c.host == host, c.account == account)
    row = (await connection.execute(select(account_links).where(*which))).mappings().first()
    return None if row is None else rows.LINKS.make(row)


async def wide(
    connection: AsyncConnection, tenant: str, client_id: str | None = None, user: str | None = None
) -> list[Delegation]:
    """Return every approved delegation for any host and account, ended or not: by client, user, the last to end first.

    `client_id` and `user` narrow it.
    """
    c = delegations.c
    query = select(delegations).where(
        c.tenant == tenant, c.host == ANY, c.account == ANY, c.status == DelegationStatus.APPROVED
    )
    if client_id is not None:
        query = query.where(c.client_id == client_id)
    if user is not None:
        query = query.where(c.user == user)
    found = await _all(connection, query, rows.DELEGATIONS)
    return sorted(found, key=lambda one: (one.client_id, one.user, -(one.expires_at or 0), one.delegation_id))


async def has_more_than_a_name(connection: AsyncConnection, found: User) -> bool:
    """Tell whether a user has a password, a second factor, an identity or a standing revocation."""
    if found.revocation_id is not None:
        return True
    mine = [(table.c.tenant == found.tenant) & (table.c.user == found.user) for table in (totp_factors, identities)]
    query = select(users.c.user).where(
        users.c.tenant == found.tenant,
        users.c.user == found.user,
        users.c.password_hash.is_not(None) | exists().where(mine[0]) | exists().where(mine[1]),
    )
    return (await connection.execute(query)).first() is not None


async def remove_of(connection: AsyncConnection, tenant: str, user: str) -> tuple[int, int]:
    """Delete a user's account links and delegations, and what rests on them; return how many of each."""
    gone = [
        (await connection.execute(delete(table).where(table.c.tenant == tenant, table.c.user == user))).rowcount
        for table in (account_links, delegations)
    ]
    return gone[0], gone[1]


async def forget_numbers(connection: AsyncConnection, tenant: str, user: str, link: str, delegation: str) -> None:
    """Take back the numbers of a user's links and delegations; `link` and `delegation` are what numbers call them."""
    of_user = (
        (link, select(account_links.c.link_id).where(account_links.c.tenant == tenant, account_links.c.user == user)),
        (
            delegation,
            select(delegations.c.delegation_id).where(delegations.c.tenant == tenant, delegations.c.user == user),
        ),
    )
    c = tms_v1_numbers.c
    for kind, names in of_user:
        await connection.execute(delete(tms_v1_numbers).where(c.tenant == tenant, c.kind == kind, c.name.in_(names)))


async def address_of(connection: AsyncConnection, tenant: str, host: str, addr: str) -> HostAddress | None:
    """Return one noted address."""
    c = tms_v1_hosts.c
    query = select(tms_v1_hosts).where(c.tenant == tenant, c.host == host, c.addr == addr)
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else HostAddress(**row)


async def put_address(connection: AsyncConnection, made: HostAddress) -> None:
    """Insert an address."""
    await connection.execute(
        insert(tms_v1_hosts).values(tenant=made.tenant, host=made.host, addr=made.addr, created_at=made.created_at)
    )


async def remove_address(connection: AsyncConnection, tenant: str, host: str, addr: str) -> bool:
    """Delete an address; False when it is not there."""
    c = tms_v1_hosts.c
    done = await connection.execute(delete(tms_v1_hosts).where(c.tenant == tenant, c.host == host, c.addr == addr))
    return done.rowcount == 1


async def _all(connection: AsyncConnection, query: Select[Any], shelf: rows.Shelf[rows.R]) -> Sequence[rows.R]:
    return [shelf.make(row) for row in (await connection.execute(query)).mappings()]
