"""A service to import into."""

import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.fakes import FakeClock
from tests.import_tms.old import Old
from tests.tms_v1.conftest import Started, started, tms  # noqa: F401 - fixtures
from tests.tms_v1.wire import Tms
from tms_ca.cli.init import local_operator
from tms_ca.services.import_report import ImportReport
from tms_ca.store import tables
from tms_ca.store.tms_source import read_source

Bring = Callable[..., Awaitable[ImportReport]]


async def bring_into(
    tms: Tms, url: str, *tenants: str, adopted: Sequence[str] = ("portal",), dry_run: bool = False  # noqa: F811 - a fixture
) -> ImportReport:  # fmt: skip
    """Import the database of a URL; the service has a client `portal` of its own, which is taken for the old one."""
    source = await read_source(url)
    importing = tms.world.context.importing
    return await importing.run(local_operator(), source, tenants, adopted, dry_run=dry_run)


@pytest.fixture
def old(clock: FakeClock) -> Old:
    return Old(clock.now())


@pytest.fixture
def bring(tms: Tms) -> Bring:  # noqa: F811 - a fixture
    """Return what imports the database of a URL."""
    return partial(bring_into, tms)


@pytest.fixture
def old_url(tmp_path: Path, old: Old) -> Callable[..., str]:
    """Return what writes the old rows into a database of 0.2."""
    return lambda name="old": old.sqlite(tmp_path / f"{name}.db")


async def dump(tms: Tms) -> dict[str, list[str]]:  # noqa: F811 - a fixture
    """Return every row of every table but the audit trail's; epochs and numbers with them."""
    found = {}
    async with tms.world.context.directory._database.read() as connection:
        for table in tables.metadata.sorted_tables:
            if not table.name.startswith("audit_"):
                rows = await connection.execute(select(table))
                found[table.name] = sorted(repr(tuple(row)) for row in rows)
    return found


def reasons(report: ImportReport, table: str) -> dict[str, str]:
    """Return why rows of a table stay behind, by name."""
    said: dict[str, Any] = json.loads(json.dumps(report.as_object()))
    return {one["name"]: one["reason"] for one in said["left"] if one["table"] == table}
