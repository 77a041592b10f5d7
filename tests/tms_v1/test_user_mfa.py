"""usermfa: an admin's word on the second factor, with every status, text and side effect."""

import pytest

from tests.api.stores import events, query
from tests.tms_v1.admins import escrow, grant, issue, reserve, revoked
from tests.tms_v1.wire import NEVER
from tms_ca.http.tms_v1.answers import date

ADA = {"tenant": "default", "tms_user_id": "ada", "ttl_minutes": 60}


async def users(tms):
    return {one["user"]: one for one in (await tms.world.good("GET", "users", auth=tms.world.operator))["items"]}


async def test_the_word_makes_a_user_without_a_password(tms):
    said = await tms.good("POST", "usermfa", tms.admin, ADA, 201)
    end = tms.clock.now() + 3600
    assert said == {
        "result_code": "0", "result_msg": "success", "tms_user_id": "ada", "enabled": True,
        "expires_at": said["expires_at"],
    }  # fmt: skip
    assert await query(tms.world, 'SELECT "user", mfa_until, password_hash FROM users') == [("ada", end, None)]
    asserted = (await events(tms.world, action="mfa.assert"))[0]
    assert (asserted["actor"], asserted["target"], asserted["outcome"]) == ("admin:boss", "user:ada", "ok")
    assert str(end) in asserted["detail"]


async def test_a_negative_time_never_ends_and_none_ends_at_once(tms):
    start = tms.clock.now()
    ends = {-1: NEVER, -(2**31): NEVER, 0: start, 1: start + 60, 2**31 - 1: start + 60 * (2**31 - 1)}
    for number, (minutes, end) in enumerate(ends.items()):
        body = {**ADA, "tms_user_id": f"ada{number}", "ttl_minutes": minutes}
        said = await tms.good("POST", "usermfa", tms.admin, body, 201)
        shown = await tms.good("GET", f"usermfa/ada{number}", tms.admin)
        assert said["expires_at"] == shown["expires_at"] == (end if end == NEVER else date(end))


async def test_a_name_outside_our_grammar_is_400_when_made_and_not_there_when_asked_for(tms):
    for name in ("", " ada", "ädä", "x" * 49, "a b", "-ada", "../x"):
        said = await tms.no("POST", "usermfa", tms.admin, {**ADA, "tms_user_id": name}, 400)
        assert said == (f"ERROR: tms_user_id: {name!r} cannot be a user: 1-48 of A-Z a-z 0-9 . _ @ + -"), name
        said = await tms.good(
            "PATCH", "usermfa/upd", tms.admin, {"tenant": "default", "tms_user_id": name, "enabled": True}
        )
        assert said["fields_updated"] == 0
    for method, path in (("GET", "usermfa/a%20b"), ("GET", "usermfa/%C3%A4"), ("GET", "usermfa/nobody")):
        assert await tms.no(method, path, tms.admin, None, 404) == "NOT_FOUND"
    said = await tms.good("DELETE", "usermfa/del/a%20b", tms.admin)
    assert (said["num_deleted"], said["result_msg"]) == (0, "MFA user a b NOT FOUND - Nothing deleted")
    for name in ("x" * 48, "a.b_c@d+e-f", "0"):  # the twin
        await tms.good("POST", "usermfa", tms.admin, {**ADA, "tms_user_id": name}, 201)
    assert (await tms.good("GET", "usermfa/a.b_c%40d%2Be-f", tms.admin))["tms_user_id"] == "a.b_c@d+e-f"


async def test_the_same_again_is_409_and_changes_nothing(tms):
    await tms.good("POST", "usermfa", tms.admin, ADA, 201)
    before = await query(tms.world, "SELECT * FROM users")
    said = await tms.no("POST", "usermfa", tms.admin, {**ADA, "ttl_minutes": -1}, 409)
    assert said == "ERROR: there is an MFA record of the user 'ada' already"
    tms.clock.move(7200)  # also where it has ended
    await tms.no("POST", "usermfa", tms.admin, ADA, 409)
    assert await query(tms.world, "SELECT * FROM users") == before


async def test_get_list_and_update(tms):
    start = tms.clock.now()
    for name in ("bob", "Zoe", "ada"):
        await tms.good("POST", "usermfa", tms.admin, {**ADA, "tms_user_id": name}, 201)
    await tms.world.add_user("own", mfa=False)  # no admin's word: none of this list
    whole = await tms.good("GET", "usermfa/list", tms.admin)
    assert (whole["num_users"], [one["tms_user_id"] for one in whole["users"]]) == (3, ["Zoe", "ada", "bob"])
    assert await tms.no("GET", "usermfa/own", tms.admin, None, 404) == "NOT_FOUND"
    one = await tms.good("GET", "usermfa/ada", tms.admin)
    listed = whole["users"][1]
    assert listed == {**{name: one[name] for name in listed}, "enabled": 1}
    assert set(listed) == {"id", "tenant", "tms_user_id", "expires_at", "enabled", "created", "updated"}
    assert (type(one["id"]), one["enabled"], type(listed["enabled"])) == (int, True, int)
    assert one["created"] == one["updated"]
    tms.clock.move(90)
    body = {"tenant": "default", "tms_user_id": "ada", "enabled": False}
    said = await tms.good("PATCH", "usermfa/upd", tms.admin, body)
    assert (said["fields_updated"], said["result_msg"]) == (
        1, "1 update(s) to tms_user_id ada completed, enabled = false"
    )  # fmt: skip
    after = await tms.good("GET", "usermfa/ada", tms.admin)
    assert after["created"] == one["created"] < after["updated"]
    assert (after["id"], after["expires_at"], after["enabled"]) == (one["id"], one["expires_at"], False)
    assert (await users(tms))["ada"]["enabled"] is False
    assert (await query(tms.world, "SELECT mfa_until FROM users WHERE \"user\" = 'ada'")) == [(start + 3600,)]
    said = await tms.good("PATCH", "usermfa/upd", tms.admin, {**body, "tms_user_id": "own"})
    assert (said["fields_updated"], said["result_msg"]) == (
        0, "0 update(s) to tms_user_id own completed, enabled = false"
    )  # fmt: skip
    assert (await users(tms))["own"]["enabled"] is True


async def test_a_user_who_is_there_keeps_what_they_are(tms):
    """A word given for a user whom an admin disabled does not enable them."""
    await tms.world.add_user("alice")
    await tms.world.good("PATCH", "users/alice", auth=tms.world.operator, json={"enabled": False})
    said = await tms.good("POST", "usermfa", tms.admin, {**ADA, "tms_user_id": "alice"}, 201)
    assert said["enabled"] is False
    assert (await query(tms.world, "SELECT password_hash IS NOT NULL FROM users"))[0][0]


async def test_the_word_lets_certificates_be_issued_until_it_ends(tms):
    await grant(tms, minutes=-1)
    assert (await issue(tms)).code == ""
    await tms.good("PATCH", "usermfa/upd", tms.admin, {"tenant": "default", "tms_user_id": "ada", "enabled": False})
    assert (await issue(tms)).code == "user_disabled"
    await tms.good("PATCH", "usermfa/upd", tms.admin, {"tenant": "default", "tms_user_id": "ada", "enabled": True})
    assert (await issue(tms)).status == 201
    for user, minutes in (("eve", 10), ("sam", 20)):
        await tms.good("POST", "usermfa", tms.admin, {**ADA, "tms_user_id": user, "ttl_minutes": minutes}, 201)
        place = {"tenant": "default", "tms_user_id": user, "host": "h7", "host_account": user, "ttl_minutes": -1}
        await tms.good("POST", "userhosts", tms.admin, place, 201)
        wide = {"tenant": "default", "client_id": "portal", "client_user_id": user, "ttl_minutes": -1}
        await tms.good("POST", "delegations", tms.admin, wide, 201)
        assert (await issue(tms, user, "h7", user)).status == 201
    tms.clock.move(11 * 60)
    for user, code in (("eve", "mfa_expired"), ("sam", "")):
        assert (await issue(tms, user, "h7", user)).code == code


async def test_deleting_takes_the_user_and_everything_of_theirs(tms):
    await grant(tms)
    await grant(tms, "bob", "h7", "bob")
    issued, kept = await issue(tms), await issue(tms, "bob", "h7", "bob")
    assert (issued.status, kept.status, (await escrow(tms)).status) == (201, 201, 201)
    await reserve(tms)
    await reserve(tms, "bob", "h7", "bob")
    number = (await tms.good("GET", "usermfa/ada", tms.admin))["id"]
    said = await tms.good("DELETE", "usermfa/del/ada", tms.admin)
    assert (said["num_deleted"], said["result_msg"]) == (1, "MFA user ada deleted")
    assert set(await users(tms)) == {"bob"}
    for table in ("account_links", "delegations", "reservations"):
        assert await query(tms.world, f'SELECT "user" FROM {table}') == [("bob",)]
    assert await query(tms.world, "SELECT * FROM public_keys") == []
    assert await revoked(tms, issued.json["serial"])
    assert not await revoked(tms, kept.json["serial"])
    said = await tms.good("DELETE", "usermfa/del/ada", tms.admin)
    assert (said["num_deleted"], said["result_msg"]) == (0, "MFA user ada NOT FOUND - Nothing deleted")
    await tms.good("POST", "usermfa", tms.admin, ADA, 201)
    assert (await tms.good("GET", "usermfa/ada", tms.admin))["id"] != number
    assert await query(tms.world, "SELECT name FROM tms_v1_numbers WHERE kind = 'link' AND name NOT IN "
                                  "(SELECT link_id FROM account_links)") == []  # fmt: skip


@pytest.mark.parametrize("kept_by", ["password", "identity", "revocation"])
async def test_who_is_more_than_a_name_keeps_the_account_and_loses_the_rest(tms, kept_by):
    world = tms.world
    if kept_by == "password":
        await world.add_user("ada")
    await grant(tms)
    if kept_by == "identity":
        body = {"issuer": "https://idp.example", "subject": "1", "user": "ada"}
        await world.good("POST", "identities", auth=world.operator, json=body)
    issued, kept = await issue(tms), await escrow(tms)
    assert (issued.status, kept.status) == (201, 201)
    await reserve(tms)
    if kept_by == "revocation":
        await world.good("POST", "revocations", auth=world.operator, json={"user": "ada", "reason": "lost laptop"})
    assert (await tms.good("DELETE", "usermfa/del/ada", tms.admin))["num_deleted"] == 1
    assert await tms.no("GET", "usermfa/ada", tms.admin, None, 404) == "NOT_FOUND"
    assert (await users(tms))["ada"]["user"] == "ada"
    for table in ("account_links", "delegations", "public_keys", "reservations"):
        assert await query(world, f"SELECT * FROM {table}") == [], table
    assert await revoked(tms, issued.json["serial"])
    if kept_by == "password":
        await world.log_in("ada")
    if kept_by == "revocation":  # given anew, the word does not lift what stands
        await grant(tms)
        assert (await issue(tms)).code == "user_revoked"
    else:
        retracted = (await events(world, action="mfa.retract"))[0]
        assert (retracted["actor"], retracted["target"]) == ("admin:boss", "user:ada")
