"""Group commit: many requests, one durable commit; a void or spoiled entry leaves nothing and harms nobody."""

import asyncio
from dataclasses import replace
from itertools import count

import pytest
from sqlalchemy import func, select, text

from tms_ca.core.errors import Unavailable
from tms_ca.core.model import CertificateRecord, Event
from tms_ca.store.hot import Entry, GroupCommit
from tms_ca.store.tables import audit_events, certificates, forbidden_keys, tenants


def record(serial: int) -> CertificateRecord:
    return CertificateRecord(
        serial=serial, tenant="default", key_id="k", user="alice", client_id="portal", host="h1", account="alice",
        delegation_id="dlg_1", public_key_fingerprint="SHA256:x", ca_fingerprint="SHA256:y", principals=("alice@h1",),
        critical_options=(), extensions=(), valid_after=1, valid_before=2, limited_by="requested", issued_at=1,
        sha256=b"\x01" * 32, request_id="r",
    )  # fmt: skip


def entry(serial: int, epoch: int) -> Entry:
    return Entry(
        Event(1, "default", "client:portal", "certificates.issue", "ok", f"serial:{serial}"), record(serial), epoch
    )


async def epoch_of(world) -> int:
    async with world.context.directory._database.read() as connection:
        return (await connection.execute(select(tenants.c.epoch).where(tenants.c.tenant == "default"))).scalar_one()


async def counts(world) -> tuple[int, int]:
    async with world.context.directory._database.read() as connection:
        written = (await connection.execute(select(func.count()).select_from(certificates))).scalar_one()
        query = select(func.count()).select_from(audit_events).where(audit_events.c.action == "certificates.issue")
        return written, (await connection.execute(query)).scalar_one()


async def test_many_requests_share_commits(bare_world):
    commits: GroupCommit = bare_world.context.commits
    epoch, before = await epoch_of(bare_world), commits.groups
    answers = await asyncio.gather(*(commits.submit(entry(serial, epoch)) for serial in range(1, 101)))
    assert answers == [True] * 100
    assert await counts(bare_world) == (100, 100)
    assert commits.groups - before < 20, "a commit for each would be 100"
    assert (await bare_world.context.auditing.verify()).faults == ()


async def test_those_who_come_one_in_each_turn_are_written_together(bare_world, database_kind, monkeypatch):
    """Who was answered together asks again soon; the first of them is a group where others do the work, and only there."""
    commits: GroupCommit = bare_world.context.commits
    epoch, serials, sizes = await epoch_of(bare_world), count(1), []
    write = commits._driver.commit

    async def noting(entries, chain):
        sizes.append(len(entries))
        return await write(entries, chain)

    monkeypatch.setattr(commits._driver, "commit", noting)

    async def ask(turns: int) -> None:
        for _ in range(20):
            for _ in range(turns):
                await asyncio.sleep(0)
            assert await commits.submit(entry(next(serials), epoch))

    await asyncio.gather(*(ask(turns) for turns in range(32)))
    assert sum(sizes) == 640
    assert (sizes.count(32) >= 18) is (database_kind == "sqlite"), sizes


async def test_an_entry_on_old_facts_is_void(bare_world):
    commits = bare_world.context.commits
    epoch = await epoch_of(bare_world)
    answers = await asyncio.gather(
        commits.submit(entry(1, epoch)), commits.submit(entry(2, epoch - 1)), commits.submit(entry(3, epoch + 1))
    )
    assert answers == [True, False, False]
    assert await counts(bare_world) == (1, 1)


FORBIDDEN = [
    ("default", "revoked", False), ("*", "ca", False), ("default", "host", False), ("elsewhere", "revoked", True),
]  # fmt: skip


@pytest.mark.parametrize(("tenant", "standing", "stands"), FORBIDDEN)
async def test_A_05_a_key_that_is_forbidden_now_voids_its_entry_alone(bare_world, tenant, standing, stands):
    """Also where nothing says that the tenant has changed; also behind others that one statement asks about."""
    commits, epoch = bare_world.context.commits, await epoch_of(bare_world)
    group = [entry(serial, epoch) for serial in range(1, 41)]
    for place in (0, 20, 39):
        key = replace(group[place].certificate, public_key_fingerprint="SHA256:forbidden")
        group[place] = replace(group[place], certificate=key)
    group[30] = replace(group[30], certificate=None)
    assert all(await asyncio.gather(*map(commits.submit, group[:1])))
    before = await counts(bare_world)
    async with bare_world.context.directory._database.transaction() as transaction:
        row = {"fingerprint": "SHA256:forbidden", "standing": standing, "tenant": tenant}
        await transaction.connection.execute(forbidden_keys.insert().values(row))
    answers = await asyncio.gather(*map(commits.submit, group[1:]))
    assert answers == [stands or place not in {20, 39} for place in range(1, 40)]
    after = await counts(bare_world)
    assert (after[0] - before[0], after[1] - before[1]) == (sum(answers) - 1, sum(answers))
    assert (await bare_world.context.auditing.verify()).faults == ()


async def test_every_change_voids_what_was_decided_before_it(bare_world):
    epoch = await epoch_of(bare_world)
    await bare_world.add_client("portal")
    assert await bare_world.context.commits.submit(entry(1, epoch)) is False
    assert await counts(bare_world) == (0, 0)


async def test_a_serial_is_never_used_twice_and_its_neighbours_go_on(bare_world):
    commits = bare_world.context.commits
    epoch = await epoch_of(bare_world)
    assert await commits.submit(entry(7, epoch))
    answers = await asyncio.gather(
        *(commits.submit(entry(serial, epoch)) for serial in (6, 7, 8)), return_exceptions=True
    )
    assert answers[0] is True
    assert isinstance(answers[1], Unavailable)
    assert answers[2] is True
    assert await counts(bare_world) == (3, 3)
    assert (await bare_world.context.auditing.verify()).faults == ()


async def test_E_03_no_audit_no_certificate(world, database_kind):
    """The audit table refuses; no certificate leaves, and when it takes rows again the chain goes on unbroken."""
    assert (await world.issue()).status == 201
    database = world.context.directory._database
    if database_kind == "sqlite":
        make = ["CREATE TRIGGER broken BEFORE INSERT ON audit_events BEGIN SELECT RAISE(FAIL, 'full'); END"]
        mend = ["DROP TRIGGER broken"]
    else:
        make = ["ALTER TABLE audit_events RENAME TO audit_events_away"]
        mend = ["ALTER TABLE audit_events_away RENAME TO audit_events"]
    for statement in make:
        async with database.engine.begin() as connection:
            await connection.execute(text(statement))
    refused = [await world.issue() for _ in range(3)]
    assert {(answer.status, answer.code) for answer in refused} == {(503, "database_unavailable")}
    assert all("certificate" not in answer.json for answer in refused)
    for statement in mend:
        async with database.engine.begin() as connection:
            await connection.execute(text(statement))
    async with database.read() as connection:
        assert (await connection.execute(select(func.count()).select_from(certificates))).scalar_one() == 1
    assert (await world.issue()).status == 201
    assert (await world.context.auditing.verify()).faults == ()


async def test_what_was_submitted_before_closing_is_durable(bare_world):
    commits = bare_world.context.commits
    epoch = await epoch_of(bare_world)
    waiting = [asyncio.ensure_future(commits.submit(entry(serial, epoch))) for serial in range(1, 11)]
    await asyncio.sleep(0)
    await commits.close()
    assert await asyncio.gather(*waiting) == [True] * 10


@pytest.mark.parametrize("tenant", ["nowhere", "Default"])
async def test_a_tenant_that_is_not_there_voids(bare_world, tenant):
    one = entry(1, 0)
    strange = replace(one, event=replace(one.event, tenant=tenant))
    assert await bare_world.context.commits.submit(strange) is False
