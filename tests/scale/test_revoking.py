"""Revoking one certificate, by whatever names it: what holds the tenant meanwhile looks rows up, and reads no others."""

import asyncio
import re
import shutil
import sqlite3

import pytest

from tests.api.test_revocations import krl, listed
from tests.conftest import running_world
from tests.scale.fill import fill
from tests.scale.test_plans import Recorder, plan_of
from tests.world import ssh_keygen
from tms_ca.services.revocation import Revocations

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
        for selector in SELECTORS:
            for auth in (world.operator, world.clients["portal"]):
                key = ssh_keygen(world.keys, f"{selector}-{auth[-6:]}")
                issued = (await world.issue(public_key=key.public)).json
                recorder.step = selector
                body = {selector: issued[selector], "reason": "x"}
                made = await world.good("POST", "revocations", auth=auth, json=body)
                recorder.step = ""
                assert made["certificates"] == 1
    with sqlite3.connect(tmp_path / "tms.db") as connection:
        for selector in SELECTORS:
            asked = [text for text in recorder.asked[selector].values() if re.search(r"FROM certificates\b", text)]
            assert any("INTO revoked_certificates" in text for text in asked), "the check finds none"
            assert [one for text in asked for one in plan_of(connection, text) if searched(one)] == []
    connection.close()


def searched(step):
    """Tell whether more than one user's certificates, or one, are looked at."""
    found = re.search(r"(SCAN|SEARCH) certificates(?: USING (?:COVERING )?INDEX (\S+) \((.*)\))?", step)
    return found is not None and found[3] not in {"serial=?", "tenant=? AND user=?"}


async def test_what_is_issued_while_a_key_s_certificates_are_searched_is_revoked_with_them(
    world, tmp_path, monkeypatch
):
    search = Revocations._search
    more = []

    async def slow(self, *arguments):
        found = await search(self, *arguments)
        if not more:
            more.append((await world.issue()).json)
        return found

    monkeypatch.setattr(Revocations, "_search", slow)
    before = (await world.issue()).json
    body = {"public_key_fingerprint": before["public_key_fingerprint"], "reason": "x"}
    made = await world.good("POST", "revocations", auth=world.operator, json=body)
    assert made["certificates"] == 2
    for issued in (before, more[0]):
        assert listed(tmp_path, (await krl(world)).body, issued["certificate"])
        record = await world.good("GET", f"certificates/{issued['serial']}", auth=world.clients["portal"])
        assert record["revocation_id"] == made["id"]
    kept = await world.good("GET", "revocations?selector=public_key_fingerprint", auth=world.operator)
    assert [one["certificates"] for one in kept["items"]] == [2]
