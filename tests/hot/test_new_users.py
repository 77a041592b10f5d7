"""A certificate for somebody of whom nothing is remembered: read and decided where the bytes arrive, on SQLite."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from tests.hot.conftest import Doors
from tests.hot.line import Line
from tests.hot.test_later import no_commits, recorded, wanted, warm
from tests.ssh.conftest import new_key
from tms_ca.core.publickey import parse_public_key


async def furnish(doors: Doors, line: Line, *, link: bool = True) -> None:
    """Make what a certificate for h2 needs, and ask for others until the client is remembered as it is since."""
    world = doors.world
    await world.add_host("h2")
    if link:
        await world.link("alice", "h2", "alice")
    await world.delegate("alice", "portal", "h2", "alice")
    await warm(doors, line)


async def test_the_first_certificate_is_answered_as_the_next(doors):
    line = doors.short.line()
    await furnish(doors, line)
    for turn in (1, 2):
        before, known = doors.short.short, await recorded(doors)
        said = await line.ask(wanted(doors, host="h2"))
        assert (said.status, doors.short.short - before) == (201, 1), turn
        assert await recorded(doors) != known


async def test_who_may_not_is_refused_by_the_long_way_and_on_record(doors):
    line = doors.short.line()
    await furnish(doors, line, link=False)
    for turn in (1, 2):
        before = doors.short.short
        said = await line.ask(wanted(doors, host="h2"))
        assert (said.status, said.code, doors.short.short - before) == (403, "account_link_missing", 0), turn
    events = await doors.world.good("GET", "audit-events?outcome=account_link_missing", auth=doors.world.operator)
    assert len(events["items"]) == 2


async def test_A_05_a_key_that_is_forbidden_is_refused_the_first_time_too(doors, tmp_path):
    world, line = doors.world, doors.short.line()
    await furnish(doors, line)
    forbidden, other = (new_key(tmp_path, name).public for name in ("forbidden", "other"))
    revocation = {"public_key_fingerprint": parse_public_key(forbidden).fingerprint, "reason": "lost"}
    await world.good("POST", "revocations", auth=world.operator, json=revocation)
    await warm(doors, line)
    said = await line.ask(wanted(doors, host="h2", public_key=forbidden))
    assert (said.status, said.code) == (403, "key_revoked")
    assert (await line.ask(wanted(doors, host="h2", public_key=other))).status == 201


@pytest.mark.parametrize(("change", "status"), [
    ("UPDATE tenants SET epoch = epoch + 1", 201),
    ("UPDATE tenants SET epoch = epoch + 1; UPDATE users SET enabled = 0", 403),
])  # fmt: skip
async def test_A_05_a_change_before_the_commit_of_the_first_counts(doors, change, status):
    line = doors.short.line()
    await furnish(doors, line)
    known, before = await recorded(doors), doors.short.short
    async with no_commits(doors):
        await line.send([wanted(doors, host="h2")])
        async with asyncio.timeout(60):
            while doors.short.short == before:
                await asyncio.sleep(0.001)
        with closing(sqlite3.connect(doors.world.settings.database_url.partition("///")[2])) as outside:
            outside.executescript(change)
    assert (await line.answer()).status == status
    assert len(await recorded(doors)) == len(known) + (status == 201)
