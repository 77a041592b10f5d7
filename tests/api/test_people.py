"""Passwords, TOTP and lock-outs: a code works once, guesses are counted, nobody learns who exists."""

import pyotp
import pytest

from tests.world import PASSWORD, at_once
from tms_ca.services.people import _HASHER, _NOBODYS_HASH, FREE_FAILURES, LOCKED_FAILURES, wait_after


async def _verify(world, code):
    return await world.call("POST", "mfa/verify", auth=world.sessions["alice"], json={"code": code})


async def test_C_01_a_code_is_good_once_even_for_twenty_at_a_time(world):
    world.clock.move(300)
    code = world.code("alice")
    replies = await at_once(*(_verify(world, code) for _ in range(20)))
    assert sorted(reply.status for reply in replies).count(200) == 1
    assert {reply.status for reply in replies} <= {200, 401, 429}


async def test_C_02_one_step_back_and_one_ahead_and_never_backwards(world):
    totp = pyotp.TOTP(world.seeds["alice"])
    world.clock.move(600)
    now = world.clock.now()
    for steps, good in ((-2, False), (2, False), (-1, True), (0, True), (-1, False), (1, True), (0, False)):
        reply = await _verify(world, totp.at(now + 30 * steps))
        assert (reply.status == 200) is good, steps


async def test_C_04_failures_slow_down_and_success_forgets_them(world):
    world.clock.move(300)
    for _ in range(FREE_FAILURES):
        assert (await _verify(world, world.wrong_code("alice"))).status == 401
    refused = await _verify(world, world.code("alice"))  # right, and not even looked at
    assert (refused.status, refused.code) == (429, "too_many_failures")
    assert int(refused.headers["Retry-After"]) == wait_after(FREE_FAILURES)
    world.clock.move(wait_after(FREE_FAILURES))
    assert (await _verify(world, world.code("alice"))).status == 200
    for _ in range(FREE_FAILURES - 1):
        assert (await _verify(world, world.wrong_code("alice"))).status == 401
    world.clock.move(30)
    assert (await _verify(world, world.code("alice"))).status == 200


async def test_C_04_a_hundred_failures_lock_until_an_admin_helps(world):
    for number in range(LOCKED_FAILURES):
        if number % 6 == 0:
            await world.log_in("alice")  # sessions end meanwhile
        assert (await _verify(world, world.wrong_code("alice"))).code == "mfa_failed"
        world.clock.move(3600)
    await world.log_in("alice")
    refused = await _verify(world, world.code("alice"))
    assert (refused.status, refused.code) == (429, "factor_locked")
    world.clock.move(10 * 365 * 86400)
    await world.log_in("alice")
    assert (await _verify(world, world.code("alice"))).code == "factor_locked"
    await world.good("DELETE", "users/alice/mfa", auth=world.operator)
    await world.log_in("alice")
    enrolled = await world.good("POST", "mfa/totp", auth=world.sessions["alice"])
    world.seeds["alice"] = enrolled["seed"]
    assert (await _verify(world, world.code("alice"))).status == 200


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (4, 0), (5, 30), (6, 60), (11, 1920), (12, 3600), (99, 3600)]
)
def test_the_wait_grows_to_an_hour(failures, seconds):
    assert wait_after(failures) == seconds


async def test_unknown_and_known_users_answer_alike(world):
    known = await world.call("POST", "sessions", json={"user": "alice", "password": "wrong password"})
    unknown = await world.call("POST", "sessions", json={"user": "mallory", "password": "wrong password"})
    disabled_body = {"user": "alice", "password": PASSWORD}
    await world.good("PATCH", "users/alice", auth=world.operator, json={"enabled": False})
    disabled = await world.call("POST", "sessions", json=disabled_body)
    for reply in (known, unknown, disabled):
        assert (reply.status, reply.code) == (401, "login_failed")
        assert {**reply.json, "request_id": ""} == {**known.json, "request_id": ""}
    await world.good("PATCH", "users/alice", auth=world.operator, json={"enabled": True})
    assert (await world.call("POST", "sessions", json=disabled_body)).status == 201


async def test_a_new_password_ends_the_other_sessions(world):
    other = world.sessions["alice"]
    mine = await world.log_in("alice")
    body = {"current_password": PASSWORD, "new_password": "another good password"}
    wrong = await world.call("POST", "password", auth=mine, json={**body, "current_password": "wrong"})
    assert (wrong.status, wrong.code) == (401, "login_failed")
    assert (await world.call("GET", "mfa", auth=other)).status == 200
    assert (await world.call("POST", "password", auth=mine, json=body)).status == 204
    assert (await world.call("GET", "mfa", auth=mine)).status == 200
    assert (await world.call("GET", "mfa", auth=other)).status == 401
    assert (await world.call("POST", "sessions", json={"user": "alice", "password": PASSWORD})).status == 401


async def test_a_session_ends(world):
    token = world.sessions["alice"]
    assert (await world.call("GET", "mfa", auth=token)).status == 200
    world.clock.move(8 * 3600)
    assert (await world.call("GET", "mfa", auth=token)).status == 401
    token = await world.log_in("alice")
    await world.good("DELETE", "sessions/current", auth=token)
    assert (await world.call("GET", "mfa", auth=token)).status == 401


async def test_F_04_secrets_are_kept_as_digests_and_two_work_at_once(world, database_kind):
    old = world.clients["portal"]
    new = (await world.good("POST", "clients/portal/secrets", auth=world.operator))["secret"]
    third = await world.call("POST", "clients/portal/secrets", auth=world.operator)
    assert (third.status, third.code) == (409, "too_many_secrets")
    for credential in (old, new):
        assert (await world.call("GET", "clients/portal", auth=credential)).status == 200
    listed = (await world.good("GET", "clients/portal/secrets", auth=world.operator))["items"]
    assert len(listed) == 2
    assert all(set(item) == {"credential_id", "created_at", "expires_at", "node"} for item in listed)
    await world.good("DELETE", f"clients/portal/secrets/{listed[0]['credential_id']}", auth=world.operator)
    works = [(await world.call("GET", "clients/portal", auth=credential)).status for credential in (old, new)]
    assert sorted(works) == [200, 401]
    if database_kind == "sqlite":
        secrets = [new, world.hosts["h1"], world.sessions["alice"], world.seeds["alice"], PASSWORD]
        for path in world.settings.data.parent.rglob("tms.db*"):
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], path


async def test_a_credential_needs_its_own_name(world):
    from tests.world import basic

    secret = (await world.good("POST", "clients/portal/secrets", auth=world.operator))["secret"]
    assert (await world.call("GET", "clients/portal", auth=basic("portal", secret))).status == 200
    for name in ("other", "", "Portal", "portal "):
        assert (await world.call("GET", "clients/portal", auth=basic(name, secret))).status == 401
    assert (await world.call("GET", "clients/portal", auth=basic("portal", secret[:-1]))).status == 401
    assert (await world.call("GET", "clients/portal", auth=basic("portal", secret + "x"))).status == 401


def test_nobodys_password_costs_what_everybodys_costs():
    assert not _HASHER.check_needs_rehash(_NOBODYS_HASH)
    assert _HASHER.check_needs_rehash(_NOBODYS_HASH.replace("t=2", "t=1"))
