"""delegations: an admin's word that a client may act for a user, with every status, text and side effect."""

import json
from datetime import UTC, datetime

from tests.api.stores import events, query
from tests.tms_v1.admins import escrow, grant, issue, reserve, revoked
from tests.tms_v1.keymode import KeyMode
from tests.tms_v1.wire import NEVER

PAIR = {"tenant": "default", "client_id": "portal", "client_user_id": "ada"}
WIDE = {**PAIR, "ttl_minutes": 60}
ADA = {"tenant": "default", "tms_user_id": "ada", "ttl_minutes": -1}
FIVE = [
    "permit-X11-forwarding", "permit-agent-forwarding", "permit-port-forwarding", "permit-pty", "permit-user-rc"
]  # fmt: skip


async def test_an_admin_grants_what_a_plain_key_can_carry_and_no_more(tms):
    await tms.good("POST", "usermfa", tms.admin, ADA, 201)
    said = await tms.good("POST", "delegations", tms.admin, WIDE, 201)
    end = datetime.fromtimestamp(tms.clock.now() + 3600, UTC)
    assert said == {
        "result_code": "0", "result_msg": "success", "client_id": "portal", "client_user_id": "ada",
        "expires_at": end.isoformat(),
    }  # fmt: skip
    (made,) = (await tms.world.good("GET", "delegations", auth=tms.world.operator))["items"]
    assert (made["status"], made["host"], made["account"], made["purpose"]) == ("approved", "*", "*", "TMS v1")
    stored = json.loads((await query(tms.world, "SELECT constraints FROM delegations"))[0][0])
    assert stored == {
        "max_ttl_seconds": None, "source_address": [], "force_command": None, "extensions": FIVE, "max_uses": None
    }  # fmt: skip
    granted = (await events(tms.world, action="delegations.grant"))[0]
    assert (granted["actor"], granted["target"]) == ("admin:boss", made["id"])


async def test_it_lets_certificates_be_issued_but_none_for_the_accounts_of_the_system(tms):
    await grant(tms)
    assert (await issue(tms)).status == 201
    await KeyMode(tms).link_reserved("ada", "root", "h7")
    assert (await issue(tms, account="root")).code == "delegation_other_account"
    await tms.good("PATCH", "delegations/upd", tms.admin, {**WIDE, "ttl_minutes": 0})
    assert (await issue(tms)).code == "delegation_expired"
    await tms.good("PATCH", "delegations/upd", tms.admin, WIDE)
    assert (await issue(tms)).status == 201


async def test_what_refers_to_nobody_is_400_and_makes_nothing(tms):
    await tms.good("POST", "usermfa", tms.admin, ADA, 201)
    for change, said in (
        ({"client_id": "nobody"}, "there is no client 'nobody' that you may see"),
        ({"client_user_id": "nobody"}, "there is no user 'nobody' that you may see"),
        ({"client_id": "a b"}, "client_id: 'a b' cannot be a client_id: 1-32 of A-Z a-z 0-9 . _ -"),
        ({"client_user_id": "*"}, "client_user_id: '*' cannot be a user: 1-48 of A-Z a-z 0-9 . _ @ + -"),
    ):
        assert await tms.no("POST", "delegations", tms.admin, {**WIDE, **change}, 400) == f"ERROR: {said}"
        changed = await tms.good("PATCH", "delegations/upd", tms.admin, {**WIDE, **change})
        assert (changed["fields_updated"], changed["expires_msg"]) == (0, "UNCHANGED")
        assert (await tms.good("DELETE", "delegations/del", tms.admin, {**PAIR, **change}))["num_deleted"] == 0
    assert await query(tms.world, "SELECT * FROM delegations") == []
    await tms.good("POST", "delegations", tms.admin, WIDE, 201)  # the twin


async def test_the_same_again_is_409_and_changes_nothing(tms):
    await tms.good("POST", "usermfa", tms.admin, ADA, 201)
    await tms.new_client("gateway")
    await tms.good("POST", "delegations", tms.admin, {**WIDE, "ttl_minutes": 0}, 201)
    before = await query(tms.world, "SELECT * FROM delegations")
    tms.clock.move(60)
    said = await tms.no("POST", "delegations", tms.admin, WIDE, 409)
    assert said == "ERROR: there is a delegation of the user 'ada' to the client 'portal' already"
    assert await query(tms.world, "SELECT * FROM delegations") == before
    await tms.good("POST", "delegations", tms.admin, {**WIDE, "client_id": "gateway"}, 201)  # the twin


async def test_get_list_and_update(tms):
    await tms.new_client("gateway")
    for user in ("zoe", "ada"):
        await tms.good("POST", "usermfa", tms.admin, {**ADA, "tms_user_id": user}, 201)
        for client in ("portal", "gateway"):
            await tms.good("POST", "delegations", tms.admin, {**WIDE, "client_id": client, "client_user_id": user}, 201)
    whole = await tms.good("GET", "delegations/list", tms.admin)
    pairs = [(one["client_id"], one["client_user_id"]) for one in whole["users"]]
    assert pairs == [("gateway", "ada"), ("gateway", "zoe"), ("portal", "ada"), ("portal", "zoe")]
    assert whole["num_users"] == 4
    for listed in whole["users"]:
        one = await tms.good("GET", f"delegations/{listed['id']}", tms.admin)
        assert {name: one[name] for name in listed} == listed
        assert set(listed) == {"id", "tenant", "client_id", "client_user_id", "expires_at", "created", "updated"}
    assert await tms.no("GET", "delegations/2147483647", tms.admin, None, 404) == "NOT_FOUND"
    tms.clock.move(30)
    said = await tms.good("PATCH", "delegations/upd", tms.admin, {**WIDE, "ttl_minutes": 5})
    end = datetime.fromtimestamp(tms.clock.now() + 300, UTC)
    assert said == {
        "result_code": "0", "result_msg": "1 update(s) to user ada and client portal completed", "fields_updated": 1,
        "expires_msg": end.strftime("%Y-%m-%d %H:%M:%S UTC"),
    }  # fmt: skip
    after = await tms.good("GET", f"delegations/{whole['users'][2]['id']}", tms.admin)
    assert (after["expires_at"], after["created"]) == (end.isoformat(), whole["users"][2]["created"])
    assert after["updated"] > after["created"]
    said = await tms.good("PATCH", "delegations/upd", tms.admin, {**WIDE, "ttl_minutes": -1})
    assert said["expires_msg"] == "9999-12-31 23:59:59 UTC"
    assert (await tms.good("GET", f"delegations/{after['id']}", tms.admin))["expires_at"] == NEVER


async def test_of_a_user_s_own_delegations_only_those_for_everything_are_of_this_wire(tms):
    """One delegation, whichever API made it; of several for one client and user, the one that ends last is shown."""
    world = tms.world
    await world.add_user("ada")
    await issue(tms)  # gives the world the client's credential
    await world.delegate("ada", "portal", "h7", "ada")
    await world.delegate("ada", "portal", "*", "*", approve=False)
    assert (await tms.good("GET", "delegations/list", tms.admin))["num_users"] == 0
    long = await world.delegate("ada", "portal", "*", "*", lifetime_seconds=86400)
    await world.delegate("ada", "portal", "*", "*", lifetime_seconds=7200)
    (shown,) = (await tms.good("GET", "delegations/list", tms.admin))["users"]
    ends = {
        one["id"]: one["expires_at"] for one in (await world.good("GET", "delegations", auth=world.operator))["items"]
    }
    assert shown["expires_at"].replace("+00:00", "Z") == ends[long["id"]]
    await tms.no("POST", "delegations", tms.admin, WIDE, 409)
    await tms.good("PATCH", "delegations/upd", tms.admin, WIDE)  # none of the kind outlasts what the admin says
    wide = await query(world, "SELECT max(expires_at) FROM delegations WHERE host = '*' AND status = 'approved'")
    assert wide == [(tms.clock.now() + 3600,)]
    said = await tms.good("DELETE", "delegations/del", tms.admin, PAIR)
    assert said["num_deleted"] == 2
    left = await query(world, "SELECT host, status FROM delegations ORDER BY host")
    assert left == [("*", "pending"), ("h7", "approved")]


async def test_deleting_takes_the_keys_and_certificates_of_that_client_alone(tms):
    await grant(tms)
    await grant(tms, "bob", "h7", "bob")
    here, there = await issue(tms), await issue(tms, "bob", "h7", "bob")
    assert (here.status, there.status, (await escrow(tms)).status) == (201, 201, 201)
    await reserve(tms)
    await reserve(tms, "bob", "h7", "bob")
    said = await tms.good("DELETE", "delegations/del", tms.admin, PAIR)
    assert (said["num_deleted"], said["result_msg"]) == (1, "User delegation deleted for user ada and client portal")
    assert await query(tms.world, 'SELECT "user" FROM delegations') == [("bob",)]
    assert await query(tms.world, "SELECT * FROM public_keys") == []
    assert await query(tms.world, 'SELECT "user" FROM reservations') == [("bob",)]
    assert await revoked(tms, here.json["serial"])
    assert not await revoked(tms, there.json["serial"])
    assert (await issue(tms)).code == "delegation_missing"
    said = await tms.good("DELETE", "delegations/del", tms.admin, PAIR)
    assert (said["num_deleted"], said["result_msg"]) == (
        0, "Delegation to client portal NOT FOUND for user ada - Nothing deleted"
    )  # fmt: skip
