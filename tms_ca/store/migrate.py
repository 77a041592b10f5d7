"""Bring a database to the schema of this release, or say which one it has."""

import asyncio
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from tms_ca.core.errors import Unavailable
from tms_ca.store.engine import make_engine
from tms_ca.store.tables import metadata, tenants

if TYPE_CHECKING:
    from alembic.config import Config

_ADVISORY_LOCK = 0x746D732D6361  # "tms-ca": two machines that migrate at once take turns

# While a migration waits for a table, every request for that table waits behind it: so it waits for short, and again.
_LOCK_TIMEOUT = "1500ms"
_IDLE_TIMEOUT = "20s"
_BETWEEN_SECONDS = 1.0
_STATEMENT_SECONDS = 600.0  # an index over a large table
PATIENCE_SECONDS = 20.0

_LOCK_NOT_AVAILABLE = "55P03"
_QUERY_CANCELED = "57014"


_MIGRATIONS = Path(__file__).parent / "migrations"


@cache
def _revisions() -> frozenset[str]:
    # What alembic would find: each file's name begins with its revision. Importing alembic takes a tenth of a start,
    # and hardly any start has something to migrate.
    return frozenset(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def head() -> str:
    """Return the revision of this release."""
    return max(_revisions())


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        _take_time(connection)
        connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
        connection.execute(text(f"SET LOCAL statement_timeout = '{int(_STATEMENT_SECONDS)}s'"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
    found = _current(connection)
    if found == head():
        return
    if found not in {None, *_revisions()}:
        raise Unavailable(
            "database_revision",
            f"the database has revision {found}, which this release does not know; is it of a newer one?",
        )
    from alembic import command

    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _config() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return found


def _take_time(connection: Connection) -> None:
    """Let PostgreSQL wait for us: between two statements a busy machine may need longer than a request ever should."""
    connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{_IDLE_TIMEOUT}'"))


def _differences(connection: Connection) -> list[Any]:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    if connection.dialect.name == "postgresql":
        _take_time(connection)
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


async def _run(url: URL, act: Any) -> Any:
    engine: AsyncEngine = make_engine(url, answer_seconds=_STATEMENT_SECONDS + 5)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(act)
    except OSError as error:
        raise Unavailable("database_unavailable", f"cannot reach {url.render_as_string()}: {error}") from error
    finally:
        await engine.dispose()


def _others(connection: Connection) -> list[str]:
    """Return who else has something of this database locked, the oldest first."""
    query = text(
        "SELECT DISTINCT pid, application_name, usename, client_addr, xact_start FROM pg_locks "
        "JOIN pg_stat_activity USING (pid) WHERE pid <> pg_backend_pid() AND datname = current_database() "
        "AND xact_start IS NOT NULL AND granted AND locktype IN ('relation', 'advisory') ORDER BY xact_start"
    )
    return [
        f"process {row.pid} ({row.application_name or 'no name'}, user {row.usename}, "
        f"{row.client_addr or 'local'}, since {row.xact_start:%Y-%m-%d %H:%M:%S})"
        for row in connection.execute(query)
    ]


def _has_tenants(connection: Connection) -> bool:
    return connection.execute(select(tenants.c.tenant).limit(1)).first() is not None


async def is_used(url: URL) -> bool:
    """Tell whether there is an installation in the migrated database at `url` already."""
    return bool(await _run(url, _has_tenants))


def require(url: URL) -> None:
    """Refuse an SQLite database that is not there: opening it would make a new one, without anybody in it.

    Raises:
        Unavailable: it is not there

    """
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise Unavailable(
            "database_missing",
            f"there is no database {url.database}: put it back, name the right one (url of [database] in the settings, "
            "or TMS_CA_DATABASE_URL), or make a new installation with tms-ca init",
        )


async def upgrade(url: URL, patience_seconds: float = PATIENCE_SECONDS) -> str:
    """Bring the database at `url` to this release; return the revision.

    A migration that waits for a lock on PostgreSQL gives up after a second and a half, lets the others go on, and
    tries again, for `patience_seconds` in all.

    Raises:
        Unavailable: it cannot be reached, is of a release that this one does not know, or is locked by others

    """
    place = Path(url.database or "").parent
    if url.get_backend_name() == "sqlite" and not place.is_dir():
        raise Unavailable("migration_failed", f"cannot make {url.database}: there is no directory {place}")
    until = time.monotonic() + patience_seconds
    while True:
        try:
            await _run(url, _upgrade)
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None)
            if state == _QUERY_CANCELED:
                raise Unavailable(
                    "migration_too_slow",
                    f"a statement of the migration took more than {_STATEMENT_SECONDS:.0f} s; nothing was changed",
                ) from error
            if state != _LOCK_NOT_AVAILABLE:
                raise Unavailable(
                    "migration_failed",
                    f"cannot bring {url.render_as_string()} to this release, nothing was changed: {error.orig}",
                ) from error
            if time.monotonic() + _BETWEEN_SECONDS > until:
                raise await _locked(url, patience_seconds) from error
            await asyncio.sleep(_BETWEEN_SECONDS)
        else:
            return head()


async def _locked(url: URL, patience_seconds: float) -> Unavailable:
    others: list[str] = await _run(url, _others)
    return Unavailable(
        "migration_locked",
        f"the database was locked by others for {patience_seconds:.0f} s, nothing was changed; is another "
        "tms-ca migrate at work, a backup, a forgotten session? "
        f"Locks are held by {'; '.join(others[:5]) or 'nobody any more'}; try again when they are done",
    )


async def current(url: URL) -> str | None:
    """Return the database's revision; None for an empty one."""
    revision: str | None = await _run(url, _current)
    return revision


async def differences(url: URL) -> list[Any]:
    """Return how the database differs from store.tables; empty after `upgrade`."""
    found: list[Any] = await _run(url, _differences)
    return found
