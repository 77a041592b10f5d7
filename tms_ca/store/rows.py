"""Rows to records and back, and the four verbs that every table of named things shares."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Row, Table, and_, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.model import (
    AccountLink,
    Admin,
    CaKey,
    CertificateRecord,
    Client,
    Constraints,
    Delegation,
    DelegationStatus,
    Host,
    Identity,
    KeyPurpose,
    KeyState,
    OnRevocation,
    PrincipalFormat,
    Restrictions,
    Revocation,
    Selector,
    Tenant,
    User,
)
from tms_ca.core.record import fields_of
from tms_ca.store import pages, tables

R = TypeVar("R")
NO_RESTRICTIONS = Restrictions()
WARNING_SECONDS = 30  # of a tenant that was made before there were warnings


def constraints_to_json(constraints: Constraints) -> dict[str, object]:
    """Return what the column `constraints` holds."""
    return {
        "max_ttl_seconds": constraints.max_ttl_seconds,
        "source_address": list(constraints.source_address),
        "force_command": constraints.force_command,
        "extensions": list(constraints.extensions),
        "max_uses": constraints.max_uses,
    }


def constraints_from_json(stored: Mapping[str, Any]) -> Constraints:
    """Return the constraints of a stored object."""
    return Constraints(
        max_ttl_seconds=stored["max_ttl_seconds"],
        source_address=tuple(stored["source_address"]),
        force_command=stored["force_command"],
        extensions=tuple(stored["extensions"]),
        max_uses=stored.get("max_uses"),  # of a release before it, none
    )


def restrictions_to_json(restrictions: Restrictions | None) -> dict[str, object] | None:
    """Return what a column `restrictions` holds."""
    if restrictions is None or restrictions == NO_RESTRICTIONS:
        return None
    return {name: getattr(restrictions, name) for name in fields_of(Restrictions)}


def restrictions_from_json(stored: Mapping[str, Any] | None) -> Restrictions | None:
    """Return the restrictions of a stored object; None where there are none."""
    if stored is None:
        return None
    lists = {name: tuple(stored[name]) for name in ("source_address", "permit_open")}
    return Restrictions(**{**stored, **lists})


@lru_cache(4096)
def _json(value: object) -> str:
    """Return a list as JSON text; the same few come again with every certificate."""
    return json.dumps(value)


def certificate_values(names: Sequence[str]) -> Callable[[CertificateRecord], list[object]]:
    """Return what makes the values of these columns for a driver beneath SQLAlchemy: lists are JSON text already."""
    get = attrgetter(*names)
    lists = [names.index(name) for name in ("principals", "critical_options", "extensions")]

    def values(record: CertificateRecord) -> list[object]:
        made = list(get(record))
        for place in lists:
            made[place] = _json(made[place])
        return made

    return values


def _certificate(row: Mapping[Any, Any]) -> CertificateRecord:
    fields = {name: row[name] for name in fields_of(CertificateRecord) if name != "revocation_id"}
    fields["principals"] = tuple(row["principals"])
    fields["critical_options"] = tuple((name, value) for name, value in row["critical_options"])
    fields["extensions"] = tuple(row["extensions"])
    return CertificateRecord(**fields, revocation_id=row.get("revocation_id"))


def _plain(record: type, **convert: Callable[[Any], Any]) -> Callable[[Mapping[Any, Any]], Any]:
    names: Sequence[str] = fields_of(record)

    def make(row: Mapping[Any, Any]) -> Any:
        return record(**{name: convert.get(name, _as_is)(row[name]) for name in names})

    return make


def _as_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Shelf(Generic[R]):
    """A table of records found by key: the last column of `key` names one within its tenant."""

    noun: str
    table: Table
    key: tuple[str, ...]
    make: Callable[[Mapping[Any, Any]], R]
    served: tuple[tuple[str, ...], ...] = ()  # filters that an index serves in key order: see store.pages

    def where(self, *values: object) -> ColumnElement[bool]:
        """Return the condition that finds one."""
        return and_(*(self.table.c[name] == value for name, value in zip(self.key, values, strict=True)))

    async def get(self, connection: AsyncConnection, *values: object) -> R | None:
        """Return one, or None."""
        row = (await connection.execute(select(self.table).where(self.where(*values)))).mappings().first()
        return None if row is None else self.make(row)

    async def add(self, connection: AsyncConnection, **values: object) -> None:
        """Insert one.

        Raises:
            sqlalchemy.exc.IntegrityError: it exists, or what it refers to does not

        """
        await connection.execute(insert(self.table).values(**values))

    async def update(self, connection: AsyncConnection, key: Sequence[object], **values: object) -> bool:
        """Change one; False when it is not there."""
        result = await connection.execute(update(self.table).where(self.where(*key)).values(**values))
        return result.rowcount == 1

    async def remove(self, connection: AsyncConnection, *values: object) -> bool:
        """Delete one; False when it is not there."""
        return (await connection.execute(delete(self.table).where(self.where(*values)))).rowcount == 1

    async def page(
        self,
        connection: AsyncConnection,
        filters: Mapping[str, object],
        after: Sequence[object] | None,
        limit: int,
    ) -> tuple[list[R], list[object] | None]:
        """Return up to `limit` records after the key `after`, in key order, and the key to go on from."""
        fixed = {name: value for name, value in filters.items() if name in self.key[:-1]}
        others = {name: value for name, value in filters.items() if name not in fixed}
        place = None if after is None else list(after)[len(fixed) :]
        rows, following = await pages.page(
            connection,
            select(self.table),
            self.table,
            pages.Order(self.key, self.served),
            fixed,
            others,
            place,
            limit,
        )
        found = [self.make(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's documented name
        return found, None if following is None else [*fixed.values(), *following]


def _delegation(row: Mapping[Any, Any]) -> Delegation:
    fields = {name: row[name] for name in fields_of(Delegation)}
    fields["status"] = DelegationStatus(row["status"])
    fields["constraints"] = constraints_from_json(row["constraints"])
    fields["restrictions"] = restrictions_from_json(row["restrictions"])
    return Delegation(**fields)


TENANTS = Shelf[Tenant](
    "tenant",
    tables.tenants,
    ("tenant",),
    _plain(
        Tenant,
        on_revocation=lambda value: OnRevocation(value or OnRevocation.LEAVE),
        warning_seconds=lambda value: WARNING_SECONDS if value is None else value,
        end_at_expiry=bool,
    ),
)
ADMINS = Shelf[Admin]("admin", tables.admins, ("tenant", "admin_id"), _plain(Admin))
CLIENTS = Shelf[Client]("client", tables.clients, ("tenant", "client_id"), _plain(Client, redirect_uris=tuple))
USERS = Shelf[User]("user", tables.users, ("tenant", "user"), _plain(User))
IDENTITIES = Shelf[Identity](
    "identity", tables.identities, ("tenant", "issuer", "subject"), _plain(Identity), (("user",),)
)
HOSTS = Shelf[Host](
    "host",
    tables.hosts,
    ("tenant", "host"),
    _plain(
        Host,
        addresses=tuple,
        ssh_host_keys=tuple,
        principal_format=PrincipalFormat,
        restrictions=restrictions_from_json,
    ),
)
LINKS = Shelf[AccountLink](
    "account link",
    tables.account_links,
    ("tenant", "link_id"),
    _plain(AccountLink),
    (("user", "host"), ("user",), ("host",)),
)
DELEGATIONS = Shelf[Delegation](
    "delegation", tables.delegations, ("tenant", "delegation_id"), _delegation, (("user",), ("client_id",))
)
REVOCATIONS = Shelf[Revocation](
    "revocation",
    tables.revocations,
    ("tenant", "revocation_id"),
    _plain(Revocation, selector=Selector),
    (("selector", "value"), ("selector",)),
)
CA_KEYS = Shelf[CaKey](
    "CA key", tables.ca_keys, ("tenant", "fingerprint"), _plain(CaKey, purpose=KeyPurpose, state=KeyState)
)


def certificate_record(row: Row[Any]) -> CertificateRecord:
    """Return the record of a row of `certificates` (joined with its revocation)."""
    return _certificate(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name


CERTIFICATE_COLUMNS = tables.certificates.c


def same_columns(record: object, names: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that a certificate has what `record` has in the columns `names`."""
    return and_(*(CERTIFICATE_COLUMNS[name] == getattr(record, name) for name in names))
