"""docs/audit-log.md: its SQL exports a real database, and its verifier judges that export."""

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import asyncpg
import pytest

from schemas.operations import AuditEventShape
from tms_ca.core.model import ALL_TENANTS, ChainedEvent
from tms_ca.store.engine import database_url

PAGE = (Path(__file__).parents[2] / "docs" / "audit-log.md").read_text()

Events = list[dict]
Verify = Callable[..., "subprocess.CompletedProcess[str]"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def verify(tmp_path) -> Verify:
    (script,) = blocks("python")
    (tmp_path / "verify.py").write_text(script)

    def run(*exports: Events):
        names = []
        for number, export in enumerate(exports):
            names.append(tmp_path / f"events{number}.json")
            names[-1].write_text(json.dumps(export))
        command = [sys.executable, "-I", tmp_path / "verify.py", *names]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
async def export(world) -> Events:
    """What the page's SQL gets out of a database with certificates, refusals and difficult characters."""
    await world.issue()
    await world.issue(account="root")
    reason = 'Zoë said "no" \\ \U0001f512 /'
    await world.good(
        "POST",
        "revocations",
        auth=world.operator,
        json={"user": "alice", "reason": reason},
    )
    await world.call("GET", "/api/v1/tenants/nobody/users", auth="tms_c_" + "x" * 43)
    on_sqlite, on_postgres = blocks("sql")
    url = database_url(world.settings.database_url)
    if url.get_backend_name() == "sqlite":
        connection = sqlite3.connect(url.database)
        connection.row_factory = sqlite3.Row
        found = [dict(row) for row in connection.execute(on_sqlite)]
        connection.close()
        return found
    connection = await asyncpg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        return json.loads(await connection.fetchval(on_postgres))
    finally:
        await connection.close()


def test_the_record_is_described_field_by_field():
    described = re.findall(r"^\| `(\w+)` \|", PAGE.partition("## What the hash covers")[0], flags=re.MULTILINE)
    assert described == [field.name for field in fields(ChainedEvent)]


async def test_the_verifier_believes_a_true_export(export, verify):
    run = verify(export)
    assert run.stdout == f"{len(export)} events, 0 faults\n", run.stderr
    assert run.returncode == 0


async def test_the_verifier_believes_what_the_api_shows(world, verify):
    await world.issue()
    reply = await world.call("GET", "audit-events?limit=1000", auth=world.operator)
    everybody, _ = await world.context.auditing.page(ALL_TENANTS, {}, None, 1000)
    run = verify(reply.json["items"], AuditEventShape().dump(everybody, many=True))
    assert (run.returncode, run.stdout) == (0, f"{len(reply.json['items']) + len(everybody)} events, 0 faults\n")


async def test_the_verifier_sees_every_field_that_was_changed(export, verify):
    at = len(export) // 2
    for field in fields(ChainedEvent):
        if field.name == "chain":
            continue  # every event of a chain names it: see the next test
        altered = json.loads(json.dumps(export))
        old = altered[at][field.name]
        altered[at][field.name] = old + 1 if isinstance(old, int) else "00" * 32 if field.name == "hash" else old + "x"
        assert verify(altered).returncode == 1, field.name


async def test_the_verifier_sees_another_chain_s_name(export, verify):
    assert verify([{**event, "chain": "0" * 16} for event in export]).returncode == 1


async def test_the_verifier_sees_a_gap_and_an_empty_export(export, verify):
    del export[len(export) // 2]
    assert "is not in the export" in verify(export).stdout
    assert verify(export).returncode == 1
    assert verify([]).returncode == 1
