"""The second factor on two services and over a restart: one code, one count, one last step."""

import asyncio

from sqlalchemy import select

from tests.conftest import running_world
from tests.store.test_races import second_service
from tests.world import PASSWORD
from tms_ca.services.ids import secret_digest
from tms_ca.services.people import FREE_FAILURES, LOCKED_FAILURES, wait_after
from tms_ca.store import tables as t


async def post(world, code):
    return await world.call("POST", "mfa/verify", auth=world.sessions["alice"], json={"code": code})


async def test_C_01_a_code_is_good_once_on_two_services(world):
    async with second_service(world) as other:
        for _ in range(5):
            world.clock.move(7200)
            await world.log_in("alice")
            replies = await asyncio.gather(*(post(service, world.code("alice")) for service in (world, other) * 10))
            good = [reply for reply in replies if reply.status == 200]
            assert len(good) == 1
            assert {reply.code for reply in replies} <= {"", "mfa_failed", "too_many_failures"}
        assert (await world.context.auditing.verify()).faults == ()


async def test_C_03_a_clock_that_goes_back_accepts_nothing_twice(world):
    world.clock.move(3600)
    code = world.code("alice")
    assert (await post(world, code)).status == 200
    world.clock.move(-1800)
    assert (await post(world, code)).status == 401
    assert (await post(world, world.code("alice"))).status == 401, "a step below the last that was accepted"
    world.clock.move(1830)
    assert (await post(world, world.code("alice"))).status == 200


async def test_C_04_two_services_share_one_count_and_a_restart_forgets_nothing(tmp_path, fresh_database, clock):
    async with running_world(tmp_path / "data", fresh_database, clock) as world:
        await world.furnish()
        clock.move(300)
        async with second_service(world) as other:
            wrong = world.wrong_code("alice")
            replies = await asyncio.gather(*(post(service, wrong) for service in (world, other) * 8))
            assert sorted(reply.status for reply in replies) == [401] * FREE_FAILURES + [429] * (16 - FREE_FAILURES)
        settings, seeds, sessions = world.settings, world.seeds, world.sessions
    from tms_ca.app import open_context

    async with open_context(settings, clock) as context:
        world.context, world.seeds, world.sessions = context, seeds, sessions
        async with second_service(world) as again:
            again.seeds = seeds
            refused = await post(again, again.code("alice"))
            assert (refused.status, int(refused.headers["Retry-After"])) == (429, wait_after(FREE_FAILURES))
            clock.move(wait_after(FREE_FAILURES))
            assert (await post(again, again.code("alice"))).status == 200


async def test_C_04_ten_thousand_guesses_an_hour_are_a_handful(world):
    """As many as one likes, at any pace: those that are looked at stay below the lock."""
    looked_at = 0
    for _ in range(120):
        reply = await post(world, world.wrong_code("alice"))
        looked_at += reply.status == 401
        world.clock.move(30)
    assert looked_at < 15
    assert wait_after(LOCKED_FAILURES) == 3600


async def test_C_05_passwords_of_known_and_unknown_users_are_throttled_alike(world):
    async def guesses(user):
        body = {"user": user, "password": "wrong password"}
        replies = [await world.call("POST", "sessions", json=body) for _ in range(FREE_FAILURES + 2)]
        return [(reply.status, reply.code, reply.headers.get("Retry-After")) for reply in replies]

    assert await guesses("alice") == await guesses("nobody")
    assert (await world.call("POST", "sessions", json={"user": "alice", "password": PASSWORD})).status == 429
    await world.good("DELETE", "users/alice/mfa", auth=world.operator)
    assert (await world.call("POST", "sessions", json={"user": "alice", "password": PASSWORD})).status == 201


async def test_F_04_the_database_holds_digests_and_sealed_seeds_alone(world, database_kind):
    """Every column of every row, whichever engine: no secret that was given out stands there."""
    database = world.context.directory._database
    secrets = [world.hosts["h1"], world.sessions["alice"], world.seeds["alice"], PASSWORD]
    async with database.read() as connection:
        held = (await connection.execute(select(t.credentials.c.digest))).scalars().all()
        sessions = (await connection.execute(select(t.sessions.c.digest))).scalars().all()
        everything = []
        for table in t.metadata.sorted_tables:
            everything += [repr(tuple(row)) for row in await connection.execute(select(table))]
    assert secret_digest(world.hosts["h1"]) in held
    assert secret_digest(world.sessions["alice"]) in sessions
    assert all(len(digest) == 32 for digest in [*held, *sessions])
    assert len(everything) > 20
    assert [text for text in everything for secret in secrets if secret in text] == []


async def test_a_password_that_an_admin_sets_ends_every_session(world):
    token = world.sessions["alice"]
    await world.good("PATCH", "users/alice", auth=world.operator, json={"display_name": "Alice"})
    assert (await world.call("GET", "mfa", auth=token)).status == 200
    await world.good("PATCH", "users/alice", auth=world.operator, json={"password": "another good password"})
    assert (await world.call("GET", "mfa", auth=token)).status == 401


async def test_a_log_in_that_races_with_a_new_password_leaves_no_session(world):
    """Whoever knew the old password and was just being checked is not in afterwards."""
    for number in range(6):
        old, new = (PASSWORD, "another good password") if number % 2 == 0 else ("another good password", PASSWORD)
        racing = asyncio.ensure_future(world.call("POST", "sessions", json={"user": "alice", "password": old}))
        await asyncio.sleep(0.004 * number)
        await world.good("PATCH", "users/alice", auth=world.operator, json={"password": new})
        reply = await racing
        if reply.status == 201:
            assert (await world.call("GET", "mfa", auth=reply.json["token"])).status == 401, number
