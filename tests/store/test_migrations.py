"""A database of another release: refused by name, never touched."""

import pytest
from sqlalchemy import text

from tms_ca.app import open_context
from tms_ca.core.errors import Unavailable
from tms_ca.settings import Settings
from tms_ca.store import migrate
from tms_ca.store.engine import database_url, make_engine
from tms_ca.store.tables import metadata
from tms_ca.vault import create_master_key


async def run(url: str, *statements: str) -> list:
    engine = make_engine(database_url(url))
    try:
        async with engine.begin() as connection:
            return [await connection.execute(text(statement)) for statement in statements]
    finally:
        await engine.dispose()


async def rows_of(url: str) -> dict[str, int]:
    names = sorted(metadata.tables)
    found = await run(url, *(f"SELECT count(*) FROM {name}" for name in names))
    return dict(zip(names, [result.scalar_one() for result in found], strict=True))


async def test_a_database_of_an_unknown_release_is_refused_and_not_touched(fresh_database, tmp_path):
    """A newer release has migrated it, or it is not ours: neither is for us to write in."""
    await run(fresh_database, "UPDATE alembic_version SET version_num = '9999'")
    create_master_key(tmp_path / "master.key")
    with pytest.raises(Unavailable) as refused:
        async with open_context(Settings(tmp_path, fresh_database, tmp_path / "master.key")):
            pass
    assert "9999" in refused.value.detail
    assert set((await rows_of(fresh_database)).values()) == {0}
    with pytest.raises(Unavailable, match="does not know"):
        await migrate.upgrade(database_url(fresh_database))
    (version,) = await run(fresh_database, "SELECT version_num FROM alembic_version")
    assert version.scalar_one() == "9999"


async def test_migrating_again_keeps_every_row(world):
    before = await rows_of(world.settings.database_url)
    assert await migrate.upgrade(database_url(world.settings.database_url)) == migrate.head()
    assert await rows_of(world.settings.database_url) == before
    assert await migrate.differences(database_url(world.settings.database_url)) == []
    assert (await world.issue()).status == 201


@pytest.mark.parametrize("change", [
    "ALTER TABLE users ADD COLUMN extra TEXT", "DROP INDEX uq_ca_keys_one_active", "DROP TABLE identities",
])  # fmt: skip
async def test_E_14_a_difference_is_seen(fresh_database, change):
    await run(fresh_database, change)
    assert len(await migrate.differences(database_url(fresh_database))) >= 1
