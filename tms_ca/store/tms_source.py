"""Read the database of an existing TMS server, 0.2 on SQLite or 0.3 on PostgreSQL: one snapshot, never written to.

What is no schema of these two is refused; a row with a value that is none of its column's is named, not skipped.
"""

import contextlib
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from tms_ca.core.record import fields_of
from tms_ca.core.tms_v1 import MOST_INT
from tms_ca.store.postgres import Connector, hang_up, postgres_url
from tms_ca.store.tms_source_rows import TABLES, OldRow, Source, Unreadable

NEVER = 253402300799  # 9999-12-31T23:59:59Z
_LAST_YEAR = 9999
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # NUL, and bytes that are no UTF-8
_LONGEST_TEXT = 16384  # characters; the longest public key that is taken has a tenth
_READ_SECONDS = 600.0  # a whole table at a time
_TIMES = frozenset({"created", "updated", "expires_at"})
_NUMBERS = frozenset({"id", "key_bits", "max_uses", "remaining_uses", "initial_ttl_minutes"})
_MAY_BE_NULL = frozenset({"tenant"})
_RFC3339 = re.compile(
    r"(?P<year>[+-]?\d{4,6})-(?P<rest>\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.\d+)?"
    r"(?:Z|(?P<sign>[+-])(?P<h>\d\d):(?P<m>\d\d))?"
)


class SourceError(ValueError):
    """What was named is not a database of the old server that can be read."""


def old_time(text: str) -> int:
    """Return the Unix seconds of a time as 0.2 wrote it; whatever lies beyond the year 9999 is NEVER.

    Raises:
        ValueError: it is none

    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f"expected a time such as 2026-05-05T12:34:56Z, got {text[:40]!r}")
    year = int(found["year"])
    if year > _LAST_YEAR:
        return NEVER
    seconds = int(datetime.fromisoformat(f"{year:04}-{found['rest']}").replace(tzinfo=UTC).timestamp())
    if found["sign"]:
        ahead = int(found["h"]) * 3600 + int(found["m"]) * 60
        seconds += ahead if found["sign"] == "-" else -ahead
    return min(max(seconds, 0), NEVER)


async def read_source(text: str) -> Source:
    """Read the database at the URL `text`, wholly.

    Raises:
        SourceError: not a URL of one, no file, or not the schema of the old server
        OSError: PostgreSQL cannot be reached

    """
    scheme = text.partition("://")[0]
    if scheme in {"postgresql", "postgres"}:
        try:
            url = postgres_url(text)
        except ValueError as error:
            raise SourceError(str(error)) from error
        return await _from_postgres(url)
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise SourceError("expected sqlite:///PATH or postgresql://USER@HOST/NAME, got something that is no URL") \
            from error  # fmt: skip
    if url.drivername != "sqlite" or not url.database:
        raise SourceError(
            f"expected sqlite:///PATH or postgresql://USER@HOST/NAME, got {url.render_as_string()!r}"
        )  # fmt: skip
    return _from_sqlite(Path(url.database))


def _from_sqlite(path: Path) -> Source:
    if not path.is_file():
        raise SourceError(f"there is no file {path}")
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        ) as connection:
            # What is no UTF-8 is named with its row.
            connection.text_factory = lambda text: text.decode(errors="surrogateescape")
            connection.execute("PRAGMA query_only=ON")
            connection.execute("BEGIN")  # all that follows sees the moment of the first read
            columns: dict[str, set[str]] = {}
            for table in TABLES:
                columns[table] = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
            _check_schema(columns, str(path))
            return _source(
                "0.2 (SQLite)",
                {table: connection.execute(_select(table, fields_of(kind), "")) for table, kind in TABLES.items()},
            )
    except sqlite3.Error as error:
        raise SourceError(f"{path} cannot be read as an SQLite database: {error}") from error


async def _from_postgres(url: URL) -> Source:
    if "target_session_attrs" not in url.query:
        url = url.update_query_dict({"target_session_attrs": "any"})  # a standby will do
    unhurried = {"statement_timeout": "0", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "0"}
    connection = await Connector(url, _READ_SECONDS).connect(default_transaction_read_only="on", **unhurried)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            columns: dict[str, set[str]] = {table: set() for table in TABLES}
            for table, column in await connection.fetch(
                "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'tms'"
            ):
                columns.setdefault(table, set()).add(column)
            _check_schema(columns, f"schema tms of {url.render_as_string()}")
            found = {
                table: await connection.fetch(_select(table, map(_seconds, fields_of(kind)), "tms."))
                for table, kind in TABLES.items()
            }
    finally:
        await hang_up(connection)
    return _source("0.3 (PostgreSQL)", found)


def _select(table: str, columns: Iterable[str], schema: str) -> str:
    # From constants of this module alone.
    return f"SELECT {', '.join(columns)} FROM {schema}{table} ORDER BY id"  # noqa: S608


def _seconds(column: str) -> str:
    if column not in _TIMES:
        return column
    return f"floor(greatest(0, least({NEVER}, extract(epoch FROM {column}))))::bigint"


def _check_schema(columns: Mapping[str, set[str]], where: str) -> None:
    for table, kind in TABLES.items():
        missing = [name for name in fields_of(kind) if name not in columns.get(table, ())]
        if missing:
            what = f"its table {table} has no column {missing[0]}" if columns.get(table) else f"it has no table {table}"
            raise SourceError(
                f"{where} is not a database of the TMS server 0.2 or 0.3: {what}; for a later server there is no import"
            )


def _source(version: str, tables: Mapping[str, Any]) -> Source:
    unreadable: list[Unreadable] = []
    rows = {table: list(_rows(table, TABLES[table], found, unreadable)) for table, found in tables.items()}
    return Source(version, rows, unreadable)


def _rows(table: str, kind: type[OldRow], found: Any, unreadable: list[Unreadable]) -> Iterator[OldRow]:
    names = fields_of(kind)
    for row in found:
        values = dict(zip(names, row, strict=True))
        try:
            yield kind(**{name: _value(name, value) for name, value in values.items()})
        except ValueError as error:
            tenant = values["tenant"]
            whose = ascii(tenant)[1:-1][:100] if isinstance(tenant, str) else None
            unreadable.append(Unreadable(table, values["id"], whose, str(error)))


def _value(name: str, value: object) -> Any:
    if name in _TIMES:
        if isinstance(value, int) and 0 <= value <= NEVER:  # PostgreSQL's; SQLite has texts
            return value
        return old_time(str(value))
    if name == "enabled":
        if value in (0, 1, True, False):
            return bool(value)
        raise ValueError(f"enabled is {value!r}; expected 0 or 1")
    if name in _NUMBERS:
        if isinstance(value, int) and (name == "id" or -MOST_INT <= value <= MOST_INT):
            return value
        raise ValueError(f"{name} is {str(value)[:40]!r}; expected a whole number of 32 bits")
    if value is None and name in _MAY_BE_NULL:
        return value
    if isinstance(value, str):
        if len(value) <= _LONGEST_TEXT and not _UNSTORABLE.search(value):
            return value
        raise ValueError(
            f"{name} has {len(value)} characters and begins {value[:20]!r}; expected UTF-8 without NUL, "
            f"{_LONGEST_TEXT} characters at most"
        )
    raise ValueError(f"{name} is {str(value)[:40]!r}; expected a text")
