"""A group's commit on PostgreSQL: one statement, one round trip, one transaction.

It share-locks the rows of the tenants on whose facts the group's certificates were decided, so that a change of one of
them comes wholly before or wholly after. Where every epoch is what was seen, and no key is forbidden, it inserts
certificates and audit events and moves the head of the chain; else it writes nothing. It answers with the epochs and
the forbidden keys that it found. Whoever forbids a tenant's key changes the tenant: where that came too late for the
statement to see the key as forbidden, it finds the epoch grown.
Columns come from store.tables and values from the records' fields of the same names.

Each column of the rows is one parameter, a list in JSON: asyncpg makes arrays one element after the other, and a whole
commit takes this process a third less without.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

import orjson
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, Table, Text

from tms_ca.core.model import ALL_TENANTS
from tms_ca.store.tables import Json, audit_chains, audit_events, certificates, forbidden_keys, tenants

_TYPES: dict[type[Any], str] = {
    Text: "text",
    Json: "text",
    BigInteger: "bigint",
    Integer: "integer",
    LargeBinary: "bytea",
    Boolean: "boolean",
}


@lru_cache(4096)
def _json(value: Any) -> str:
    return json.dumps(value)  # the same few lists again and again: principals, extensions, no options


def _bytea(value: bytes | None) -> str | None:
    return None if value is None else "\\x" + value.hex()


_IN_JSON: dict[type[Any], Callable[[Any], str | None]] = {Json: _json, LargeBinary: _bytea}


class Rows:
    """The rows of one table as lists, one for each column: PostgreSQL makes rows of them again."""

    def __init__(self, table: Table) -> None:
        columns = [column for column in table.columns if not (column.primary_key and column.autoincrement is True)]
        self._table = table.name
        self._names = [column.name for column in columns]
        self._types = [_TYPES[type(column.type)] for column in columns]
        kinds = [_IN_JSON.get(type(column.type)) for column in columns]
        self._in_json = [(number, kind) for number, kind in enumerate(kinds) if kind is not None]
        self._values: Callable[[Any], tuple[Any, ...]] = attrgetter(*self._names)

    def __len__(self) -> int:
        return len(self._names)

    def place(self, column: Column[Any]) -> int:
        """Return which of the parameters is that of `column`, from 0 on."""
        return self._names.index(column.name)

    def insert(self, first: int, condition: str) -> str:
        """Return the INSERT of what stands in the parameters from $`first` on, where `condition` holds."""
        names = ", ".join(f'"{name}"' for name in self._names)
        values = ", ".join(f'"{name}"::{kind}' for name, kind in zip(self._names, self._types, strict=True))
        rows = listed(*range(first, first + len(self)))
        return f"INSERT INTO {self._table} ({names}) SELECT {values} FROM {rows} AS r({names}) WHERE {condition}"  # noqa: S608 - names of our tables

    def lists(self, records: Iterable[Any]) -> list[str]:
        """Return the parameters.

        Raises:
            orjson.JSONEncodeError: a text is not Unicode

        """
        found: list[Sequence[Any]] = list(zip(*map(self._values, records), strict=True))
        if not found:
            return ["[]"] * len(self._names)
        for number, kind in self._in_json:
            found[number] = list(map(kind, found[number]))
        return [orjson.dumps(column).decode() for column in found]


def listed(*parameters: int) -> str:
    """Return the rows that the lists in these parameters make, all columns as texts."""
    return f"ROWS FROM ({', '.join(f'json_array_elements_text(${number}::json)' for number in parameters)})"


CERTIFICATES = Rows(certificates)
EVENTS = Rows(audit_events)


def _name(column: Column[Any]) -> str:
    return f"{column.table.name}.{column.name}"


def _statement() -> str:
    first_certificate = 7
    first_event = first_certificate + len(CERTIFICATES)
    tenant, epoch, c, f = _name(tenants.c.tenant), _name(tenants.c.epoch), audit_chains.c, forbidden_keys.c
    keys = first_certificate + CERTIFICATES.place(certificates.c.public_key_fingerprint)
    their_tenants = first_certificate + CERTIFICATES.place(certificates.c.tenant)
    unchanged = "(SELECT yes FROM unchanged)"
    # Sorted: two processes that lock the same tenants then never wait for each other in a circle.
    return f"""
    WITH locked AS MATERIALIZED (
        SELECT {tenant}, {epoch} FROM {tenants.name} WHERE {tenant} = ANY($1::text[]) ORDER BY {tenant} FOR SHARE
    ), forbidden AS MATERIALIZED (
        SELECT one.tenant, one.key FROM {listed(their_tenants, keys)} AS one(tenant, key)
        WHERE (
            SELECT min({_name(f.standing)}) FROM {forbidden_keys.name}
            WHERE {_name(f.fingerprint)} = one.key AND {_name(f.tenant)} IN ('{ALL_TENANTS}', one.tenant)
        ) IS NOT NULL
    ), unchanged AS MATERIALIZED (
        SELECT NOT EXISTS (
            SELECT FROM unnest($1::text[], $2::bigint[]) AS seen(tenant, epoch)
            LEFT JOIN locked ON locked.tenant = seen.tenant AND locked.epoch = seen.epoch
            WHERE locked.tenant IS NULL
        ) AND NOT EXISTS (SELECT FROM forbidden) AS yes
    ), written AS (
        {CERTIFICATES.insert(first_certificate, unchanged)}
    ), noted AS (
        {EVENTS.insert(first_event, unchanged)}
    ), moved AS (
        UPDATE {audit_chains.name} SET {c.head_seq.name} = $4, {c.head_hash.name} = $5, {c.head_mac.name} = $6
        WHERE {c.chain.name} = $3 AND {unchanged} RETURNING 1
    )
    SELECT (SELECT yes FROM unchanged), (SELECT count(*) FROM moved), ARRAY(SELECT tenant FROM locked),
        ARRAY(SELECT epoch FROM locked), ARRAY(SELECT tenant FROM forbidden), ARRAY(SELECT key FROM forbidden)
    """  # noqa: S608 - names of our tables and columns, and numbers of parameters


STATEMENT = _statement()
