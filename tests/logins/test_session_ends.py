"""A session ends when what it rests on was taken back, if the tenant wants that; and for nothing else."""

import pytest

from tests.logins.telling import certificate_of, open_login, records, report, told


async def open_session(world, **more) -> str:
    body = told(world, await certificate_of(world), **more)
    assert (await open_login(world, body)).status == 201
    return body["login_id"]


async def settle(world, **settings) -> None:
    await world.good("PATCH", "/api/v1/tenants/default", auth=world.operator, json=settings)


async def revoke(world, **selector) -> None:
    await world.good("POST", "revocations", auth=world.operator, json={**selector, "reason": "test"})


async def cut_link(world) -> None:
    (link,) = (await world.good("GET", "account-links", auth=world.operator))["items"]
    await world.good("DELETE", f"account-links/{link['id']}", auth=world.operator)


TAKEN_BACK = [
    (lambda w: revoke(w, user="alice"), {"certificate_revoked", "user_revoked"}),
    (lambda w: revoke(w, client_id="portal"), {"certificate_revoked", "client_revoked"}),
    (lambda w: revoke(w, delegation_id=w.delegation["id"]), {"certificate_revoked", "delegation_revoked"}),
    (cut_link, {"certificate_revoked", "account_link_missing"}),
    (lambda w: w.good("PATCH", "users/alice", auth=w.operator, json={"enabled": False}), {"user_disabled"}),
    (lambda w: w.good("PATCH", "clients/portal", auth=w.operator, json={"enabled": False}), {"client_disabled"}),
]
NAMES = ["user", "client", "delegation", "link", "user disabled", "client disabled"]


@pytest.mark.parametrize(("take_back", "reasons"), TAKEN_BACK, ids=NAMES)
@pytest.mark.parametrize("expired", [False, True], ids=["certificate valid", "certificate ended"])
async def test_what_is_taken_back_ends_the_session_that_rests_on_it(world, take_back, reasons, expired):
    """Also where the certificate has ended meanwhile: its end must not stand before the revocation and hide it."""
    await settle(world, on_revocation="end", warning_seconds=45)
    login_id = await open_session(world)
    if expired:
        world.clock.move(24 * 3600)  # beyond the certificate, and the MFA window
    assert await report(world, login_id) == []
    await take_back(world)
    (ending,) = await report(world, login_id)
    assert (ending["login_id"], ending["after_seconds"]) == (login_id, 45)
    assert ending["reason"] in reasons
    assert ending["message"].startswith("This session ends in 45 seconds: ")
    assert ending["message"].isprintable()


@pytest.mark.parametrize(("take_back", "reasons"), TAKEN_BACK[:1], ids=NAMES[:1])
async def test_sessions_are_left_alone_unless_the_tenant_says_otherwise(world, take_back, reasons):
    login_id = await open_session(world)
    await take_back(world)
    assert await report(world, login_id) == []
    await settle(world, on_revocation="end")
    assert (await report(world, login_id))[0]["reason"] in reasons


async def test_the_warning_runs_from_the_first_time_it_was_told(world):
    await settle(world, on_revocation="end", warning_seconds=30)
    login_id = await open_session(world)
    await revoke(world, user="alice")
    assert [one["after_seconds"] for one in await report(world, login_id)] == [30]
    world.clock.move(20)
    assert [one["after_seconds"] for one in await report(world, login_id)] == [10]
    world.clock.move(20)
    (ending,) = await report(world, login_id)
    assert (ending["after_seconds"], ending["message"][:23]) == (0, "This session ends now: ")
    events = (await world.good("GET", "audit-events?action=logins.must_end", auth=world.operator))["items"]
    assert len(events) == 1


async def test_what_only_keeps_new_logins_out_ends_nobodys_work(world):
    """Used up, restricted to another command, past the certificate and past the MFA window."""
    await settle(world, on_revocation="end")
    await world.good("POST", f"delegations/{world.delegation['id']}/revoke", auth=world.sessions["alice"])
    made = await world.delegate("alice", "portal", "h1", "alice", constraints={"max_uses": 1, "force_command": "true"})
    login_id = await open_session(world)
    path = f"delegations/{made['id']}/restrictions"
    await world.good("PATCH", path, auth=world.operator, json={"force_command": "false"})
    world.clock.move(24 * 3600)
    assert await report(world, login_id) == []


async def test_an_end_of_a_grant_ends_the_session(world):
    await settle(world, on_revocation="end")
    await world.good("POST", f"delegations/{world.delegation['id']}/revoke", auth=world.sessions["alice"])
    await world.delegate("alice", "portal", "h1", "alice", lifetime_seconds=3600)
    login_id = await open_session(world)
    world.clock.move(3600)
    assert [one["reason"] for one in await report(world, login_id)] == ["delegation_expired"]


async def test_the_end_of_the_certificate_counts_where_the_tenant_says_so(world):
    await settle(world, on_revocation="end", end_at_expiry=True)
    login_id = await open_session(world)
    world.clock.move(3599)
    assert await report(world, login_id) == []
    world.clock.move(1)
    assert [one["reason"] for one in await report(world, login_id)] == ["certificate_expired"]


async def test_a_session_that_its_node_has_no_more_is_lost(world):
    kept, gone = await open_session(world), await open_session(world)
    elsewhere = await open_session(world, node="login2")
    world.clock.move(60)
    assert await report(world, kept) == []
    found = {one["login_id"]: one["end_reason"] for one in await records(world)}
    assert found == {kept: None, gone: "lost", elsewhere: None}
    assert await report(world, kept, gone) == []  # it has it after all
    assert {one["end_reason"] for one in await records(world)} == {None}


async def test_a_list_in_parts_closes_nothing(world):
    first, other = await open_session(world), await open_session(world)
    assert await report(world, first, complete=False) == []
    assert await report(world, other, complete=False) == []
    assert {one["end_reason"] for one in await records(world)} == {None}


async def test_a_session_that_was_lost_and_found_ends_with_the_rest(world):
    await settle(world, on_revocation="end")
    login_id = await open_session(world)
    await report(world)
    await revoke(world, user="alice")
    assert [one["login_id"] for one in await report(world, login_id)] == [login_id]


async def test_a_session_that_has_ended_is_not_told_of(world):
    await settle(world, on_revocation="end")
    login_id = await open_session(world)
    end = {"ended_at": "2026-05-28T20:26:40Z", "reason": "closed"}
    await world.good("POST", f"hosts/h1/logins/{login_id}/end", auth=world.hosts["h1"], json=end)
    await revoke(world, user="alice")
    assert await report(world, login_id) == []
    assert [one["end_reason"] for one in await records(world)] == ["closed"]


@pytest.mark.parametrize("wrong", [
    {"on_revocation": "kill"}, {"warning_seconds": -1}, {"warning_seconds": 601}, {"end_at_expiry": 1},
])  # fmt: skip
async def test_a_setting_that_is_none_is_refused(world, wrong):
    reply = await world.call("PATCH", "/api/v1/tenants/default", auth=world.operator, json=wrong)
    assert (reply.status, reply.code) == (400, "invalid_request")


async def test_a_new_tenant_leaves_sessions_alone(world):
    tenant = await world.good("GET", "/api/v1/tenants/default", auth=world.operator)
    assert (tenant["on_revocation"], tenant["warning_seconds"], tenant["end_at_expiry"]) == ("leave", 30, False)
