"""What the machines behind hosts said last, and since when each has had which KRL."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import and_, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.record import fields_of, record
from tms_ca.store import pages
from tms_ca.store.tables import host_nodes, hosts, krl_sightings, krl_versions, krls, revocations, tenants

_BY_NAME = pages.Order(("tenant", "host", "node"), (("host",),))


@record
class Report:
    """What a machine says of itself."""

    tenant: str
    host: str
    node: str
    reported_ms: int
    user_ca_fingerprints: tuple[str, ...]
    krl_version: int
    trust_epoch: int
    clock_offset_ms: int
    openssh_version: str
    tms_host_version: str
    when_away: str


_SAID = fields_of(Report)[3:]


async def epoch(connection: AsyncConnection, tenant: str) -> int | None:
    """Return the count of a tenant's changes; None for no such tenant."""
    query = select(tenants.c.epoch).where(tenants.c.tenant == tenant)
    found: int | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def put(connection: AsyncConnection, said: Sequence[Report]) -> None:
    """Keep each report in the place of its machine's last, and note the first sight of each KRL.

    A host that was deleted meanwhile is passed over.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    for one in said:
        values = {name: getattr(one, name) for name in fields_of(Report)}
        values["user_ca_fingerprints"] = sorted(one.user_ca_fingerprints)
        node = dialect.insert(host_nodes).values(**values, ssh_host_keys=[])
        if not await _host_is_there(connection, one):
            continue
        newer = {name: node.excluded[name] for name in _SAID}
        key = ("tenant", "host", "node")
        # Two that were sent one after the other may come the other way round.
        later = func.coalesce(host_nodes.c.reported_ms, 0) <= node.excluded.reported_ms
        await connection.execute(node.on_conflict_do_update(index_elements=key, set_=newer, where=later))
        seen = dialect.insert(krl_sightings).values(
            tenant=one.tenant, host=one.host, node=one.node, krl_version=one.krl_version, first_ms=one.reported_ms
        )
        await connection.execute(seen.on_conflict_do_nothing())


async def _host_is_there(connection: AsyncConnection, one: Report) -> bool:
    query = select(hosts.c.host).where(hosts.c.tenant == one.tenant, hosts.c.host == one.host)
    return (await connection.execute(query.with_for_update(read=True, key_share=True))).first() is not None


async def page(
    connection: AsyncConnection, tenant: str, filters: Mapping[str, object], after: Sequence[object] | None, limit: int
) -> tuple[Sequence[Row[Any]], list[object] | None]:
    """Return nodes in the order of their names, and the key to go on from."""
    return await pages.page(
        connection, select(host_nodes), host_nodes, _BY_NAME, {"tenant": tenant}, filters, after, limit
    )


async def note_krl(connection: AsyncConnection, tenant: str, version: int, changes: int, now: int) -> None:
    """Note that the KRL `version` covers what was changed up to `changes`."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    one = dialect.insert(krl_versions).values(tenant=tenant, version=version, changes=changes, generated_at=now)
    await connection.execute(
        one.on_conflict_do_update(index_elements=("tenant", "version"), set_={"changes": one.excluded.changes})
    )


async def note_change(connection: AsyncConnection, tenant: str, revocation_id: str, at_ms: int) -> None:
    """Note with which change of the KRL a revocation came; in the transaction that counted the change."""
    change = select(krls.c.wanted).where(krls.c.tenant == tenant).scalar_subquery()
    c = revocations.c
    await connection.execute(
        update(revocations)
        .where(c.tenant == tenant, c.revocation_id == revocation_id)
        .values(change=change, at_ms=at_ms)
    )


async def revocation(connection: AsyncConnection, tenant: str, revocation_id: str) -> Row[Any] | None:
    """Return created_at, at_ms, change of a revocation, and the first KRL version that has it, None while none has."""
    c, v = revocations.c, krl_versions.c
    # One from before this was counted is in every version that is known.
    covered = and_(v.tenant == tenant, v.changes >= func.coalesce(c.change, 0))
    version = select(func.min(v.version)).where(covered).correlate(revocations).scalar_subquery()
    query = select(c.created_at, c.at_ms, c.change, version.label("krl_version"))
    return (await connection.execute(query.where(c.tenant == tenant, c.revocation_id == revocation_id))).first()


async def enforcement(connection: AsyncConnection, tenant: str, version: int) -> Sequence[Row[Any]]:
    """Return every node with the KRL that it has, and when it first had `version` or a later one; None: not known."""
    n, s = host_nodes.c, krl_sightings.c
    first = (
        select(s.first_ms)
        .where(s.tenant == n.tenant, s.host == n.host, s.node == n.node, s.krl_version >= version)
        .order_by(s.krl_version)
        .limit(1)
        .correlate(host_nodes)
        .scalar_subquery()
    )
    query = select(n.host, n.node, n.krl_version, n.reported_ms, first.label("first_ms"))
    return (await connection.execute(query.where(n.tenant == tenant).order_by(n.host, n.node))).all()
