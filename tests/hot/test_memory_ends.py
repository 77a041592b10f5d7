"""Where memory ends: its limits, tenants that went and came, credentials that became bad and good again."""

import pytest
from sqlalchemy import delete, insert

from tests.hot.test_memory import epoch_to, facts_of, known, write
from tms_ca.core.errors import Denied, Unauthenticated
from tms_ca.services.ids import secret_digest
from tms_ca.store import memory
from tms_ca.store import tables as t


async def test_a_tenant_of_the_same_name_is_another(world):
    """No call deletes a tenant; whoever does it by hand, and makes it again, begins beyond every epoch before."""
    facts, serial = await known(world)
    async with world.context.directory._database.read() as connection:
        old = dict((await connection.execute(t.tenants.select())).mappings().one())
    for table in (
        t.account_links,
        t.delegations,
        t.credentials,
        t.sessions,
        t.totp_factors,
        t.users,
        t.clients,
        t.hosts,
    ):
        await write(world, delete(table).where(table.c.tenant == "default"))
    assert await facts.for_login("default", "h1", serial) != await facts._reader.for_login("default", "h1", serial), (
        "deleted by hand, and no epoch told"
    )
    await write(world, epoch_to(max(old["epoch"] + 1, world.clock.now_ms())))
    assert await facts.for_login("default", "h1", serial) == await facts._reader.for_login("default", "h1", serial)
    assert (await facts.for_login("default", "h1", serial)).user is None


async def test_a_tenant_that_is_gone_is_not_remembered(world):
    facts, serial = await known(world)
    async with world.context.directory._database.read() as connection:
        old = dict((await connection.execute(t.tenants.select())).mappings().one())
    try:
        await write(world, delete(t.krls), delete(t.ca_keys), delete(t.tenants))
    except Exception as error:
        pytest.fail(f"the schema keeps tenants: {error}")
    assert await facts.for_login("default", "h1", serial) is None
    assert facts.for_login_at_once("default", "h1", serial) is None
    assert await facts.for_issue("default", "portal", "alice", "h1", "alice", "SHA256:x") is None
    await write(world, insert(t.tenants).values(**{**old, "epoch": old["epoch"] + 1, "enabled": False}))
    assert await facts.for_login("default", "h1", serial) == await facts._reader.for_login("default", "h1", serial)


async def test_memory_is_bounded(world, monkeypatch):
    monkeypatch.setattr(memory, "MOST_TENANTS", 3)
    monkeypatch.setattr(memory, "MOST_ENTRIES", 5)
    facts = facts_of(world)
    serials = [int((await world.issue()).json["serial"]) for _ in range(8)]
    names = [f"t{number}" for number in range(6)]
    for name in names:
        await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": name})
        await world.good("POST", "hosts", auth=world.operator, json={"host": "h1"}, tenant=name)
    for _ in range(2):
        for serial in serials:
            for _ in range(3):
                assert await facts.for_login("default", "h1", serial) == await facts._reader.for_login(
                    "default", "h1", serial
                )
        for number in range(12):
            asked = ("default", "portal", f"user{number}", "h1", "alice", "SHA256:x")
            assert await facts.for_issue(*asked) == await facts._reader.for_issue(*asked)
        for name in names:
            asked = (name, "portal", "alice", "h1", "alice", "SHA256:x")
            for _ in range(2):
                assert await facts.for_issue(*asked) == await facts._reader.for_issue(*asked)
        assert len(facts._tenants) <= 3
        assert all(len(one.entries) <= 5 for one in facts._tenants.values())
    for number in range(9):
        name = f"more{number}"
        await world.add_host(name)
        digest = secret_digest(world.hosts[name])
        assert (await facts.holder(digest)).subject == name
        assert facts.remembered_holder(digest) is not None
        assert len(facts._holders) <= 5


SWITCHES = {
    "hosts/h1": ({"enabled": False}, {"enabled": True}, 403),
    "/api/v1/tenants/default": ({"enabled": False}, {"enabled": True}, 403),
}


async def test_A_06_a_credential_that_became_bad_is_refused_at_once_and_taken_at_once_when_it_is_good(world):
    certificate = (await world.issue()).json["certificate"]
    for path, (bad, good, status) in SWITCHES.items():
        for _ in range(3):
            assert (await world.check(certificate)).status == 200
            await world.good("PATCH", path, auth=world.operator, json=bad)
            assert (await world.check(certificate)).status == status
            await world.good("PATCH", path, auth=world.operator, json=good)
            assert (await world.check(certificate)).status == 200
            assert (await world.issue()).status == 201


async def test_A_06_a_secret_that_was_taken_back_opens_nothing_more(world):
    certificate = (await world.issue()).json["certificate"]
    first = world.hosts["h1"]
    made = await world.good("POST", "hosts/h1/secrets", auth=world.operator)
    for secret in (first, made["secret"], first, made["secret"]):
        world.hosts["h1"] = secret
        assert (await world.check(certificate)).status == 200
    listed = (await world.good("GET", "hosts/h1/secrets", auth=world.operator))["items"]
    for one in listed:
        await world.good("DELETE", f"hosts/h1/secrets/{one['credential_id']}", auth=world.operator)
        left = 0
        for secret in (first, made["secret"]):
            world.hosts["h1"] = secret
            reply = await world.check(certificate)
            assert (reply.status, reply.code) in {(200, ""), (401, "credential_not_good")}
            left += reply.status == 200
        assert left == len(listed) - 1 - listed.index(one)


async def test_A_06_what_is_remembered_of_a_holder_is_never_the_reason_for_a_refusal(world):
    """A refusal must be of now: memory may be of yesterday."""
    authentication = world.context.authentication
    secret = world.hosts["h1"]
    asked = {"name": None, "request_id": "r", "address": "a"}
    anew = {**asked, "tenant": "default"}
    known = authentication.known_by(secret, None)
    assert (await authentication.by_secret(secret, **anew)).id == "h1"
    await world.good("PATCH", "hosts/h1", auth=world.operator, json={"enabled": False})
    with pytest.raises(Denied):
        await authentication.by_secret(secret, **anew)
    assert authentication.remembered(known, None, "r", "a") is None
    await world.good("PATCH", "hosts/h1", auth=world.operator, json={"enabled": True})
    assert (await authentication.by_secret(secret, **anew, fresh=False)).id == "h1"
    for number in range(2):
        with pytest.raises(Unauthenticated):
            await authentication.by_secret(secret, **{**anew, "name": "h2"}, fresh=bool(number))
    await write(world, delete(t.credentials).where(t.credentials.c.subject == "h1"))
    with pytest.raises(Unauthenticated):
        await authentication.by_secret(secret, **anew)
    assert authentication.remembered(known, None, "r", "a") is None
