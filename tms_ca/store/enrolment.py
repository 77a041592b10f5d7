"""Join tokens, nodes, and the certificates of hosts.

A token is found by its digest and used up by the statement that deletes it: of many that race, one gets the row.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import and_, delete, exists, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.access import Role
from tms_ca.core.facts import KeyStanding
from tms_ca.core.model import Host, KeyPurpose, KeyState, Selector
from tms_ca.core.record import fields_of, record
from tms_ca.store import rows
from tms_ca.store.counts import grown
from tms_ca.store.tables import (
    ca_keys,
    credentials,
    forbidden_keys,
    host_certificates,
    host_nodes,
    join_tokens,
    krls,
    revoked_certificates,
    tenants,
)
from tms_ca.store.upsert import insert_into

_COLUMN = {
    Selector.SERIAL: "serial",
    Selector.KEY_ID: "key_id",
    Selector.PUBLIC_KEY: "public_key_fingerprint",
    Selector.HOST: "host",
    Selector.CA_KEY: "ca_fingerprint",
}


class Place(NamedTuple):
    """Where a host stands, as far as its certificates rest on it."""

    host: Host
    tenant_enabled: bool
    ca_fingerprint: str | None  # of the host CA key that signs


@record
class HostCertificateRecord:
    """A host's certificate that was signed."""

    serial: int
    tenant: str
    host: str
    key_id: str
    public_key_fingerprint: str
    ca_fingerprint: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    issued_at: int
    sha256: bytes
    request_id: str


async def put_token(
    connection: AsyncConnection, tenant: str, host: str, digest: bytes, now: int, expires_at: int
) -> None:
    """Put a token in the place of any other of the host."""
    fresh = {"digest": digest, "created_at": now, "expires_at": expires_at}
    put = insert_into(connection, join_tokens).values(tenant=tenant, host=host, **fresh)
    await connection.execute(put.on_conflict_do_update(index_elements=("tenant", "host"), set_=fresh))


async def token(connection: AsyncConnection, digest: bytes, now: int) -> tuple[str, str] | None:
    """Return the tenant and the host of a token that is still good."""
    c = join_tokens.c
    row = (await connection.execute(select(c.tenant, c.host).where(c.digest == digest, c.expires_at > now))).first()
    return None if row is None else (row.tenant, row.host)


async def take_token(connection: AsyncConnection, digest: bytes, now: int) -> bool:
    """Use a token up; False when another was first, or its time is over."""
    c = join_tokens.c
    taken = delete(join_tokens).where(c.digest == digest, c.expires_at > now).returning(c.host)
    return (await connection.execute(taken)).first() is not None


async def place(connection: AsyncConnection, tenant: str, host: str, *, hold: bool = False) -> Place | None:
    """Return how a host stands; None where there is none. Held, it stays so until the transaction ends."""
    c = ca_keys.c
    query = select(tenants.c.enabled).where(tenants.c.tenant == tenant)
    if hold:  # every change of a tenant begins with its row
        query = query.with_for_update(read=True)
    enabled = (await connection.execute(query)).scalar_one_or_none()
    found = await rows.HOSTS.get(connection, tenant, host)
    if found is None:
        return None
    signs = and_(c.tenant == tenant, c.purpose == KeyPurpose.HOST, c.state == KeyState.ACTIVE)
    ca = await connection.execute(select(c.fingerprint).where(signs, c.revocation_id.is_(None)))
    return Place(found, bool(enabled), ca.scalar_one_or_none())


async def forbidden(connection: AsyncConnection, tenant: str, fingerprints: Collection[str]) -> dict[str, str]:
    """Return which of these keys may not be a host's, and why: CA keys of any tenant, revoked keys of this one."""
    c = forbidden_keys.c
    query = select(c.fingerprint, c.standing).where(
        c.fingerprint.in_(fingerprints),
        or_(c.standing == KeyStanding.CA, and_(c.standing == KeyStanding.REVOKED, c.tenant == tenant)),
    )
    return {row.fingerprint: row.standing for row in await connection.execute(query)}


async def nodes_of(connection: AsyncConnection, tenant: str, host: str) -> dict[str, tuple[str, ...]]:
    """Return the host keys of each node of a host."""
    c = host_nodes.c
    query = select(c.node, c.ssh_host_keys).where(c.tenant == tenant, c.host == host)
    return {row.node: tuple(row.ssh_host_keys) for row in await connection.execute(query)}


async def put_node(
    connection: AsyncConnection, tenant: str, host: str, node: str, keys: Sequence[str], now: int
) -> None:
    """Note that a node has joined, with these host keys; what it reported before is forgotten."""
    await remove_node(connection, tenant, host, node)
    await connection.execute(
        insert(host_nodes).values(tenant=tenant, host=host, node=node, ssh_host_keys=list(keys), joined_at=now)
    )


async def remove_node(connection: AsyncConnection, tenant: str, host: str, node: str) -> bool:
    """Delete a node with its reports; False when it is not there."""
    c = host_nodes.c
    done = await connection.execute(delete(host_nodes).where(c.tenant == tenant, c.host == host, c.node == node))
    return done.rowcount == 1


async def node_of(connection: AsyncConnection, digest: bytes) -> str | None:
    """Return the node that a host's credential was made by; None for one that an admin made."""
    query = select(credentials.c.node).where(credentials.c.digest == digest)
    found: str | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def credential_of(connection: AsyncConnection, digest: bytes) -> Any:
    """Return whose this credential is: credential_id, role, tenant, subject, node; None where there is none."""
    c = credentials.c
    query = select(c.credential_id, c.role, c.tenant, c.subject, c.node).where(c.digest == digest)
    return (await connection.execute(query)).first()


async def add_credential(
    connection: AsyncConnection, digest: bytes, credential_id: str, tenant: str, host: str, node: str, now: int
) -> None:
    """Insert the credential that a node made for itself."""
    await connection.execute(
        insert(credentials).values(
            digest=digest, credential_id=credential_id, role=Role.HOST, tenant=tenant, subject=host, created_at=now,
            expires_at=None, node=node,
        )
    )  # fmt: skip


async def newest_credential(connection: AsyncConnection, tenant: str, host: str, node: str) -> bytes:
    """Return the digest of the node's newest credential; of none, nothing."""
    c = credentials.c
    mine = and_(c.tenant == tenant, c.role == Role.HOST, c.subject == host, c.node == node)
    query = select(c.digest).where(mine).order_by(c.created_at.desc(), c.credential_id.desc()).limit(1)
    found: bytes | None = (await connection.execute(query)).scalar_one_or_none()
    return found or b""


async def remove_credentials(connection: AsyncConnection, tenant: str, host: str, node: str, kept: bytes = b"") -> int:
    """Delete the credentials of a node, but the one to be kept; return how many."""
    c = credentials.c
    mine = and_(c.tenant == tenant, c.role == Role.HOST, c.subject == host, c.node == node, c.digest != kept)
    return (await connection.execute(delete(credentials).where(mine))).rowcount


async def add_certificates(connection: AsyncConnection, made: Sequence[HostCertificateRecord]) -> None:
    """Insert certificates of hosts."""
    names = fields_of(HostCertificateRecord)
    await connection.execute(
        insert(host_certificates),
        [{name: getattr(one, name) for name in names} | {"principals": list(one.principals)} for one in made],
    )


async def end_host_certificates(
    connection: AsyncConnection, tenant: str, revocation_id: str, now: int, **which: object
) -> int:
    """Revoke, for good, what has not ended of the host certificates that have all of `which`; return how many.

    They come into the KRL with the last change that was counted, which this transaction must have made.
    """
    c = host_certificates.c
    change = select(krls.c.wanted).where(krls.c.tenant == tenant).scalar_subquery()
    fresh = (
        select(c.serial, c.tenant, c.ca_fingerprint, c.valid_before, literal(revocation_id), change)
        .where(c.tenant == tenant, c.valid_before > now, *(c[name] == value for name, value in which.items()))
        .where(~exists().where(revoked_certificates.c.serial == c.serial))
    )
    names = ["serial", "tenant", "ca_fingerprint", "valid_before", "revocation_id", "change"]
    return (await connection.execute(insert(revoked_certificates).from_select(names, fresh))).rowcount


async def end_selected(
    connection: AsyncConnection, tenant: str, selector: Selector, value: str, revocation_id: str, now: int
) -> int:
    """Do the same for what a revocation selects; most selectors mean nothing to hosts' certificates."""
    if selector not in _COLUMN:
        return 0
    which = {_COLUMN[selector]: int(value) if selector is Selector.SERIAL else value}
    return await end_host_certificates(connection, tenant, revocation_id, now, **which)


async def selects_any(connection: AsyncConnection, tenant: str, selector: Selector, value: str) -> bool:
    """Tell whether there is a host certificate that a revocation would select."""
    if selector not in _COLUMN:
        return False
    column = host_certificates.c[_COLUMN[selector]]
    wanted = column == (int(value) if selector is Selector.SERIAL else value)
    query = select(host_certificates.c.id).where(host_certificates.c.tenant == tenant, wanted).limit(1)
    return (await connection.execute(query)).first() is not None


async def count_change(connection: AsyncConnection, tenant: str) -> None:
    """Count a change of what the KRL must list."""
    await connection.execute(update(krls).where(krls.c.tenant == tenant).values(wanted=grown(krls.c.wanted)))


async def unexpired(connection: AsyncConnection, tenant: str, ca_fingerprint: str, now: int) -> int:
    """Return how many host certificates of a CA key have not ended and are not revoked."""
    c = host_certificates.c
    alive = and_(c.tenant == tenant, c.ca_fingerprint == ca_fingerprint, c.valid_before > now)
    query = select(func.count()).select_from(host_certificates).where(alive)
    return int((await connection.execute(query)).scalar_one())
