"""A certificate is decided on what is remembered, and its commit asks whether that is still true."""

import asyncio
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest

from tests.api.stores import query
from tests.hot.conftest import Doors, another, open_doors
from tests.hot.line import Line
from tests.hot.test_direct_ends import ENDS
from tests.hot.test_later import recorded, wanted, warm
from tests.ssh.conftest import new_key
from tests.store.test_commits import entry, epoch_of
from tests.world import World
from tms_ca.app import CLOSING
from tms_ca.core.publickey import parse_public_key
from tms_ca.store.group_statement import CERTIFICATES, EVENTS, STATEMENT
from tms_ca.store.tables import forbidden_keys

REFUSED_TOO = [
    "tenant disabled", "client disabled", "client ended", "user disabled", "host disabled", "client revoked",
    "user revoked", "host revoked", "key revoked", "delegation revoked", "delegation revoked by its user",
    "link deleted", "link ended", "MFA reset", "MFA ended",
]  # fmt: skip
END_WHO_WAITS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
_FORBID = "INSERT INTO forbidden_keys (fingerprint, standing, tenant) VALUES ($1, $2, $3)"


@pytest.fixture
async def doors(world: World) -> AsyncIterator[Doors]:
    """A service with its short way, and the same without it."""
    async with open_doors(world) as made:
        yield made


class Outside:
    """Somebody else's connection to the database."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._lite: sqlite3.Connection | None = None
        self._post: asyncpg.Connection | None = None

    async def open(self) -> None:
        url = self._doors.world.settings.database_url
        if url.startswith("sqlite"):
            self._lite = sqlite3.connect(url.partition("///")[2], isolation_level=None)
        else:
            self._post = await asyncpg.connect(url)

    async def close(self) -> None:
        if self._lite is not None:
            self._lite.close()
        if self._post is not None:
            await self._post.close()

    async def execute(self, statements: str, *values: str) -> None:
        if self._post is not None:
            await self._post.execute(statements, *values)
            return
        assert self._lite is not None
        for one in statements.split(";"):
            self._lite.execute(re.sub(r"\$[0-9]", "?", one), values)

    async def end_who_waits(self) -> bool:
        """End every connection to PostgreSQL that waits for a lock."""
        assert self._post is not None
        return bool(await self._post.fetch(END_WHO_WAITS))

    @asynccontextmanager
    async def no_commits(self) -> AsyncIterator[None]:
        """Keep every group from being written until the end of what somebody else does, which may change the tenant."""
        if self._post is None:
            async with self._doors.world.context.commits._database.write_lock:
                yield
            return
        async with self._post.transaction():
            await self._post.execute("SELECT FROM tenants WHERE tenant = 'default' FOR UPDATE")
            yield


@pytest.fixture
async def outside(doors: Doors) -> AsyncIterator[Outside]:
    made = Outside(doors)
    await made.open()
    yield made
    await made.close()


async def begin(doors: Doors, line: Line, asked: bytes) -> None:
    """Send a request for a certificate, and wait until it is decided."""
    before = doors.short.short
    await line.send([asked])
    async with asyncio.timeout(60):
        while doors.short.short == before:
            await asyncio.sleep(0.001)


def fingerprint(asked: bytes) -> str:
    return parse_public_key(json.loads(asked.partition(b"\r\n\r\n")[2])["public_key"]).fingerprint


async def test_both_ways_give_the_same_answer(doors):
    short, long = doors.short.line(), doors.long.line()
    await warm(doors, short)
    await long.ask(wanted(doors))
    before = doors.short.short
    here, there = await short.ask(wanted(doors)), await long.ask(wanted(doors))
    assert (here.status, there.status, doors.short.short) == (201, 201, before + 1)
    assert list(here.headers) == list(there.headers)
    mine, other = json.loads(here.body), json.loads(there.body)
    own = {"certificate", "serial", "key_id", "valid_after", "valid_before"}
    assert {**mine, **dict.fromkeys(own)} == {**other, **dict.fromkeys(own)}
    assert {mine["serial"], other["serial"]} <= set(await recorded(doors))


async def test_E_02_E_07_nothing_is_said_before_the_commit_and_a_stop_waits_for_it(doors, outside):
    line = doors.short.line()
    await warm(doors, line)
    known = await recorded(doors)
    async with outside.no_commits():
        await begin(doors, line, wanted(doors))
        doors.short.app[CLOSING].set()
        stopping = asyncio.create_task(doors.short.runner.cleanup())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await (await line.streams())[0].read(1)
        assert await recorded(doors) == known
        assert not stopping.done()
    said = await line.answer()
    assert (said.status, said.headers["connection"]) == (201, "close")
    assert json.loads(said.body)["serial"] in await recorded(doors)
    assert await line.ended(60)
    await stopping


@pytest.mark.parametrize(("change", "status"), [
    ("SELECT 1", 201),
    ("UPDATE tenants SET epoch = epoch + 1", 201),
    ("UPDATE tenants SET epoch = epoch + 1; UPDATE users SET enabled = false", 403),
    ("UPDATE tenants SET epoch = epoch + 1; DELETE FROM credentials WHERE subject = 'portal'", 401),
])  # fmt: skip
async def test_A_05_A_06_what_is_decided_before_a_change_is_committed_without_it_or_not_at_all(
    doors, outside, change, status
):
    line = doors.short.line()
    await warm(doors, line)
    known = await recorded(doors)
    async with outside.no_commits():
        await begin(doors, line, wanted(doors))
        await outside.execute(change)
    said = await line.answer()
    assert said.status == status, said.body
    assert len(await recorded(doors)) == len(known) + (status == 201)


async def test_A_05_the_next_certificate_after_a_change_is_refused_on_every_replica(doors):
    line = doors.short.line()
    async with another(doors.world) as elsewhere:
        there = replace(doors, world=elsewhere)
        elsewhere.delegation = doors.world.delegation
        for what in REFUSED_TOO:
            spoil, mend, _ = ENDS[what]
            await warm(doors, line)
            asked = wanted(doors)
            before = doors.short.short
            await spoil(there)
            said = await line.ask(asked)
            assert said.status == 403, (what, said.body)
            # Decided on what was remembered, and void; what time brings about is known here.
            assert doors.short.short == before + (what != "MFA ended"), what
            await mend(there)
            assert (await line.ask(wanted(doors))).status == 201, what


FORBIDDEN = [
    ("default", "revoked", "key_revoked"), ("*", "ca", "key_is_ca_key"), ("default", "host", "key_is_host_key"),
    ("elsewhere", "revoked", None),
]  # fmt: skip


async def test_A_05_a_key_that_was_forbidden_without_a_change_of_the_tenant_is_refused_alone(doors, outside, tmp_path):
    one, other = doors.short.line(), doors.short.line()
    world = doors.world
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "elsewhere"})
    for number, (tenant, standing, code) in enumerate(FORBIDDEN):
        await warm(doors, one)
        await warm(doors, other)
        asked = wanted(doors, public_key=new_key(tmp_path, f"id{number}").public)
        await outside.execute(_FORBID, fingerprint(asked), standing, tenant)
        known = await recorded(doors)
        async with outside.no_commits():
            await begin(doors, one, asked)
            await begin(doors, other, wanted(doors))
        said = await one.answer()
        assert said.status == (201 if code is None else 403), (tenant, standing, said.body)
        assert code is None or said.code == code
        assert (await other.answer()).status == 201, "its neighbour in the group"
        assert len(await recorded(doors)) == len(known) + 1 + (code is None)


async def test_a_key_that_was_found_forbidden_reaches_no_group_again_until_it_is_allowed(doors, outside, tmp_path):
    line = doors.short.line()
    await warm(doors, line)
    asked = wanted(doors, public_key=new_key(tmp_path, "id").public)
    await outside.execute(_FORBID, fingerprint(asked), "revoked", "default")
    assert (await line.ask(asked)).code == "key_revoked"
    decided = doors.short.short
    for _ in range(3):
        assert (await line.ask(asked)).code == "key_revoked"
    assert doors.short.short == decided, "nobody signs for it, nor writes a group twice because of it"
    await outside.execute("DELETE FROM forbidden_keys WHERE fingerprint = $1", fingerprint(asked))
    for _ in range(2):
        assert (await line.ask(asked)).status == 201
    assert doors.short.short == decided + 1


async def test_A_05_of_a_group_only_what_stands_is_written(bare_world):
    world, commits = bare_world, bare_world.context.commits
    epoch = await epoch_of(world)
    assert await commits.submit(entry(1, epoch))
    async with world.context.directory._database.transaction() as transaction:
        row = {"fingerprint": "SHA256:x", "standing": "revoked", "tenant": "default"}
        await transaction.connection.execute(forbidden_keys.insert().values(row))
    group = [entry(2, epoch), entry(3, epoch - 1), entry(4, epoch), replace(entry(5, epoch), certificate=None)]
    good = replace(group[2].certificate, public_key_fingerprint="SHA256:z")
    group[2] = replace(group[2], certificate=good)
    assert await asyncio.gather(*map(commits.submit, group)) == [False, False, True, True]
    assert [serial for (serial,) in await query(world, "SELECT serial FROM certificates ORDER BY id")] == [1, 4]
    assert (await world.context.auditing.verify()).faults == ()


@pytest.mark.parametrize("analyzed", [False, True])
async def test_forbidden_keys_are_looked_up_one_by_one_among_many(postgres, database_kind, analyzed):
    if database_kind != "postgres":
        pytest.skip("tests/scale/test_plans.py has SQLite")
    outside = await asyncpg.connect(await postgres.fresh(), server_settings={"plan_cache_mode": "force_generic_plan"})
    await outside.execute(
        "INSERT INTO tenants VALUES ('default', '', true, 1, 1, 1, 1, 1);"
        "INSERT INTO forbidden_keys SELECT 'SHA256:' || n, 'revoked', 'default' FROM generate_series(1, 20000) n"
    )
    if analyzed:
        await outside.execute("ANALYZE")
    rows = [*CERTIFICATES.lists([entry(1, 1).certificate]), *EVENTS.lists([])]
    plan = await outside.fetch(f"EXPLAIN {STATEMENT}", ["default"], [1], "c", 1, b"", b"", *rows)
    steps = [one[0] for one in plan if "forbidden_keys" in one[0]]
    await outside.close()
    assert [step for step in steps if "pk_forbidden_keys" in step]
    assert [step for step in steps if "Seq Scan" in step] == []


async def test_E_05_a_connection_that_is_lost_meanwhile_is_answered_for_and_all_goes_on(doors, outside, database_kind):
    if database_kind != "postgres":
        pytest.skip("SQLite has no connections to lose")
    lines = [doors.short.line() for _ in range(5)]
    for line in lines:
        await warm(doors, line)
    known = await recorded(doors)
    async with outside.no_commits():
        for line in lines:
            await begin(doors, line, wanted(doors))
        async with asyncio.timeout(60):
            while not await outside.end_who_waits():
                await asyncio.sleep(0.001)
        for line in lines:
            said = await line.answer()
            assert (said.status, said.code, said.headers["retry-after"]) == (503, "database_unavailable", "2")
            assert b"cert-v01" not in said.body
    assert await recorded(doors) == known
    assert doors.world.context.metrics.in_flight.value == 0
    for line in lines:
        assert (await line.ask(wanted(doors))).status == 201
