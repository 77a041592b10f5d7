"""What an import must know of what is here already, and how its rows get here, many in one statement."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Select, Table, exists, func, insert, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.access import Role
from tms_ca.core.model import ALL_TENANTS, DelegationStatus, Selector
from tms_ca.core.record import record
from tms_ca.store import tables
from tms_ca.store.parts import parts
from tms_ca.store.tables import tms_v1_numbers
from tms_ca.store.upsert import insert_into

EVERYTHING = "*"  # the pattern of hosts and accounts in a delegation that the TMS wire API shows
# Numbers are 32 bits wide on the wire: no imported one takes the room of those that are given here.
HIGHEST_KEPT = 2**30
_N = tms_v1_numbers.c


@record
class HereClient:
    """A client that is here."""

    enabled: bool
    app_name: str | None
    created_at: int


@record
class HereHost:
    """A host in any tenant; `proved` says whether it has a credential or has said something."""

    host: str
    tenant: str
    created_at: int
    proved: bool

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Return what the lowest of is whose keys are given out, as in store.retrieval."""
        return not self.proved, self.created_at, self.tenant


@record
class HereKey:
    """A plain key that is here."""

    place: tuple[str, str, str, str]  # user, client, host, account
    delegation_id: str
    expires_at: int


@record
class HereReservation:
    """A reservation that is here."""

    parent_id: str | None
    client_id: str
    user: str
    host: str
    public_key_fingerprint: str | None
    expires_at: int


@dataclass(slots=True)
class Here:
    """What is in a tenant; whoever plans an import adds to it what will be."""

    enabled: bool | None = None  # of the tenant; None where there is none
    admins: set[str] = field(default_factory=set)
    clients: dict[str, HereClient] = field(default_factory=dict)
    apps: dict[tuple[str, str], str] = field(default_factory=dict)  # app_name, app_version: the client
    secrets: set[str] = field(default_factory=set)  # credential_id
    users: dict[str, tuple[bool, int | None]] = field(default_factory=dict)  # enabled, mfa_until
    hosts: set[str] = field(default_factory=set)
    links: dict[tuple[str, str, str], int] = field(default_factory=dict)  # user, host, account: the end
    delegations: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)  # client, user: id, the end
    keys: dict[str, HereKey] = field(default_factory=dict)  # by fingerprint
    forbidden: set[str] = field(default_factory=set)  # fingerprints
    revoked: set[tuple[str, str]] = field(default_factory=set)  # selector, value; whether or not it is there
    reservations: dict[str, HereReservation] = field(default_factory=dict)
    addresses: set[tuple[str, str]] = field(default_factory=set)  # host, addr


@record
class Stood:
    """What a plan relies on, as it stood: who is vouched for, which clients they are, and what is revoked or barred."""

    vouched: frozenset[str]  # users
    clients: frozenset[tuple[str, int]]  # and when each was made
    revoked: frozenset[tuple[str, str]]
    forbidden: frozenset[str]

    def stands(self, now: "Stood", keys: Iterable[str]) -> bool:
        """Tell whether nothing of it was taken back by `now`; `keys` are those that come."""
        fresh = {selector for selector, _ in now.revoked - self.revoked}
        return (
            self.vouched <= now.vouched
            and self.clients <= now.clients
            and fresh.isdisjoint({Selector.USER, Selector.CLIENT, Selector.HOST})
            and (now.forbidden - self.forbidden).isdisjoint(keys)
        )


def stood(found: Here) -> Stood:
    """Return what a plan relies on of what is here."""
    return Stood(
        frozenset(user for user, (_, until) in found.users.items() if until is not None),
        frozenset((name, client.created_at) for name, client in found.clients.items()),
        frozenset(found.revoked),
        frozenset(found.forbidden),
    )


async def epoch(connection: AsyncConnection, tenant: str) -> int | None:
    """Return the tenant's count of changes; None where there is no such tenant."""
    query = select(tables.tenants.c.epoch).where(tables.tenants.c.tenant == tenant)
    found: int | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def here(connection: AsyncConnection, tenant: str) -> Here:
    """Return what is in `tenant`."""

    async def rows(table: Table, *names: str) -> Sequence[Any]:
        query = select(*(table.c[name] for name in names)).where(table.c.tenant == tenant)
        return await _all(connection, query)

    found = Here()
    itself = await rows(tables.tenants, "enabled")
    found.enabled = itself[0].enabled if itself else None
    found.admins = {name for (name,) in await rows(tables.admins, "admin_id")}
    for name, enabled, app, version, at in await rows(
        tables.clients, "client_id", "enabled", "app_name", "app_version", "created_at"
    ):  # fmt: skip
        found.clients[name] = HereClient(enabled, app, at)
        if app is not None and version is not None:
            found.apps[app, version] = name
    found.secrets = {name for (name,) in await rows(tables.credentials, "credential_id")}
    found.users = {
        name: (enabled, until) for name, enabled, until in await rows(tables.users, "user", "enabled", "mfa_until")
    }
    found.hosts = {name for (name,) in await rows(tables.hosts, "host")}
    links = await rows(tables.account_links, "user", "host", "account", "expires_at")
    found.links = {(user, host, account): end for user, host, account, end in links}
    keys = await rows(
        tables.public_keys, "fingerprint", "user", "client_id", "host", "account", "delegation_id", "expires_at"
    )
    found.keys = {one[0]: HereKey(tuple(one[1:5]), one[5], one[6]) for one in keys}
    reservations = await rows(
        tables.reservations, "reservation_id", "parent_id", "client_id", "user", "host", "public_key_fingerprint",
        "expires_at",
    )  # fmt: skip
    found.reservations = {one[0]: HereReservation(*one[1:]) for one in reservations}
    found.addresses = {(host, addr) for host, addr in await rows(tables.tms_v1_hosts, "host", "addr")}
    await _delegations(connection, tenant, found)
    revoked = select(tables.revocations.c.selector, tables.revocations.c.value).where(
        tables.revocations.c.tenant == tenant, tables.revocations.c.lifted_at.is_(None)
    )
    found.revoked = {(selector, value) for selector, value in await connection.execute(revoked)}
    f = tables.forbidden_keys.c
    forbidden = select(f.fingerprint).where(or_(f.tenant == tenant, f.tenant == ALL_TENANTS))
    found.forbidden = set((await connection.execute(forbidden)).scalars())
    return found


async def _all(connection: AsyncConnection, query: Select[Any]) -> Sequence[Any]:
    """Return every row, fetched a thousand at a time: however many there are, no answer takes longer than it may."""
    found: Sequence[Any] = await (await connection.stream(query)).all()
    return found


async def _delegations(connection: AsyncConnection, tenant: str, found: Here) -> None:
    d = tables.delegations.c
    query = (
        select(d.client_id, d.user, d.delegation_id, d.expires_at)
        .where(d.tenant == tenant, d.host == EVERYTHING, d.account == EVERYTHING)
        .where(d.status == DelegationStatus.APPROVED)
        .order_by(d.expires_at)
    )
    # Of several, the one that ends last, as the wire API shows it.
    for client_id, user, delegation_id, end in await _all(connection, query):
        found.delegations[client_id, user] = (delegation_id, end)


async def known_digests(connection: AsyncConnection, digests: Sequence[bytes]) -> set[bytes]:
    """Return which of `digests` are those of secrets that are here, in any tenant."""
    found: set[bytes] = set()
    c = tables.credentials.c
    for some in parts(digests):
        query = select(c.digest).where(c.digest.in_(some))
        found |= set((await connection.execute(query)).scalars())
    return found


async def numbers_shown(connection: AsyncConnection) -> dict[str, set[int]]:
    """Return the numbers that the TMS wire API shows of each kind of thing, in every tenant."""
    found: dict[str, set[int]] = {}
    for kind, number in await _all(connection, select(_N.kind, func.coalesce(_N.kept, _N.number))):
        found.setdefault(kind, set()).add(number)
    return found


async def hosts_everywhere(connection: AsyncConnection) -> list[HereHost]:
    """Return every host of every tenant."""
    h, c, n = tables.hosts.c, tables.credentials.c, tables.host_nodes.c
    secret = exists().where(c.tenant == h.tenant, c.role == Role.HOST, c.subject == h.host)
    machine = exists().where(n.tenant == h.tenant, n.host == h.host)
    query = select(h.host, h.tenant, h.created_at, or_(secret, machine))
    return [HereHost(host, tenant, at, bool(proved)) for host, tenant, at, proved in await _all(connection, query)]


async def insert_rows(connection: AsyncConnection, rows: Iterable[tuple[Table, Mapping[str, object]]]) -> None:
    """Insert rows of several tables, those of one table in one statement, each after what it refers to."""
    grouped: dict[str, list[dict[str, object]]] = {}
    for table, values in rows:
        grouped.setdefault(table.name, []).append(dict(values))
    for table in tables.metadata.sorted_tables:
        if table.name in grouped:
            await connection.execute(insert(table), grouped[table.name])


@record
class Kept:
    """A number that something had on the old server and has here too."""

    kind: str
    name: str
    number: int
    updated_at: int | None


async def keep_numbers(connection: AsyncConnection, tenant: str, kept: Sequence[Kept], highest: int) -> None:
    """Let things be shown with the numbers that they had; `highest` is the highest that anything had there.

    Whatever is given a number from now on has one above `highest`, so that no two of a kind are shown with the same.
    """
    if not kept:
        return
    values = [
        {"tenant": tenant, "kind": one.kind, "name": one.name, "updated_at": one.updated_at, "kept": one.number}
        for one in kept
    ]
    if connection.dialect.name == "sqlite":
        # Rows are counted on from the highest that is there, and this transaction is the only one that writes.
        last = (await connection.execute(select(func.coalesce(func.max(_N.number), 0)))).scalar_one()
        values = [{**one, "number": at} for at, one in enumerate(values, max(last, highest) + 1)]
    else:
        sequence = "pg_get_serial_sequence('tms_v1_numbers', 'number')::regclass"
        await connection.execute(
            text(
                f"SELECT setval({sequence}, :highest) WHERE coalesce(pg_sequence_last_value({sequence}), 0) < :highest"
            ),
            {"highest": highest},
        )
    # What was deleted and comes again keeps the number that it was left with.
    await connection.execute(insert_into(connection, tms_v1_numbers).on_conflict_do_nothing(), values)
