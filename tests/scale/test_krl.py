"""The KRL of many: whole, small, and no dearer for one revocation more."""

import asyncio
import random
import subprocess
import time
from functools import partial
from urllib.parse import quote

from sqlalchemy import event

from tests.scale import people
from tests.scale.fill import load
from tests.world import among_many
from tms_ca.app import open_context
from tms_ca.core import krlbook
from tms_ca.core.krl import parse_krl
from tms_ca.core.publickey import parse_ca_key
from tms_ca.services.krl import KEPT_AFTER_END_SECONDS, PRUNED_EVERY_SECONDS
from tms_ca.store import krls
from tms_ca.store import tables as t

WHOLE = 100_000
MOST_BYTES = 1_000_000


def crowd_of(world, scale, ca_fingerprint="") -> people.Crowd:
    return people.Crowd("default", ca_fingerprint, world.clock.now(), scale, 0)


async def get(world, **headers):
    return await world.call("GET", "krl", headers={name.replace("_", "-"): value for name, value in headers.items()})


async def ca_key(world):
    key = next(key for key in await world.context.cakeys.every("default") if key.purpose == "user")
    return parse_ca_key(key.public_key)


async def created(ask):
    reply = await among_many(ask)
    assert reply.status == 201, reply.body
    return reply


async def test_G_07_a_hundred_thousand_revocations_are_built_in_time_and_fit(world):
    """The whole hundred thousand, whatever the scale, from the database, as the first replica to be asked builds it."""
    count = WHOLE
    key = await ca_key(world)
    dice = random.Random(7)
    now = world.clock.now()
    serials = [dice.getrandbits(63) or 1 for _ in range(count)]
    rows = [
        {"serial": serial, "tenant": "default", "ca_fingerprint": key.fingerprint, "valid_before": now + 3600 + place % 9,
         "revocation_id": "rev_many", "change": 1} for place, serial in enumerate(serials)
    ]  # fmt: skip
    await asyncio.to_thread(load, world.settings.database_url, t.revoked_certificates, rows)
    async with world.context.krls._database.transaction() as transaction:
        await transaction.connection.execute(t.krls.update().values(wanted=t.krls.c.wanted + 1))
    began = time.process_time()
    built = await get(world)
    spent = time.process_time() - began
    assert len(built.body) <= MOST_BYTES
    parsed = parse_krl(built.body)
    assert all(parsed.lists_serial(key, serial) for serial in serials)
    assert sum(last - first + 1 for first, last in parsed.serials[key]) == count
    again = await get(world, If_None_Match=built.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    print(f"{count} revocations: {spent:.2f} s of processor time, {len(built.body)} bytes")


async def test_one_revocation_more_reads_what_is_new_and_encodes_one_shelf(crowded, scale, monkeypatch):
    first = await get(crowded)
    issued = (await crowded.issue()).json
    await crowded.good("POST", "revocations", auth=crowded.operator, json={"serial": issued["serial"], "reason": "x"})
    encoded, real = [], krlbook.serial_sections

    def counting(serials):
        encoded.append(len(serials))
        return real(serials)

    monkeypatch.setattr(krlbook, "serial_sections", counting)
    fetched = []
    whole = krls._batches

    async def watching(*arguments):
        async for batch in whole(*arguments):
            fetched.append(len(batch))
            yield batch

    monkeypatch.setattr(krls, "_batches", watching)
    second = await get(crowded)
    assert int(second.headers["X-KRL-Version"]) == int(first.headers["X-KRL-Version"]) + 1
    assert sum(fetched) == 1
    assert len(encoded) == 1
    assert encoded[0] < crowd_of(crowded, scale).revoked / 20 + 20
    assert parse_krl(second.body).lists_serial(await ca_key(crowded), int(issued["serial"]))
    assert len(second.body) <= len(first.body) + 64


async def test_a_krl_that_stands_is_served_without_reading_it(crowded):
    etag = (await get(crowded)).headers["ETag"]
    asked = []

    def note(_connection, _cursor, statement, *_):
        asked.append(statement)

    engine = crowded.context.krls._database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        assert (await get(crowded, If_None_Match=etag)).status == 304
        assert (await get(crowded)).status == 200
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert [one for one in asked if "krls" in one]
    assert [one for one in asked if "blob" in one or "revoked" in one] == []


async def test_replicas_hand_out_the_same_krl_whoever_built_it(crowded, scale):
    async with open_context(crowded.settings, crowded.clock) as other:
        for _ in range(3):
            issued = (await crowded.issue()).json
            reason = {"serial": issued["serial"], "reason": "x"}
            await crowded.good("POST", "revocations", auth=crowded.operator, json=reason)
            one, two = await asyncio.gather(crowded.context.krls.get("default"), other.krls.get("default"))
            assert (one.version, one.etag, one.blob) == (two.version, two.etag, two.blob)
            assert parse_krl(two.blob).lists_serial(await ca_key(crowded), int(issued["serial"]))
    async with open_context(crowded.settings, crowded.clock) as third:  # it reads all, the others read what came
        issued = (await crowded.issue()).json
        await crowded.good(
            "POST", "revocations", auth=crowded.operator, json={"serial": issued["serial"], "reason": "x"}
        )
        built = await third.krls.get("default")
        mine = crowded.context.krls._memories["default"]
        mine.krl = None
        await crowded.context.krls._build(
            "default", mine, await crowded.context.krls._state("default"), crowded.clock.now()
        )
        assert (await crowded.context.krls.get("default")).blob == built.blob, "reading less gave other contents"


async def test_what_has_ended_is_dropped_and_the_version_grows(crowded, scale):
    full = await get(crowded)
    last = crowded.clock.now() + people.DAY
    crowded.clock.move(people.DAY - 3600 + KEPT_AFTER_END_SECONDS - 60)
    before = await get(crowded)
    assert before.body == full.body
    crowded.clock.move(last + KEPT_AFTER_END_SECONDS + PRUNED_EVERY_SECONDS - crowded.clock.now())
    pruned = await get(crowded)
    assert int(pruned.headers["X-KRL-Version"]) > int(full.headers["X-KRL-Version"])
    assert parse_krl(pruned.body).serials == {}


async def test_G_06_ssh_keygen_agrees_on_a_thousand_certificates(world, tmp_path, database_kind, request):
    """500 of 1,000 real certificates are revoked, under two CA keys; ssh-keygen -Q says so of each.

    A fifth of them on PostgreSQL, whose statements are others: what is built of the rows is the same. `make test-all`
    has all of them there, too.
    """
    lines, whole = {}, database_kind == "sqlite" or request.config.getoption("--db") != "usual"
    count = 1000 if whole else 200

    async def some(count: int) -> None:
        for _ in range(0, count, 20):
            for answer in await asyncio.gather(*(created(world.issue) for _ in range(20))):
                lines[answer.json["serial"]] = answer.json["certificate"]

    await some(count // 2)
    made = await world.good("POST", "ca-keys", auth=world.operator, json={"purpose": "user"})
    await world.good("POST", f"ca-keys/{quote(made['fingerprint'], safe='')}/activate", auth=world.operator)
    await some(count // 2)
    revoked = set(list(lines)[::2])
    for first in range(0, len(lines), 40):
        await asyncio.gather(*(
            created(partial(world.call, "POST", "revocations", auth=world.operator, json={"serial": one, "reason": "x"}))
            for one in list(lines)[first : first + 40 : 2]
        ))  # fmt: skip
    (tmp_path / "krl").write_bytes((await get(world)).body)
    loaded = subprocess.run(["ssh-keygen", "-Ql", "-f", tmp_path / "krl"], capture_output=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    agreed = 0
    for first in range(0, len(lines), 250):
        group = list(lines)[first : first + 250]
        for serial in group:
            (tmp_path / f"{serial}-cert.pub").write_text(lines[serial])
        said = subprocess.run(
            ["ssh-keygen", "-Q", "-f", tmp_path / "krl", *(tmp_path / f"{serial}-cert.pub" for serial in group)],
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        for serial in group:
            line = next(line for line in said.splitlines() if f"{serial}-cert.pub" in line)
            assert line.endswith("REVOKED" if serial in revoked else "ok"), line
            agreed += 1
    assert (agreed, len(revoked)) == (count, count // 2)
