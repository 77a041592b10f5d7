"""What the machines behind hosts said last, and since when each has had which KRL."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Text, and_, case, exists, func, or_, select, tuple_, type_coerce, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.model import KeyPurpose, KeyState
from tms_ca.core.record import fields_of, record
from tms_ca.store import pages
from tms_ca.store.tables import (
    ca_keys,
    credentials,
    host_nodes,
    hosts,
    krl_sightings,
    krl_versions,
    krls,
    revocations,
    tenants,
)
from tms_ca.store.upsert import insert_into

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


class Revoked(NamedTuple):
    """A revocation, and the first KRL that has it; None while none has."""

    at_ms: int
    krl_version: int | None


class Seen(NamedTuple):
    """A machine, and since when it has a KRL or a later one; None: not known, or not yet."""

    host: str
    node: str
    krl_version: int | None
    reported_ms: int | None
    first_ms: int | None


class Due(NamedTuple):
    """What a machine must have."""

    krl_version: int | None  # None where no KRL is as old as that
    user_ca_fingerprints: tuple[str, ...]
    trusted: tuple[str, ...]  # these, and those that are too new to be missed


class Counts(NamedTuple):
    """Machines of one tenant."""

    tenant: str
    reporting: int
    behind: int
    silent: int


_TRUSTED = (
    ca_keys.c.purpose == KeyPurpose.USER, ca_keys.c.state != KeyState.RETIRED, ca_keys.c.revocation_id.is_(None),
)  # fmt: skip
_SAID = fields_of(Report)[3:]
_SIGHTING = ("tenant", "host", "node", "krl_version")


async def put(connection: AsyncConnection, told: Sequence[tuple[Report, bytes]]) -> None:
    """Keep each report in the place of its machine's last, and note the first sight of each KRL.

    With each comes the digest of the credential that it was told with. A report of a machine that left meanwhile, or of
    a host that was deleted, is passed over: its credential is gone.
    """
    good = await _credentials_there(connection, [digest for _, digest in told])
    said = [one for one, digest in told if digest in good]
    there = await _hosts_there(connection, said)
    # In one order, so that two replicas that keep reports of the same machines do not wait for each other in a circle.
    kept = sorted((one for one in said if (one.tenant, one.host) in there), key=lambda one: (one.tenant, one.host,
                  one.node, one.reported_ms))  # fmt: skip
    if not kept:
        return
    node = insert_into(connection, host_nodes)
    newer = {name: node.excluded[name] for name in _SAID}
    # Two that were sent one after the other may come the other way round.
    later = func.coalesce(host_nodes.c.reported_ms, 0) <= node.excluded.reported_ms
    upsert = node.on_conflict_do_update(index_elements=("tenant", "host", "node"), set_=newer, where=later)
    await connection.execute(upsert, [_values(one) for one in kept])
    seen = [{**{name: getattr(one, name) for name in _SIGHTING}, "first_ms": one.reported_ms} for one in kept]
    await connection.execute(insert_into(connection, krl_sightings).on_conflict_do_nothing(), seen)


def _values(one: Report) -> dict[str, object]:
    values = {name: getattr(one, name) for name in fields_of(Report)}
    return values | {"user_ca_fingerprints": sorted(one.user_ca_fingerprints), "ssh_host_keys": []}


async def _credentials_there(connection: AsyncConnection, digests: Sequence[bytes]) -> set[bytes]:
    """Return which credentials are there, and stay there until the transaction ends."""
    c = credentials.c
    query = select(c.digest).where(c.digest.in_(sorted(set(digests)))).order_by(c.digest)
    return set((await connection.execute(query.with_for_update(read=True, key_share=True))).scalars())


async def _hosts_there(connection: AsyncConnection, said: Sequence[Report]) -> set[tuple[str, str]]:
    """Return which hosts are there, and stay there until the transaction ends."""
    key = tuple_(hosts.c.tenant, hosts.c.host)
    asked = sorted({(one.tenant, one.host) for one in said})
    query = select(hosts.c.tenant, hosts.c.host).where(key.in_(asked)).order_by(hosts.c.tenant, hosts.c.host)
    rows = await connection.execute(query.with_for_update(read=True, key_share=True))
    return {(row.tenant, row.host) for row in rows}


async def page(
    connection: AsyncConnection, tenant: str, filters: Mapping[str, object], after: Sequence[object] | None, limit: int
) -> tuple[list[Mapping[Any, Any]], list[object] | None]:
    """Return nodes in the order of their names, and the key to go on from."""
    found, following = await pages.page(
        connection, select(host_nodes), host_nodes, _BY_NAME, {"tenant": tenant}, filters, after, limit
    )
    return [row._mapping for row in found], following  # noqa: SLF001 - SQLAlchemy's documented name


async def due(connection: AsyncConnection, tenant: str, by: int) -> Due:
    """Return what every machine must have that has asked since `by`."""
    v, c = krl_versions.c, ca_keys.c
    version = select(v.version).where(v.tenant == tenant, v.generated_at <= by).order_by(v.version.desc()).limit(1)
    keys = select(c.fingerprint, c.created_at).where(c.tenant == tenant, *_TRUSTED)
    found = sorted((await connection.execute(keys)).all())  # a handful; a sort by the database would take a table
    return Due(
        (await connection.execute(version)).scalar_one_or_none(),
        tuple(row.fingerprint for row in found if row.created_at <= by),
        tuple(row.fingerprint for row in found),
    )


async def counts(connection: AsyncConnection, by: int, silent_ms: int) -> list[Counts]:
    """Return for each tenant how many machines report, how many are behind, and how many were last heard before."""
    n, v, c, t = host_nodes.c, krl_versions.c, ca_keys.c, tenants.c
    version = (
        select(v.version)
        .where(v.tenant == n.tenant, v.generated_at <= by)
        .order_by(v.version.desc())
        .limit(1)
        .correlate(host_nodes)
        .scalar_subquery()
    )
    held = type_coerce(n.user_ca_fingerprints, Text)
    lacking = exists().where(c.tenant == n.tenant, *_TRUSTED, c.created_at <= by, ~held.contains(c.fingerprint))
    behind = and_(n.reported_ms.is_not(None), or_(n.krl_version < version, lacking.correlate(host_nodes)))
    query = (
        select(
            t.tenant,
            func.count(n.reported_ms),
            func.sum(case((behind, 1), else_=0)),
            func.sum(case((n.reported_ms < silent_ms, 1), else_=0)),
        )
        .select_from(tenants.outerjoin(host_nodes, n.tenant == t.tenant))
        .group_by(t.tenant)
    )
    return [Counts(row[0], int(row[1]), int(row[2]), int(row[3])) for row in await connection.execute(query)]


async def note_krl(connection: AsyncConnection, tenant: str, version: int, changes: int, now: int) -> None:
    """Note that the KRL `version` covers what was changed up to `changes`."""
    one = insert_into(connection, krl_versions).values(
        tenant=tenant, version=version, changes=changes, generated_at=now
    )
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


async def revocation(connection: AsyncConnection, tenant: str, revocation_id: str) -> Revoked | None:
    """Return when a revocation was made, and the first KRL that has it; None for no such revocation."""
    c, v = revocations.c, krl_versions.c
    # One from before this was counted is in every version that is known.
    covered = and_(v.tenant == tenant, v.changes >= func.coalesce(c.change, 0))
    version = (
        select(v.version)
        .where(covered)
        .order_by(v.changes, v.version)
        .limit(1)
        .correlate(revocations)
        .scalar_subquery()
    )
    query = select(c.created_at, c.at_ms, c.change, version.label("krl_version"))
    row = (await connection.execute(query.where(c.tenant == tenant, c.revocation_id == revocation_id))).first()
    return None if row is None else Revoked(row[0] * 1000 if row[1] is None else row[1], row[3])


async def enforcement(connection: AsyncConnection, tenant: str, version: int) -> list[Seen]:
    """Return every node in the order of names, with when it first had the KRL `version` or a later one."""
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
    return [Seen(*row) for row in await connection.execute(query.where(n.tenant == tenant).order_by(n.host, n.node))]


async def lacking(connection: AsyncConnection, tenant: str, fingerprint: str) -> list[str]:
    """Return, as host/node, who has not reported that it trusts a user CA key."""
    n = host_nodes.c
    held = func.coalesce(type_coerce(n.user_ca_fingerprints, Text), "")
    query = select(n.host, n.node).where(n.tenant == tenant, ~held.contains(fingerprint))
    return [f"{row.host}/{row.node}" for row in await connection.execute(query.order_by(n.host, n.node))]
