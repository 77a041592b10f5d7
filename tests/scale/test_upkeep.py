"""What upkeep deletes, and what it must never delete."""

import re
from dataclasses import replace

import pytest
from sqlalchemy import func, insert, select, update

from tms_ca.cli.init import local_operator
from tms_ca.services.auditing import Auditing
from tms_ca.services.upkeep import Upkeep
from tms_ca.store import retention
from tms_ca.store import tables as t
from tms_ca.store.retention import DAY, Retention

KEPT = Retention(certificates_days=7, audit_days=30)


def upkeep(world, kept=KEPT) -> Upkeep:
    return Upkeep(world.context.krls._database, world.context.vault, world.clock, kept)


async def run(world, kept=KEPT, **options):
    return await upkeep(world, kept).run(local_operator(), **options)


async def count(world, table) -> int:
    async with world.context.krls._database.read() as connection:
        return (await connection.execute(select(func.count()).select_from(table))).scalar_one()


async def write(world, *statements) -> None:
    async with world.context.krls._database.engine.begin() as connection:
        for statement in statements:
            await connection.execute(statement)


async def verified(world):
    return await Auditing(world.context.krls._database, world.context.vault).verify()


async def recorded(world) -> list[str]:
    """Return the outcomes of the runs that are on record."""
    found, _ = await world.context.auditing.page("*", {"action": "upkeep.run"}, None, 100)
    return [one.outcome for one in found]


async def revoke(world, **selector):
    return await world.good("POST", "revocations", auth=world.operator, json={**selector, "reason": "lost"})


async def test_by_default_certificates_revocations_and_events_stay_for_ever(few):
    before = {table: await count(few, table) for table in (t.certificates, t.revocations, t.audit_events)}
    few.clock.move(10 * 365 * DAY)
    await run(few, Retention())
    after = {table: await count(few, table) for table in before}
    assert after == before | {t.audit_events: before[t.audit_events] + 1}, "only the record of the run itself came"


async def test_certificates_go_when_they_ended_longer_ago_than_the_setting_says_and_none_before(world):
    issued = [(await world.issue(ttl_seconds=600)).json for _ in range(3)]
    ended = world.clock.now() + 600
    await revoke(world, serial=issued[0]["serial"])
    world.clock.move(ended + 7 * DAY - world.clock.now())
    assert (await run(world)).deleted["certificates"] == 0
    assert await count(world, t.certificates) == 3
    world.clock.move(1)
    assert (await run(world)).deleted["certificates"] == 3
    assert await count(world, t.certificates) == 0
    assert await count(world, t.revoked_certificates) == 0


async def test_a_certificate_that_has_not_ended_stays_and_so_does_its_revocation(few, scale):
    """Every revocation that could matter: in the table, in the KRL, at the login."""
    issued = (await few.issue()).json
    await revoke(few, serial=issued["serial"])
    blob = (await few.call("GET", "krl")).body
    revoked, alive = await count(few, t.revoked_certificates), t.certificates.c.valid_before > few.clock.now()
    async with few.context.krls._database.read() as connection:
        left = (await connection.execute(select(func.count()).select_from(t.certificates).where(alive))).scalar_one()
    done = await run(few, Retention(certificates_days=1))
    assert done.deleted["certificates"] > 0
    assert await count(few, t.revoked_certificates) == revoked
    async with few.context.krls._database.read() as connection:
        assert (
            await connection.execute(select(func.count()).select_from(t.certificates).where(alive))
        ).scalar_one() == left
    assert (await few.call("GET", "krl")).body == blob
    assert (await few.check(issued["certificate"])).code == "certificate_revoked"


async def test_what_is_revoked_for_good_stays_revoked_for_ever(world):
    issued = (await world.issue()).json
    await revoke(world, public_key_fingerprint=issued["public_key_fingerprint"])
    await world.add_user("bob", mfa=False)
    await world.add_client("batch")
    await world.add_host("h2")
    standing = [await revoke(world, **one) for one in ({"user": "bob"}, {"client_id": "batch"}, {"host": "h2"})]
    by_serial = await revoke(world, serial=issued["serial"])
    world.clock.move(400 * DAY)
    done = await run(world)
    assert done.deleted["certificates"] == 1
    assert done.deleted["revocations"] == 1, "that of the certificate, which is gone"
    kept = await world.good("GET", "revocations?limit=100", auth=world.operator)
    ids = {one["id"] for one in kept["items"]}
    assert {one["id"] for one in standing} < ids
    assert by_serial["id"] not in ids
    await world.log_in("alice")
    await world.verify("alice")
    assert (await world.call("GET", "users/bob", auth=world.operator)).json["revocation_id"] == standing[0]["id"]
    await world.link("alice", "h1", "alice2")
    fresh = await world.delegate("alice", "portal", "h1", "alice2")
    assert fresh["status"] == "pending"
    refused = await world.issue(account="alice2")
    assert refused.code == "key_revoked"


async def test_delegations_go_when_they_ended_and_nothing_rests_on_them(world):
    used, unused = world.delegation["id"], (await world.delegate("alice", "portal", "h1", "other"))["id"]
    waiting = (await world.delegate("alice", "portal", "h1", "third", approve=False))["id"]
    endless = (await world.delegate("alice", "portal", "h1", "fourth", lifetime_seconds=360 * DAY))["id"]
    await world.issue()
    world.clock.move((retention.ENDED_KEPT_DAYS + 31) * DAY)
    done = await run(world, Retention())
    async with world.context.krls._database.read() as connection:
        left = set((await connection.execute(select(t.delegations.c.delegation_id))).scalars())
    assert left == {used, endless}, (unused, waiting)
    assert done.deleted["delegations"] == 2
    assert (await run(world)).deleted["certificates"] == 1
    assert (await run(world)).deleted["delegations"] + done.deleted["delegations"] == 2
    async with world.context.krls._database.read() as connection:
        left = set((await connection.execute(select(t.delegations.c.delegation_id))).scalars())
    assert left == {endless}, "the certificate that rested on the other is gone, too"


async def test_what_rests_on_a_delegation_is_looked_up_by_an_index(few):
    sweep = retention.delegations_ended("default", few.clock.now())
    asked = select(*sweep.walk, sweep.ended).where(sweep.within).compile(compile_kwargs={"literal_binds": True})
    async with few.context.krls._database.read() as connection:
        if connection.dialect.name != "sqlite":
            pytest.skip("the plan of SQLite")
        plan = [row[3] for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}")]
    for table in ("certificates", "public_keys", "reservations"):
        (found,) = (line for line in plan if re.search(rf"\b{table}\b", line))
        assert re.search(rf"SEARCH {table} USING .*INDEX \w+ \(tenant=\? AND delegation_id=\?\)", found), found


async def test_sessions_secrets_and_counts_of_failures_that_ended_go(world):
    now = world.clock.now()
    await world.call("POST", "sessions", json={"user": "nobody", "password": "wrong wrong wrong"})
    await world.call("POST", "sessions", json={"user": "alice", "password": "wrong wrong wrong"})
    await write(world, insert(t.credentials).values(digest=b"1" * 32, credential_id="sec_old", role="client", tenant="default",
                subject="portal", created_at=now, expires_at=now + 60))  # fmt: skip
    world.clock.move(2 * DAY)
    await run(world, Retention())
    assert await count(world, t.sessions) == 0
    async with world.context.krls._database.read() as connection:
        assert "sec_old" not in (await connection.execute(select(t.credentials.c.credential_id))).scalars().all()
        subjects = (
            (await connection.execute(select(t.throttles.c.subject).order_by(t.throttles.c.subject))).scalars().all()
        )
    assert subjects == ["password:alice"], "a count of failures of somebody who is there"
    assert (await world.issue()).status == 403, "only that two days are over: MFA has ended"
    await world.log_in("alice")
    assert (await world.check("x")).status in {400, 403}


async def test_a_dry_run_says_what_a_run_does_and_changes_nothing(few):
    few.clock.move(3 * DAY)
    before = {table: await count(few, table) for table in t.metadata.sorted_tables}
    said = await run(few, dry_run=True)
    assert {table: await count(few, table) for table in before} == before
    done = await run(few)
    assert said.deleted == done.deleted
    assert said.deleted["certificates"] > 0
    assert said.deleted["audit events"] > 0


async def test_a_run_is_on_record(world):
    assert await recorded(world) == []
    await run(world)
    assert await recorded(world) == ["ok"]


async def test_pruned_chains_verify_and_go_on(few):
    whole = await verified(few)
    done = await run(few)
    assert done.deleted["audit events"] > 100
    assert (await few.issue()).status == 201
    left = await verified(few)
    assert left.faults == ()
    assert left.pruned == done.deleted["audit events"]
    assert left.events == whole.events - left.pruned + 2
    assert (await run(few)).deleted["audit events"] == 0


CHAIN = "000000005ca1e000"
FORGERIES = {
    "moved on": lambda c, row: {"start_seq": row.start_seq + 5, "start_hash": row.hash_5},
    "another hash": lambda c, row: {"start_hash": b"x" * 32},
    "no seal": lambda c, row: {"start_mac": None},
    "no start": lambda c, row: {"start_seq": None, "start_hash": None, "start_mac": None},
    "the head's seal": lambda c, row: {"start_seq": row.head_seq, "start_hash": row.head_hash, "start_mac": row.head_mac},
    "another chain's": lambda c, row: {"chain": "0" * 16},
}  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forged_start_of_a_chain_is_found(few, forgery):
    await run(few)
    assert (await verified(few)).faults == ()
    c = t.audit_chains.c
    async with few.context.krls._database.read() as connection:
        head = (await connection.execute(select(t.audit_chains).where(c.chain == CHAIN))).one()
        later = select(t.audit_events.c.hash).where(
            t.audit_events.c.chain == CHAIN, t.audit_events.c.seq == head.start_seq + 5
        )
        hash_5 = (await connection.execute(later)).scalar_one()
    row = type("Row", (), {**head._mapping, "hash_5": hash_5})
    values = FORGERIES[forgery](c, row)
    await write(few, update(t.audit_chains).where(c.chain == CHAIN).values(**values))
    if forgery in {"moved on", "the head's seal"}:  # a forger also removes what would lie before
        beyond = t.audit_events.c.seq <= values["start_seq"]
        await write(few, t.audit_events.delete().where(t.audit_events.c.chain == CHAIN, beyond))
    found = (await verified(few)).faults
    assert [fault.chain for fault in found if fault.chain in {CHAIN, "0" * 16}], found
    events = await count(few, t.audit_events)
    report = await run(few, replace(KEPT, audit_days=1))
    if forgery not in {"another chain's", "the head's seal"}:  # of these, nothing is left to prune
        assert report.faults, "upkeep prunes a chain whose start is forged"
    left = select(func.count()).select_from(t.audit_events).where(t.audit_events.c.chain == CHAIN)
    async with few.context.krls._database.read() as connection:
        assert (await connection.execute(left)).scalar_one() > 0 or forgery == "the head's seal"
    assert await count(few, t.audit_events) <= events + 1


async def test_an_altered_event_is_not_pruned_away(few):
    events = t.audit_events.c
    await write(few, update(t.audit_events).where(events.chain == CHAIN, events.seq == 7).values(actor="nobody"))
    report = await run(few)
    assert [fault for fault in report.faults if CHAIN in fault]
    (fault,) = (await verified(few)).faults
    assert (fault.chain, fault.seq) == (CHAIN, 7)
    assert await recorded(few) == ["chain_not_whole"]
