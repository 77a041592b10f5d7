"""userhosts: account links, with every status, text and side effect."""

from datetime import UTC, datetime

from tests.api.stores import events, query
from tests.tms_v1.admins import escrow, grant, issue, reserve, revoked
from tests.tms_v1.keymode import KeyMode
from tests.tms_v1.wire import NEVER

PLACE = {"tenant": "default", "tms_user_id": "ada", "host": "h7", "host_account": "ada"}
LINK = {**PLACE, "ttl_minutes": 60}
ADA = {"tenant": "default", "tms_user_id": "ada", "ttl_minutes": -1}


async def test_a_link_is_made_with_its_host_from_now_on(tms):
    await tms.good("POST", "usermfa", tms.admin, ADA, 201)
    said = await tms.good("POST", "userhosts", tms.admin, LINK, 201)
    assert {name: said[name] for name in said if name not in {"result_code", "result_msg"}} == {
        "tms_user_id": "ada", "host": "h7", "host_account": "ada", "expires_at": said["expires_at"]
    }  # fmt: skip
    now = tms.clock.now()
    found = await query(tms.world, 'SELECT "user", host, account, starts_at, expires_at FROM account_links')
    assert found == [("ada", "h7", "ada", now, now + 3600)]
    hosts = (await tms.world.good("GET", "hosts", auth=tms.world.operator))["items"]
    assert [(one["host"], one["enabled"], one["principal_format"]) for one in hosts] == [("h7", True, "account@host")]
    assert await query(tms.world, "SELECT * FROM credentials WHERE role = 'host'") == []
    made = (await events(tms.world, action="account-links.create"))[0]
    assert all(f'"{word}"' in made["detail"] for word in ("ada", "h7")), made
    await tms.good("POST", "userhosts", tms.admin, {**LINK, "host_account": "other", "ttl_minutes": -1}, 201)
    assert len(await query(tms.world, "SELECT * FROM hosts")) == 1


async def test_what_refers_to_nobody_is_400_and_makes_nothing(tms):
    said = await tms.no("POST", "userhosts", tms.admin, LINK, 400)
    assert said == "ERROR: there is no user 'ada' that you may see"
    for member, name, expected in (
        ("tms_user_id", "a b", "a user: 1-48 of A-Z a-z 0-9 . _ @ + -"),
        ("host", "H7", "a host: 1-63 of a-z 0-9 . -"),
        ("host", "", "a host: 1-63 of a-z 0-9 . -"),
        ("host_account", "*", "an account: 1-32 of a-z 0-9 . _ -, first a letter or _"),
        ("host_account", "Ada", "an account: 1-32 of a-z 0-9 . _ -, first a letter or _"),
    ):
        said = await tms.no("POST", "userhosts", tms.admin, {**LINK, member: name}, 400)
        assert said == f"ERROR: {member}: {name!r} cannot be {expected}"
        said = await tms.good("PATCH", "userhosts/upd", tms.admin, {**LINK, member: name})
        assert (said["fields_updated"], said["expires_msg"]) == (0, "UNCHANGED")
        assert (await tms.good("DELETE", "userhosts/del", tms.admin, {**PLACE, member: name}))["num_deleted"] == 0
    for table in ("users", "hosts", "account_links"):
        assert await query(tms.world, f"SELECT * FROM {table}") == []
    await tms.good("POST", "usermfa", tms.admin, ADA, 201)
    await tms.good("POST", "userhosts", tms.admin, LINK, 201)  # the twin


async def test_the_same_again_is_409_and_changes_nothing(tms):
    await tms.good("POST", "usermfa", tms.admin, ADA, 201)
    await tms.good("POST", "userhosts", tms.admin, LINK, 201)
    before = await query(tms.world, "SELECT * FROM account_links")
    said = await tms.no("POST", "userhosts", tms.admin, {**LINK, "ttl_minutes": -1}, 409)
    assert said == "ERROR: there is a link of the user 'ada' to ada@h7 already"
    assert await query(tms.world, "SELECT * FROM account_links") == before
    for other in ({"host": "h8"}, {"host_account": "bob"}):  # the twins
        await tms.good("POST", "userhosts", tms.admin, {**LINK, **other}, 201)


async def test_get_list_and_update(tms):
    for user in ("bob", "ada"):
        await tms.good("POST", "usermfa", tms.admin, {**ADA, "tms_user_id": user}, 201)
    for user, host, account in (("bob", "h1", "bob"), ("ada", "h7", "b"), ("ada", "h7", "a"), ("ada", "h10", "z")):
        body = {**LINK, "tms_user_id": user, "host": host, "host_account": account}
        await tms.good("POST", "userhosts", tms.admin, body, 201)
    await tms.world.add_user("own", mfa=False)
    await tms.world.link("own", "h1", "own")  # whichever API made it
    whole = await tms.good("GET", "userhosts/list", tms.admin)
    order = [(one["tms_user_id"], one["host"], one["host_account"]) for one in whole["users"]]
    assert order == [
        ("ada", "h10", "z"), ("ada", "h7", "a"), ("ada", "h7", "b"), ("bob", "h1", "bob"), ("own", "h1", "own")
    ]  # fmt: skip
    assert whole["num_users"] == 5
    assert len({one["id"] for one in whole["users"]}) == 5
    for listed in whole["users"]:
        one = await tms.good("GET", f"userhosts/{listed['id']}", tms.admin)
        assert {name: one[name] for name in listed} == listed
        assert set(one) - set(listed) == {"result_code", "result_msg"}
        assert type(one["id"]) is int
    for missing in (0, -1, 2**31 - 1, max(one["id"] for one in whole["users"]) + 1):
        assert await tms.no("GET", f"userhosts/{missing}", tms.admin, None, 404) == "NOT_FOUND"
    reply = await tms.call("GET", "userhosts/one", tms.admin)
    assert (reply.status, reply.body[:27]) == (400, b"failed to parse path `id`: ")
    tms.clock.move(30)
    body = {**LINK, "host_account": "a", "ttl_minutes": 5}
    said = await tms.good("PATCH", "userhosts/upd", tms.admin, body)
    end = datetime.fromtimestamp(tms.clock.now() + 300, UTC)
    assert said == {
        "result_code": "0", "result_msg": "1 update(s) to tms_user_id ada completed", "fields_updated": 1,
        "expires_msg": end.strftime("%Y-%m-%d %H:%M:%S UTC"),
    }  # fmt: skip
    after = await tms.good("GET", f"userhosts/{whole['users'][1]['id']}", tms.admin)
    assert (after["expires_at"], after["created"]) == (end.isoformat(), whole["users"][1]["created"])
    assert after["updated"] > after["created"]
    said = await tms.good("PATCH", "userhosts/upd", tms.admin, {**body, "ttl_minutes": -1})
    assert said["expires_msg"] == "9999-12-31 23:59:59 UTC"
    assert (await tms.good("GET", f"userhosts/{whole['users'][1]['id']}", tms.admin))["expires_at"] == NEVER
    said = await tms.good("PATCH", "userhosts/upd", tms.admin, {**body, "host": "h1"})
    assert (said["fields_updated"], said["expires_msg"], said["result_msg"]) == (
        0, "UNCHANGED", "0 update(s) to tms_user_id ada completed"
    )  # fmt: skip


async def test_a_link_that_ended_lets_nothing_be_issued(tms):
    await grant(tms)
    assert (await issue(tms)).status == 201
    await tms.good("PATCH", "userhosts/upd", tms.admin, {**LINK, "ttl_minutes": 0})
    assert (await issue(tms)).code == "account_link_expired"
    await tms.good("PATCH", "userhosts/upd", tms.admin, LINK)
    assert (await issue(tms)).status == 201


async def test_deleting_takes_the_keys_and_certificates_of_that_place_alone(tms):
    await grant(tms)
    await tms.good("POST", "userhosts", tms.admin, {**LINK, "host": "h8"}, 201)
    here, there = await issue(tms), await issue(tms, host="h8")
    assert (here.status, there.status, (await escrow(tms)).status) == (201, 201, 201)
    await reserve(tms)
    await reserve(tms, host="h8")
    number = (await tms.good("GET", "userhosts/list", tms.admin))["users"][0]["id"]
    said = await tms.good("DELETE", "userhosts/del", tms.admin, PLACE)
    assert (said["num_deleted"], said["result_msg"]) == (1, "User host h7 deleted for user ada and account ada")
    assert await query(tms.world, "SELECT host FROM account_links") == [("h8",)]
    assert await query(tms.world, "SELECT * FROM public_keys") == []
    assert await query(tms.world, "SELECT host FROM reservations") == [("h8",)]
    assert await revoked(tms, here.json["serial"])
    assert not await revoked(tms, there.json["serial"])
    assert (await issue(tms)).code == "account_link_missing"
    assert await tms.no("GET", f"userhosts/{number}", tms.admin, None, 404) == "NOT_FOUND"
    said = await tms.good("DELETE", "userhosts/del", tms.admin, PLACE)
    assert (said["num_deleted"], said["result_msg"]) == (0, "Host h7 NOT FOUND for user ada - Nothing deleted")


async def test_an_account_of_the_system_is_linked_by_an_operator_alone(tms):
    mode = KeyMode(tms)
    await mode.furnish()
    body = {"tenant": "default", "tms_user_id": "ada", "host": "h1", "host_account": "root", "ttl_minutes": -1}
    before = await query(tms.world, "SELECT count(*) FROM account_links")
    said = await tms.no("POST", "userhosts", tms.admin, body, 400)
    command = "tms-ca links create ada root@h1 --days N --allow-reserved --tenant default"
    assert said == f"ERROR: host_account: 'root' is an account of the system, which an operator links: {command}"
    assert await query(tms.world, "SELECT count(*) FROM account_links") == before
    # Linked so, the delegation that is there does not reach it, and is not said to be missing.
    await mode.link_reserved("ada", "root")
    refused = await mode.refused(host_account="root")
    assert refused == "the user's delegation for host 'h1' is for another account than 'root'."
    # The twins: an account that is not the system's, and a user who has delegated nothing.
    await mode.make()
    await mode.mfa("bob")
    await mode.link("bob", "bob")
    assert await mode.refused(client_user_id="bob", host_account="bob") == (
        "Required delegation record not found for client portal and client_user_id bob in tenant default."
    )
