"""Bring a database to the schema of this release, or say which one it has."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from tms_ca.core.errors import Unavailable
from tms_ca.store.engine import make_engine
from tms_ca.store.tables import metadata

_ADVISORY_LOCK = 0x746D732D6361  # "tms-ca": two machines that migrate at once take turns


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def head() -> str:
    """Return the revision of this release."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision
    return revision


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
    config = _config()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if (found := _current(connection)) not in {None, *known}:
        raise Unavailable(
            "database_revision",
            f"the database has revision {found}, which this release does not know; is it of a newer one?",
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


async def _run(url: URL, act: Any) -> Any:
    engine: AsyncEngine = make_engine(url)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(act)
    except OSError as error:
        raise Unavailable("database_unavailable", f"cannot reach {url.render_as_string()}: {error}") from error
    finally:
        await engine.dispose()


async def upgrade(url: URL) -> str:
    """Bring the database at `url` to this release; return the revision.

    Raises:
        Unavailable: it cannot be reached, or is of a release that this one does not know

    """
    await _run(url, _upgrade)
    return head()


async def current(url: URL) -> str | None:
    """Return the database's revision; None for an empty one."""
    revision: str | None = await _run(url, _current)
    return revision


async def differences(url: URL) -> list[Any]:
    """Return how the database differs from store.tables; empty after `upgrade`."""
    found: list[Any] = await _run(url, _differences)
    return found
