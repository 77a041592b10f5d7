"""/readyz: each thing that can be wrong is named, and traffic is kept away where it must be."""

import asyncio
import re
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import event, text

from tests.fakes import FakeClock

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"


class Usage(NamedTuple):
    total: int
    used: int
    free: int


async def look(world):
    """Return status, word and the checks that failed, by name."""
    reply = await world.call("GET", "/readyz")
    failed = {check["name"]: check for check in reply.json["checks"] if not check["ok"]}
    assert all(check["detail"] for check in failed.values())
    assert not any(check["blocking"] for check in reply.json["checks"] if check["ok"])
    return reply.status, reply.json["status"], failed


async def execute(world, *statements: str) -> None:
    async with world.context.readiness._database.engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))


class GoingOn(FakeClock):
    """PostgreSQL has a clock of its own: this one goes as that does, and is moved as that of other tests is."""

    def __init__(self):
        self._ahead_ms = -30_000  # furnishing a world moves it by that

    @property
    def ms(self) -> int:
        return time.time_ns() // 1_000_000 + self._ahead_ms

    def move(self, seconds: int) -> None:
        self._ahead_ms += seconds * 1000


@pytest.fixture
def clock(request):
    """Return the clock of the tests, one that goes on where they ask for `real_time`."""
    return GoingOn() if "real_time" in request.fixturenames else FakeClock()


@pytest.fixture
def real_time(clock):
    return clock


async def test_a_service_that_can_work_says_so(real_time, world):
    await world.issue()
    assert await look(world) == (200, "ok", {})


async def test_healthz_asks_nothing(bare_world):
    world = bare_world
    reply = await world.call("GET", "/healthz")
    assert (reply.status, reply.json) == (200, {"status": "ok"})


async def test_the_page_names_every_check(bare_world):
    world = bare_world
    checks = (await world.call("GET", "/readyz")).json["checks"]
    assert set(checks[0]) == {"name", "ok", "detail", "blocking"}
    names = {re.sub(r":.*", ":TENANT", check["name"]) for check in checks} | {"serving", "disk"}
    rows = re.findall(r"^\| `([\w:]+)` \| .* \| .* \|$", PAGE.read_text().split("## Metrics")[0], flags=re.MULTILINE)
    assert set(rows) == names


async def test_people_read_what_is_wrong_first(real_time, world):
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "empty"})
    await execute(world, "UPDATE ca_keys SET state = 'retired' WHERE tenant = 'empty'")
    reply = await world.call("GET", "/readyz", headers={"Accept": "text/plain"})
    lines = reply.body.decode().splitlines()
    assert reply.status == 200
    assert lines[0] == "tms-ca: degraded"
    assert lines[1].startswith("wrong    ca_key:empty: no active user CA key")
    assert "ok       master_key" in lines


async def test_one_tenant_without_a_key_keeps_no_traffic_away_and_all_of_them_do(bare_world):
    world = bare_world
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "empty"})
    await execute(world, "UPDATE ca_keys SET state = 'retired' WHERE tenant = 'empty'")
    status, word, failed = await look(world)
    assert (status, word, failed["ca_key:empty"]["blocking"]) == (200, "degraded", False)
    await execute(world, "UPDATE tenants SET enabled = false WHERE tenant = 'empty'")
    assert "ca_key:empty" not in (await look(world))[2]  # nobody is waiting for it
    await execute(world, "UPDATE tenants SET enabled = true WHERE tenant = 'empty'")
    await execute(world, "UPDATE ca_keys SET state = 'retired'")
    status, word, failed = await look(world)
    assert (status, word) == (503, "not ready")
    assert failed["ca_key:default"]["blocking"]
    assert failed["ca_key:empty"]["blocking"]
    text_ = (await world.call("GET", "/readyz", headers={"Accept": "text/plain"})).body.decode()
    assert "BLOCKING ca_key:default" in text_


async def test_a_chain_that_was_tampered_with_is_named(world):
    await world.issue()
    _, _, failed = await look(world)
    assert "chain" not in failed
    await execute(world, "DELETE FROM audit_events WHERE seq = (SELECT max(seq) FROM audit_events)")
    status, _, failed = await look(world)
    assert status == 200
    assert "audit verify" in failed["chain"]["detail"]


async def test_a_head_that_was_moved_back_is_named_though_its_event_is_there(world):
    await world.issue()
    await execute(
        world,
        "UPDATE audit_chains SET head_seq = head_seq - 1, head_hash = (SELECT hash FROM audit_events e WHERE "
        "e.chain = audit_chains.chain AND e.seq = audit_chains.head_seq - 1) WHERE head_seq > 1",
    )
    assert "chain" in (await look(world))[2]


async def test_a_clock_that_fell_back_keeps_traffic_away(real_time, world):
    await world.issue()
    world.clock.move(-20)
    status, word, failed = await look(world)
    assert (status, word, failed["clock"]["blocking"]) == (200, "degraded", False)
    world.clock.move(-60)
    status, word, failed = await look(world)
    assert (status, word, failed["clock"]["blocking"]) == (503, "not ready", True)
    behind = re.match(r"([0-9]+) s behind the newest certificate", failed["clock"]["detail"])
    assert 60 < int(behind[1]) <= 80


@pytest.mark.parametrize(
    ("free", "status", "word"), [(1 << 40, 200, "ok"), (1 << 28, 200, "degraded"), (1 << 20, 503, "not ready")]
)
async def test_a_full_disk_under_sqlite(bare_world, monkeypatch, free, status, word):
    world = bare_world
    if not world.context.readiness._database.is_sqlite:
        assert "disk" not in {check["name"] for check in (await world.call("GET", "/readyz")).json["checks"]}
        return
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, free))
    assert (await look(world))[:2] == (status, word)


async def test_a_krl_that_cannot_be_built_is_named(real_time, world):
    await world.issue()
    await world.good("POST", "revocations", auth=world.operator, json={"user": "alice", "reason": "x"})
    assert "krl:default" not in (await look(world))[2]
    await execute(world, "UPDATE ca_keys SET public_key = 'torn'", "UPDATE krls SET wanted = wanted + 1")
    status, word, failed = await look(world)
    assert (status, word) == (200, "degraded")
    assert list(failed) == ["krl:default"]


async def test_a_master_key_that_does_not_fit_keeps_traffic_away(bare_world):
    world = bare_world
    ring = world.context.readiness._ring
    ring._signers.clear()
    ring._metered.clear()
    await execute(world, "UPDATE ca_keys SET sealed_private_key = substr(sealed_private_key, 1, 20)")
    status, _, failed = await look(world)
    assert status == 503
    assert failed["master_key"]["blocking"]


async def test_a_service_that_is_being_stopped_says_nothing_else(bare_world):
    world = bare_world
    world.context.readiness.ending = True
    status, word, failed = await look(world)
    assert (status, word, list(failed)) == (503, "not ready", ["serving"])


async def test_those_who_ask_at_once_share_a_look(bare_world):
    world = bare_world
    looks = 0
    readiness = world.context.readiness
    inner = readiness._look

    async def counted():
        nonlocal looks
        looks += 1
        return await inner()

    readiness._look = counted
    await asyncio.gather(*(readiness.look() for _ in range(20)))
    assert looks == 1
    await readiness.look()
    assert looks == 2


async def test_a_look_asks_as_much_of_the_database_for_many_tenants_as_for_one(bare_world):
    """Under a flood each statement waits for a turn of the loop: a balancer would take a service of many for dead."""
    world = bare_world
    statements = 0

    def count(*_):
        nonlocal statements
        statements += 1

    async def asked():
        nonlocal statements
        assert (await look(world))[0] == 200  # the KRLs are built, and the keys opened
        statements = 0
        assert (await look(world))[0] == 200
        return statements

    event.listen(world.context.readiness._database.engine.sync_engine, "before_cursor_execute", count)
    one = await asked()
    for number in range(5):
        await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": f"t{number}"})
    assert 0 < await asked() == one


async def test_a_database_without_a_tenant_is_the_wrong_one(bare_world):
    await execute(bare_world, "UPDATE tenants SET enabled = false")
    assert "database" not in (await look(bare_world))[2]
    await execute(bare_world, "DELETE FROM tenants")
    status, word, failed = await look(bare_world)
    assert (status, word, failed["database"]["blocking"]) == (503, "not ready", True)
    assert "is it the right one" in failed["database"]["detail"]
