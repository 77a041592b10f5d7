"""The schema: migrations make what the tables say, on both databases."""

import subprocess
import sys

import pytest
from alembic.script import ScriptDirectory

from tms_ca.app import open_context
from tms_ca.core.errors import Unavailable
from tms_ca.settings import Settings
from tms_ca.store import migrate
from tms_ca.store.engine import database_url, make_engine
from tms_ca.vault import create_master_key


async def test_E_14_migrations_make_what_the_tables_say(empty_database):
    url = database_url(empty_database)
    assert await migrate.current(url) is None
    assert await migrate.upgrade(url) == migrate.head()
    assert await migrate.current(url) == migrate.head()
    assert await migrate.differences(url) == []
    assert await migrate.upgrade(url) == migrate.head()  # a second time changes nothing


async def test_a_postgresql_of_another_release_is_refused(empty_database, tmp_path, database_kind):
    create_master_key(tmp_path / "master.key")
    settings = Settings(tmp_path, empty_database, tmp_path / "master.key")
    if database_kind == "sqlite":
        async with open_context(settings) as context:  # the embedded default brings itself up
            assert context
        return
    with pytest.raises(Unavailable, match="tms-ca migrate"):
        async with open_context(settings):
            pass


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "nonsense", "sqlite:///"])
def test_an_unknown_database_is_refused(url):
    with pytest.raises(ValueError, match=r"expected sqlite:///PATH or postgresql://"):
        database_url(url)


async def test_E_02_every_sqlite_connection_is_durable(tmp_path):
    from tms_ca.store.sqlite import open_sqlite

    url = database_url(f"sqlite:///{tmp_path / 'x.db'}")
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    plain = open_sqlite(url)
    for name, value in wanted.items():
        assert plain.execute(f"PRAGMA {name}").fetchone()[0] == value
    plain.close()
    engine = make_engine(url)
    async with engine.connect() as connection:
        for name, value in wanted.items():
            assert (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar() == value
    await engine.dispose()


def test_the_revisions_are_those_that_alembic_finds():
    scripts = ScriptDirectory.from_config(migrate._config())
    assert migrate.head() == scripts.get_current_head()
    assert migrate._revisions() == {script.revision for script in scripts.walk_revisions()}


def imports(code: str) -> set[str]:
    code += "; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_start_imports_no_alembic():
    found = imports("import tms_ca.cli.main as main; main.parser(); import tms_ca.serving.worker")
    assert {"aiohttp", "jinja2", "schemas"} <= found
    assert not {"alembic", "yaml"} & found


def test_the_supervisor_and_the_writer_import_no_web_server():
    code = (
        "import tms_ca.cli.main as main; main.parser('serve'); import tms_ca.serving.supervisor, tms_ca.serving.writer"
    )
    assert not {"aiohttp", "jinja2", "schemas", "alembic"} & imports(code)
