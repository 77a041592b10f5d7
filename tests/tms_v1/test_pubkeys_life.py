"""Keys of key mode, read, changed and taken back."""

import pytest

from tests.tms_v1.keymode import PLACE, KeyMode
from tests.tms_v1.wire import NEVER
from tests.world import basic
from tms_ca.core.access import Role
from tms_ca.core.errors import NotFound
from tms_ca.core.model import Caller
from tms_ca.http.tms_v1.answers import date
from tms_ca.services.keymode import KeyPlace

MOST = 2147483647


@pytest.fixture
async def keys(tms):
    mode = KeyMode(tms)
    await mode.furnish()
    return mode


@pytest.fixture
async def stranger(keys):
    """Another client, to which ada delegated, too."""
    headers = await keys.tms.new_client("stranger")
    await keys.delegate("stranger", "ada")
    return headers


def place(made, **more):
    return {**PLACE, "host": "h1", "public_key_fingerprint": made["public_key_fingerprint"], **more}


async def test_lists_are_whole_and_in_order(keys, stranger):
    await keys.mfa("Zoe")
    await keys.delegate("portal", "Zoe")
    for user, account, host in (("ada", "web", "h1"), ("ada", "web", "a1"), ("Zoe", "zoe", "h1"), ("Zoe", "_z", "h1")):
        await keys.link(user, account, host=host)
        for _ in range(2):
            await keys.make(client_user_id=user, host_account=account, host=host)
    theirs = await keys.make(stranger)
    every, mine = await keys.listed(), await keys.listed(keys.tms.client)
    places = [(one["client_user_id"], one["host"], one["host_account"]) for one in every]
    assert places == sorted(places)
    assert len(every) == 9
    assert mine == [one for one in every if one["client_id"] == "portal"]
    (one,) = await keys.listed(stranger)
    assert one["public_key_fingerprint"] == theirs["public_key_fingerprint"]
    numbers = [one["id"] for one in every]
    assert len(set(numbers)) == 9
    assert await keys.listed() == every  # a number stays


async def test_who_may_read_which(keys, stranger):
    tms = keys.tms
    await keys.make()
    (one,) = await keys.listed(tms.client)
    path = f"pubkeys/id/{one['id']}"
    for headers in (tms.client, tms.admin, {**stranger, **tms.admin, "X-TMS-CLIENT-SECRET": "no"}):
        assert (await tms.good("GET", path, headers))["id"] == one["id"]
    # Right credentials of a client go before an administrator's: it sees its own alone.
    for headers in (stranger, {**tms.admin, **stranger}):
        assert await tms.no("GET", path, headers, None, 404) == "NOT_FOUND"
        assert await keys.listed(headers) == []
    for number in (one["id"] + 1, 0, -1):
        assert await tms.no("GET", f"pubkeys/id/{number}", tms.admin, None, 404) == "NOT_FOUND"
    reply = await tms.call("GET", "pubkeys/id/first", tms.client)
    assert (reply.status, reply.body[:36]) == (400, b"failed to parse path `seqno`: expect")
    nobody = {"X-TMS-TENANT": "default"}
    said = f"ERROR: NOT AUTHORIZED to view pubkey #{one['id']} in tenant default."
    assert await tms.no("GET", path, nobody, None, 401) == said
    said = "ERROR: NOT AUTHORIZED to list clients in tenant default."
    assert await tms.no("GET", "pubkeys/list", {**tms.client, "X-TMS-CLIENT-SECRET": "no"}, None, 401) == said
    assert "'X-TMS-TENANT'" in await tms.no("GET", "pubkeys/list", {}, None, 400)


async def test_another_tenants_administrator_sees_and_changes_nothing(keys):
    tms, world = keys.tms, keys.world
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "other"})
    theirs = await tms.new_admin("boss", "other")
    made = await keys.make()
    (one,) = await keys.listed()
    assert await tms.no("GET", f"pubkeys/id/{one['id']}", theirs, None, 404) == "NOT_FOUND"
    assert (await tms.good("GET", "pubkeys/list", theirs))["pubkeys"] == []
    posing = {**theirs, "X-TMS-TENANT": "default"}
    await tms.no("GET", "pubkeys/list", posing, None, 401)
    await tms.no("PATCH", "pubkeys", theirs, place(made, max_uses=1), 403)
    await tms.no("PATCH", "pubkeys", theirs, place(made, max_uses=1, tenant="other"), 404)
    gone = await tms.good("DELETE", "pubkeys/del", theirs, place(made, tenant="other"))
    assert gone["num_deleted"] == 0
    assert await keys.listed() == [one]


async def test_a_change_sets_what_it_names(keys):
    tms, clock = keys.tms, keys.tms.clock
    made = await keys.make(num_uses=3, ttl_minutes=30)
    assert (await keys.login(made)).status == 200
    (before,) = await keys.listed()
    assert (before["max_uses"], before["remaining_uses"]) == (3, 2)
    clock.move(60)
    start = clock.now()

    async def change(headers=tms.client, **members):
        said = await tms.good("PATCH", "pubkeys", headers, place(made, **members))
        (now,) = await keys.listed()
        return said["fields_updated"], said["result_msg"], {
            name: now[name] for name in now if now[name] != before[name]
        }  # fmt: skip

    assert await change() == (0, "No updates specified", {})
    assert await change(max_uses=None, ttl_minutes=None) == (0, "No updates specified", {})
    one, both = "1 update(s) to client portal completed", "2 update(s) to client portal completed"
    at = {"updated": date(start)}
    assert await change(max_uses=5) == (1, one, {"max_uses": 5, "remaining_uses": 4, **at})
    assert await change(max_uses=5) == (1, one, {"max_uses": 5, "remaining_uses": 4, **at})
    assert await change(max_uses=1) == (1, one, {"max_uses": 1, "remaining_uses": 0, **at})
    assert (await keys.login(made)).code == "uses_exhausted"
    # What was used above the number is forgotten, as the old server's arithmetic has it.
    assert await change(max_uses=0) == (1, one, {"max_uses": 0, "remaining_uses": 0, **at})
    assert await change(tms.admin, max_uses=2, ttl_minutes=5) == (
        2, both, {"max_uses": 2, "expires_at": date(start + 300), **at}
    )  # fmt: skip
    assert (await keys.login(made)).status == 200
    clock.move(300)
    assert (await keys.login(made)).code == "public_key_expired"
    at = {"updated": date(start + 300), "max_uses": 2, "remaining_uses": 1}
    assert await change(ttl_minutes=0) == (1, one, {"expires_at": date(start + 300), **at})
    assert (await keys.login(made)).code == "public_key_expired"
    assert await change(ttl_minutes=2**32 - 1) == (1, one, {"expires_at": NEVER, **at})
    assert (await keys.login(made)).status == 200
    _, _, now = await change(max_uses=2**32 - 1)
    assert (now["max_uses"], now["remaining_uses"]) == (MOST, MOST - 2)
    events = await keys.world.good("GET", "audit-events?action=public-keys.update", auth=keys.world.operator)
    assert {one["actor"] for one in events["items"]} == {"client:portal", "admin:boss"}


async def test_a_change_is_refused_in_the_old_words(keys, stranger):
    tms = keys.tms
    made = await keys.make()
    (before,) = await keys.listed()
    body = place(made, max_uses=1)
    differ = "ERROR: FORBIDDEN - Payload parameters ({}@{}) differ from those in the request header."
    for headers, change, status, said in (
        (stranger, {}, 403, differ.format("portal", "default")),
        (tms.admin, {"tenant": "other"}, 403, None),
        (tms.client, {"client_id": "stranger"}, 403, differ.format("stranger", "default")),
        (stranger, {"client_id": "stranger"}, 404, "NOT_FOUND"),
        (tms.admin, {"client_id": "stranger"}, 404, "NOT_FOUND"),
        (tms.client, {"host": "h2"}, 404, "NOT_FOUND"),
        (tms.client, {"public_key_fingerprint": "SHA256:" + "A" * 43}, 404, "NOT_FOUND"),
        ({**tms.client, "X-TMS-CLIENT-SECRET": "no"}, {}, 401,
         "ERROR NOT AUTHORIZED to update client portal in tenant default."),
        ({}, {}, 400, "Required 'X-TMS-TENANT' HTTP header not found"),
    ):  # fmt: skip
        found = await tms.no("PATCH", "pubkeys", headers, {**body, **change}, status)
        assert said in {None, found}
    for wrong in ({"max_uses": -1}, {"ttl_minutes": 2**32}, {"host": ...}):
        sent = {name: value for name, value in {**body, **wrong}.items() if value is not ...}
        reply = await tms.call("PATCH", "pubkeys", tms.client, sent)
        assert (reply.status, reply.body[:29]) == (400, b"parse request payload error: "), wrong
    assert await keys.listed() == [before]
    assert (await tms.good("PATCH", "pubkeys", tms.client, body))["fields_updated"] == 1


async def test_a_deletion_counts_what_was_there(keys, stranger):
    tms = keys.tms
    made, other = await keys.make(), await keys.make()
    assert (await keys.login(made)).status == 200
    name = made["public_key_fingerprint"]
    differ = "ERROR: NOT AUTHORIZED - Payload parameters (portal@default) differ from those in the request header."
    assert await tms.no("DELETE", "pubkeys/del", stranger, place(made), 403) == differ
    said = "ERROR: NOT AUTHORIZED to delete public key portal in tenant default."
    assert await tms.no("DELETE", "pubkeys/del", {**tms.client, "X-TMS-CLIENT-SECRET": "no"}, place(made), 401) == said
    assert await tms.no("DELETE", "pubkeys/del", {}, place(made), 401)
    assert (await tms.call("DELETE", "pubkeys/del", tms.client)).status == 415
    nothing = "Pubkey {} NOT FOUND for host {} and client {} - Nothing deleted"
    for headers, change in ((tms.client, {"host": "h2"}), (stranger, {"client_id": "stranger"})):
        said = await tms.good("DELETE", "pubkeys/del", headers, place(made, **change))
        body = place(made, **change)
        assert (said["num_deleted"], said["result_msg"]) == (0, nothing.format(name, body["host"], body["client_id"]))
    assert len(await keys.listed()) == 2
    said = await tms.good("DELETE", "pubkeys/del", tms.client, place(made))
    assert (said["num_deleted"], said["result_msg"]) == (1, f"Pubkey {name} for host h1 deleted")
    said = await tms.good("DELETE", "pubkeys/del", tms.client, place(made))
    assert (said["num_deleted"], said["result_msg"]) == (0, nothing.format(name, "h1", "portal"))
    assert (await keys.login(made)).code == "public_key_unknown"
    assert (await keys.login(other)).status == 200
    assert (await tms.good("DELETE", "pubkeys/del", tms.admin, place(other)))["num_deleted"] == 1
    assert await keys.listed() == []


async def test_a_key_goes_with_whatever_it_rests_on(keys):
    tms = keys.tms
    who, link = {"tenant": "default", "tms_user_id": "ada"}, {"host": "h1", "host_account": "ada"}

    async def again(path, body, make):
        made = await keys.make()
        assert (await keys.login(made)).status == 200
        await tms.good("DELETE", path, tms.admin, body)
        assert await keys.listed() == []
        assert (await keys.login(made)).status == 403
        await make()
        assert (await keys.login(made)).code == "public_key_unknown"  # what is made anew brings nothing back

    await again("delegations/del", {**PLACE, "client_user_id": "ada"}, lambda: keys.delegate("portal", "ada"))
    await again("userhosts/del", {**who, **link}, lambda: keys.link("ada", "ada"))
    await again("usermfa/del/ada", None, keys.furnish)


@pytest.mark.parametrize("selector", ["key_id", "user", "public_key_fingerprint"])
async def test_more_time_brings_no_revoked_key_back(keys, selector):
    """A revocation holds for a key whose time was over when it was made."""
    made, world = await keys.make(ttl_minutes=1), keys.world
    auth = basic("portal", keys.tms.client["X-TMS-CLIENT-SECRET"])
    (read,) = (await world.good("GET", "public-keys", auth=auth))["items"]
    world.clock.move(120)
    value = {"key_id": read["key_id"], "user": "ada", "public_key_fingerprint": read["fingerprint"]}[selector]
    done = await world.good("POST", "revocations", auth=world.operator, json={selector: value, "reason": "test"})
    assert done["certificates"] == 0
    if selector == "user":
        await world.good("POST", f"revocations/{done['id']}/lift", auth=world.operator)
    await keys.tms.good("PATCH", "pubkeys", keys.tms.client, place(made, ttl_minutes=60))
    assert (await keys.login(made)).code == "key_revoked"
    if selector != "public_key_fingerprint":
        other = await keys.make(ttl_minutes=1)
        world.clock.move(120)
        await keys.tms.good("PATCH", "pubkeys", keys.tms.client, place(other, ttl_minutes=60))
        assert (await keys.login(other)).status == 200


async def test_the_service_itself_shows_nobody_anothers_key(keys):
    """Beneath the endpoint, which has compared the client with the credential already."""
    made = await keys.make()
    mode = keys.world.context.key_mode
    where = KeyPlace("default", "portal", "h1", made["public_key_fingerprint"])
    other, own = Caller(Role.CLIENT, "default", "stranger"), Caller(Role.CLIENT, "default", "portal")
    with pytest.raises(NotFound):
        await mode.update(other, where, max_uses=1)
    assert await mode.remove(other, where) is False
    assert await keys.world.context.lists.keys(other, "default") == []
    await mode.update(own, where, max_uses=1)
    assert await mode.remove(own, where) is True
