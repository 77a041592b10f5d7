"""Fixtures that every floor shares: a database of each kind, a service in this process, a furnished world."""

import asyncio
import copy
import gc
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import hypothesis
import pytest
from aiohttp import web, web_app
from yarl import URL

from tests.fakes import FakeClock
from tests.postgres import cluster, memory
from tests.world import World, basic, ssh_keygen
from tms_ca.app import build_app, open_context
from tms_ca.cli.init import local_operator
from tms_ca.core.access import Role
from tms_ca.core.model import ALL_TENANTS
from tms_ca.http import admission, attempts
from tms_ca.http.context import Context
from tms_ca.http.runner import Runner
from tms_ca.observe import Log
from tms_ca.services import key_endings, mvp, readiness
from tms_ca.settings import DEFAULT_TEXT, MASTER_KEY_FILE, SETTINGS_FILE, load_settings
from tms_ca.store import deadline, hot, migrate, rows, standstill, turns
from tms_ca.store import postgres as postgres_store
from tms_ca.store.engine import database_url
from tms_ca.vault import create_master_key

KINDS = ("sqlite", "postgres")
_KEPT_DATABASES = 40  # of each cluster: a module may keep one for all its tests


# With `--db usual`, tests run on both databases where what they show is the work of statements, transactions or locks;
# the others on SQLite. `make test-all` takes both everywhere.
ON_BOTH = (
    "hot", "replicas", "scale", "serve", "ssh", "store", "unit", "watch", "client",
    "api/test_certificates", "api/test_lists", "api/test_matrix", "api/test_other_tenants", "api/test_revocations",
    "api/test_strings", "enrol/test_join", "enrol/test_reports", "import_tms/test_numbers", "keys/test_public_keys",
    "keys/test_uses_counted", "logins/test_logins", "logins/test_retention", "logins/test_told_meanwhile",
    "logins/test_uses", "logins/test_workers", "reservations/test_races",
    "tms_v1/test_at_once", "tms_v1/test_concurrent", "tms_v1/test_lists", "tms_v1/test_numbers",
    "tms_v1/test_pubkeys_races",
)  # fmt: skip
TESTS = Path(__file__).parent
# What takes long is begun early: `make test` gives each of its processes a part of the tests to begin with, and
# whoever is ready takes from the others. A row for each process; the rows take about as long as each other.
LONG = (
    ("serve/test_workers", "ssh/test_races"),
    ("ssh/test_kill9", "ssh/test_demo", "replicas/test_frozen"),
    ("api/test_openapi_schemathesis", "serve/test_restart", "serve/test_stop"),
    ("packages/test_first_login", "hostd/test_session_ends", "load/test_slow", "replicas/test_failover",
     "serve/test_notify", "watch/test_tracing", "watch/test_prometheus", "watch/test_metrics"),
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--db", choices=["usual", *KINDS, "both"], default="usual", help="which databases the tests run on"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database_kind" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("--db")
        if wanted == "usual":
            name = str(Path(str(metafunc.module.__file__)).relative_to(TESTS))
            wanted = "both" if name.startswith(ON_BOTH) else "sqlite"
        metafunc.parametrize("database_kind", KINDS if wanted == "both" else [wanted], scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    rows: list[list[pytest.Function]] = [[] for _ in LONG]
    rest = []
    for item in items:
        # Those of one database stay together: what they share is made once.
        alone = "database_kind" not in item.fixturenames
        named = [row for row, names in zip(rows, LONG, strict=True) if alone and item.nodeid.startswith(_files(names))]
        (named[0] if named else rest).append(item)
    size = -(-len(rest) // len(rows))
    items[:] = [item for number, row in enumerate(rows) for item in (*row, *rest[number * size : (number + 1) * size])]


def pytest_collection_finish() -> None:
    """Spare the collector all that stays to the end, modules and tests: it walked through them for a fifth of the time."""
    gc.collect()
    gc.freeze()


def _files(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"tests/{name}.py::" for name in names)


class _Postgres:
    """One cluster for each test process, with a migrated template to copy databases from."""

    def __init__(self) -> None:
        self._made: list[str] = []
        self._running = cluster()
        self.server = self._running.__enter__()
        self.url = self.server.url()
        # In a thread of its own: a test's loop may be running when the first test asks for the cluster.
        with ThreadPoolExecutor(1) as thread:
            try:
                thread.submit(asyncio.run, self._template()).result()
            except Exception as error:
                raise RuntimeError(f"no template; PostgreSQL says: {self.server.log()}") from error

    async def _template(self) -> None:
        admin = await asyncpg.connect(self.url.format(database="postgres"))
        await admin.execute("CREATE DATABASE template_tms")
        await admin.close()
        await migrate.upgrade(database_url(self.url.format(database="template_tms")))

    async def fresh(self, *, template: str = "template_tms", lasting: bool = False) -> str:
        """Make a database, which goes when many came after it, unless it is `lasting`; return its URL."""
        name = f"tms_{uuid.uuid4().hex[:12]}"
        admin = await asyncpg.connect(self.url.format(database="postgres"))
        try:
            await self._drop_oldest(admin)
            for _ in range(100):
                # Whoever was connected to the template may still be on the way out.
                with suppress(asyncpg.ObjectInUseError):
                    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
                    break
                await asyncio.sleep(0.05)
        finally:
            await admin.close()
        if not lasting:
            self._made.append(name)
        return self.url.format(database=name)

    async def _drop_oldest(self, admin: asyncpg.Connection) -> None:
        """Drop a database of a test that is over: nobody is connected to it, and many came after it."""
        for name in self._made[:-_KEPT_DATABASES]:
            with suppress(asyncpg.ObjectInUseError):
                await admin.execute(f"DROP DATABASE {name}")
                self._made.remove(name)

    def close(self) -> None:
        self._running.__exit__(None, None, None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[_Postgres]:
    running = _Postgres()
    yield running
    running.close()


@pytest.fixture
async def empty_database(request: pytest.FixtureRequest, database_kind: str, tmp_path: Path) -> str:
    """The URL of a database without any table."""
    if database_kind == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return await request.getfixturevalue("postgres").fresh(template="template0")


@pytest.fixture
def passing_path(tmp_path: Path) -> Iterator[Path]:
    """Return a directory for a world that need not outlive the machine."""
    place = memory()
    if place is None:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="tms-world-", dir=place, ignore_cleanup_errors=True) as path:
        yield Path(path)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "tms.db"
    with ThreadPoolExecutor(1) as thread:  # as in _Postgres
        thread.submit(asyncio.run, migrate.upgrade(database_url(f"sqlite:///{path}"))).result()
    return path


@pytest.fixture
def fresh_url(
    request: pytest.FixtureRequest, database_kind: str, tmp_path: Path
) -> Callable[[], Coroutine[None, None, str]]:
    """Return what makes a migrated database without any row and returns its URL."""

    async def make() -> str:
        if database_kind == "sqlite":
            shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "tms.db")
            return f"sqlite:///{tmp_path / 'tms.db'}"
        return await request.getfixturevalue("postgres").fresh()

    return make


@pytest.fixture
async def fresh_database(fresh_url: Callable[[], Coroutine[None, None, str]]) -> str:
    """The URL of a migrated database without any row."""
    return await fresh_url()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@asynccontextmanager
async def running_world(
    data: Path, url: str, clock: FakeClock, *, operator: str | None = None, **set_: str
) -> AsyncIterator[World]:
    """Run a service in this process on a loopback port, with an operator and the tenant `default`.

    They are made, unless `operator` is the credential of one that is there. `set_` are settings in TOML, each with a
    name that is there once, such as strict="false".
    """
    data.mkdir(exist_ok=True)
    text = f'{DEFAULT_TEXT}\n[database]\nurl = "{url}"\n'.replace("[database]\n# url", "# url")
    for name, value in set_.items():
        text, count = re.subn(rf"^# {name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        assert count == 1, name
    (data / SETTINGS_FILE).write_text(text)
    if not (data / MASTER_KEY_FILE).exists():
        create_master_key(data / MASTER_KEY_FILE)
    settings = load_settings(data)
    async with open_context(settings, clock) as context:
        if operator is None:
            operator = await _first_operator(context)
        log = Log()
        runner = Runner(build_app(context, settings, log), access_log=None, auto_decompress=False)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            keys = data / "keys"
            keys.mkdir(exist_ok=True)
            async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
                yield World(URL(f"http://127.0.0.1:{port}/"), http, clock, context, settings, operator, keys)
        finally:  # a socket that a failed test leaves open would fail one that has nothing to do with it
            await runner.cleanup()
            web_app._cached_build_middleware.cache_clear()  # in which a thousand services stay, for Python to walk through


async def _first_operator(context: Context) -> str:
    """Make the tenant `default` and an operator; return the operator's credential."""
    operator = local_operator()
    await context.directory.create_tenant(operator, "default", "", None, None, None, "ed25519")
    _, secret = await context.directory.add_with_secret(
        operator, rows.ADMINS, Role.OPERATOR, ALL_TENANTS, admin_id="admin", display_name="", enabled=True
    )
    return basic("admin", secret)


@dataclass
class Furnished:
    """A world to copy, at rest: making one takes longer than most tests."""

    data: Path  # with the database, where that is SQLite
    template: str  # the name of the database, where that is PostgreSQL
    clock_ms: int
    known: dict[str, Any]  # what a World knows of who is in it
    wholly: bool


Furnish = Callable[[bool], Furnished]  # the whole, or with an operator and a tenant only


async def furnish_at_rest(data: Path, url: str, *, wholly: bool) -> tuple[int, dict[str, Any]]:
    """Furnish a world and leave it; return the time of its clock, and what it knows of who is in it."""
    clock = FakeClock()
    async with running_world(data, url, clock) as world:
        if wholly:
            await world.furnish()
            ssh_keygen(world.keys, "id")
        ours = ("base", "http", "clock", "context", "settings", "keys")
        return clock.ms, {name: value for name, value in vars(world).items() if name not in ours}


@pytest.fixture(scope="session")
def furnished(request: pytest.FixtureRequest, database_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Furnish:
    """Return what makes a world to copy, once: one with an operator and a tenant only, or the whole."""
    made: dict[bool, Furnished] = {}

    def make(wholly: bool) -> Furnished:
        data, template = tmp_path_factory.mktemp("furnished") / "data", ""
        with ThreadPoolExecutor(1) as thread:  # as in _Postgres
            if database_kind == "sqlite":
                data.mkdir()
                shutil.copy(request.getfixturevalue("sqlite_template"), data / "tms.db")
                url = f"sqlite:///{data / 'tms.db'}"
            else:
                fresh = request.getfixturevalue("postgres").fresh(lasting=True)
                url = thread.submit(asyncio.run, fresh).result()
                template = database_url(url).database or ""
            clock_ms, known = thread.submit(asyncio.run, furnish_at_rest(data, url, wholly=wholly)).result()
        return Furnished(data, template, clock_ms, known, wholly)

    def get(wholly: bool) -> Furnished:
        if wholly not in made:
            made[wholly] = make(wholly)
        return made[wholly]

    return get


@asynccontextmanager
async def copied_world(
    request: pytest.FixtureRequest, original: Furnished, path: Path, clock: FakeClock, **set_: str
) -> AsyncIterator[World]:
    """Run a service on a copy of a furnished world; one is made for a test with a time of its own."""
    if clock.ms != FakeClock().ms:
        url = await request.getfixturevalue("fresh_url")()
        async with running_world(path / "data", url, clock, **set_) as world:
            if original.wholly:
                await world.furnish()
            yield world
        return
    data = Path(shutil.copytree(original.data, path / "data"))
    url = f"sqlite:///{data / 'tms.db'}"
    if original.template:
        url = await request.getfixturevalue("postgres").fresh(template=original.template)
    clock.ms = original.clock_ms
    async with running_world(data, url, clock, operator=original.known["operator"], **set_) as world:
        for name, value in copy.deepcopy(original.known).items():
            setattr(world, name, value)
        yield world


@pytest.fixture
async def bare_world(
    request: pytest.FixtureRequest, furnished: Furnish, passing_path: Path, clock: FakeClock
) -> AsyncIterator[World]:
    """A service with an operator and a tenant, nothing else."""
    async with copied_world(request, furnished(False), passing_path, clock) as world:
        yield world


@pytest.fixture
async def world(
    request: pytest.FixtureRequest, furnished: Furnish, passing_path: Path, clock: FakeClock
) -> AsyncIterator[World]:
    """A service in which alice delegated account alice on host h1 to the client portal."""
    async with copied_world(request, furnished(True), passing_path, clock) as world:
        yield world


# A machine that runs four tests at once, each with a PostgreSQL, may stand still for seconds. What a service does then
# has tests of its own: those of tests/replicas have the times that it has, and so have services that are processes.
SERVERS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
# For PostgreSQL in all, to connect, for one answer; for SQLite's turn; for a tenant that stands still, a first use in
# it; for a try, a search, a look at it all; for a group of certificates to be written.
WAITS = (
    (deadline, "REQUEST_SECONDS"), (postgres_store, "CONNECT_SECONDS"), (postgres_store, "ANSWER_SECONDS"),
    (turns, "BUSY_SECONDS"), (standstill, "MOST_SECONDS"), (mvp, "_MOST_SECONDS"),
    (attempts, "_PATIENCE_SECONDS"), (key_endings, "PATIENCE_SECONDS"), (readiness, "PATIENCE_SECONDS"),
    (admission, "STALLED_SECONDS"),
)  # fmt: skip
OUR_TIMES = (
    *(getattr(module, name) for module, name in WAITS),
    *(postgres_store.SERVER_SETTINGS[name] for name in SERVERS),
)
PATIENT_TIMES = (*(60.0 for _ in WAITS), *("60s" for _ in SERVERS))


def set_times(times: tuple[Any, ...]) -> None:
    """Set how long the service waits for what WAITS names, and PostgreSQL for what SERVERS names."""
    for (module, name), seconds in zip(WAITS, times, strict=False):
        setattr(module, name, seconds)
    postgres_store.SERVER_SETTINGS.update(zip(SERVERS, times[len(WAITS) :], strict=True))


def _compile_once() -> None:
    """Keep what statements of the hot path are compiled to: those of every world are the same, and take a quarter of it."""
    compile_, made = hot.Prepared.__init__, {}

    def once(prepared: hot.Prepared, statement: Any, dialect: Any, columns: Sequence[str] | None = None) -> None:
        shape = statement._generate_cache_key()
        constants = [repr(bound.value) for bound in shape.bindparams]
        key = (shape.key, *constants, type(dialect), *(columns or ()))
        if key not in made:
            compile_(prepared, statement, dialect, columns)
            made[key] = vars(prepared)
        vars(prepared).update(made[key])

    hot.Prepared.__init__ = once  # type: ignore[method-assign]


set_times(PATIENT_TIMES)
_compile_once()
os.environ.pop("TMS_CA_DATABASE_URL", None)
# How long an example takes, to make or to try, says something about the machine alone.
hypothesis.settings.register_profile(
    "tms", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)  # fmt: skip
hypothesis.settings.load_profile("tms")
