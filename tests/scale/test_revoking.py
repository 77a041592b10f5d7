"""Revoking one certificate, by whatever names it: what holds the tenant meanwhile looks rows up, and reads no others."""

import asyncio
import json
import re
import shutil
import sqlite3
from collections import defaultdict

import asyncpg
import pytest
from sqlalchemy import event

from tests.conftest import running_world
from tests.scale.fill import fill
from tests.scale.test_plans import Recorder, plan_of
from tests.world import ssh_keygen

SELECTORS = ("serial", "key_id", "public_key_fingerprint")


class UnderLock(Recorder):
    """The statements of transactions that have the lock of SQLite's one writer."""

    def patch(self, monkeypatch):
        real = sqlite3.connect

        def connect(*arguments, **options):
            connection = real(*arguments, **options)
            locked = False

            def note(statement):
                nonlocal locked
                if statement.startswith(("BEGIN", "COMMIT", "ROLLBACK")):
                    locked = statement == "BEGIN IMMEDIATE"
                elif locked:
                    self.note(statement)

            connection.set_trace_callback(note)
            return connection

        monkeypatch.setattr(sqlite3, "connect", connect)


@pytest.mark.parametrize("analyzed", [True, False])
async def test_no_lock_is_held_while_certificates_are_searched(
    tmp_path, clock, scale, monkeypatch, sqlite_template, analyzed
):
    recorder = UnderLock()
    recorder.patch(monkeypatch)
    shutil.copy(sqlite_template, tmp_path / "tms.db")
    url = f"sqlite:///{tmp_path / 'tms.db'}"
    async with running_world(tmp_path / "data", url, clock) as world:
        await world.furnish()
        await asyncio.to_thread(fill, url, scale=scale / 10, master_key=world.settings.master_key, now=clock.now())
        if not analyzed:
            with sqlite3.connect(tmp_path / "tms.db") as plain:
                plain.execute("DELETE FROM sqlite_stat1")
        await revoke_by_each(world, recorder)
    with sqlite3.connect(tmp_path / "tms.db") as connection:
        for selector in SELECTORS:
            asked = [text for text in recorder.asked[selector].values() if re.search(r"FROM certificates\b", text)]
            assert any("INTO revoked_certificates" in text for text in asked), "the check finds none"
            assert [one for text in asked for one in plan_of(connection, text) if searched(one)] == []
    connection.close()


async def revoke_by_each(world, recorder):
    for selector in SELECTORS:
        for auth in (world.operator, world.clients["portal"]):
            key = ssh_keygen(world.keys, f"{selector}-{auth[-6:]}")
            issued = (await world.issue(public_key=key.public)).json
            recorder.step = selector
            body = {selector: issued[selector], "reason": "x"}
            made = await world.good("POST", "revocations", auth=auth, json=body)
            recorder.step = ""
            assert made["certificates"] == 1


def searched(step):
    """Tell whether more than one user's certificates, or one, are looked at."""
    found = re.search(r"(SCAN|SEARCH) certificates(?: USING (?:COVERING )?INDEX (\S+) \((.*)\))?", step)
    return found is not None and found[3] not in {"serial=?", "tenant=? AND user=?"}


class UnderRowLock:
    """The statements, with their values, of PostgreSQL's transactions that hold the tenant's row."""

    def __init__(self, engine):
        self.step = ""
        self.asked = defaultdict(dict)
        self._holders = set()
        event.listen(engine, "before_cursor_execute", self._note)
        for end in ("commit", "rollback"):
            event.listen(engine, end, self._holders.discard)

    def _note(self, connection, _cursor, statement, parameters, _context, _many):
        if connection in self._holders and self.step:
            self.asked[self.step].setdefault(statement, parameters)
        if statement.startswith("UPDATE tenants SET epoch"):
            self._holders.add(connection)


def looked_for(plan):
    """Yield how each part of `plan` finds rows of certificates: by what condition on an index, "" without any."""
    if plan.get("Relation Name") == "certificates" and plan["Node Type"] != "ModifyTable":
        inner = plan.get("Plans", [{}])[0]  # of a bitmap
        yield plan.get("Index Cond") or inner.get("Index Cond", "")
    for part in plan.get("Plans", ()):
        yield from looked_for(part)


def of_one(condition):
    return re.search(r"\bserial =|\"user\" =", condition) is not None


async def test_no_lock_is_held_while_certificates_are_searched_on_postgresql(tmp_path, clock, scale, request):
    """By the plans that PostgreSQL makes of the very statements."""
    if request.config.getoption("--db") == "sqlite":
        pytest.skip("PostgreSQL is not wanted")
    url = await request.getfixturevalue("postgres").fresh()
    async with running_world(tmp_path / "data", url, clock) as world:
        await world.furnish()
        await asyncio.to_thread(fill, url, scale=scale / 10, master_key=world.settings.master_key, now=clock.now())
        recorder = UnderRowLock(world.context.revocations._database.engine.sync_engine)
        await revoke_by_each(world, recorder)
    admin = await asyncpg.connect(url)

    async def conditions(statement, *parameters):
        (found,) = json.loads(await admin.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *parameters))
        return list(looked_for(found["Plan"]))

    for selector in SELECTORS:
        asked = [(text, values) for text, values in recorder.asked[selector].items() if "certificates" in text]
        found = [one for text, values in asked for one in await conditions(text, *values)]
        assert found, "the check finds none"
        assert [one for one in found if not of_one(one)] == []
    fingerprint = "SELECT serial FROM certificates WHERE tenant = 'default' AND public_key_fingerprint = 'x'"
    assert not all(map(of_one, await conditions(fingerprint))), "the check tells nothing"
    await admin.close()
