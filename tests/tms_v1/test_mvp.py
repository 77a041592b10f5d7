"""MVP mode: the creation of a key makes what the key needs, and nothing that somebody has said already."""

import json

import pytest

from tests.tms_v1.keymode import PLACE, KeyMode
from tests.tms_v1.wire import NEVER
from tests.world import basic
from tms_ca.services.mvp import Mvp

BOB = {"client_user_id": "bob", "host": "h9", "host_account": "anyone"}


@pytest.fixture
async def keys(started):
    async with started(mvp="true") as tms:
        yield KeyMode(tms)


async def rows(keys):
    """Return all that is there, without what only counts."""
    tms = keys.tms
    return {
        "mfa": (await tms.good("GET", "usermfa/list", tms.admin)),
        "hosts": (await tms.good("GET", "userhosts/list", tms.admin)),
        "delegations": (await tms.good("GET", "delegations/list", tms.admin)),
        "keys": await keys.listed(),
    }


async def test_one_call_makes_all_that_is_missing(keys):
    made = await keys.make(**BOB, num_uses=2, ttl_minutes=7)
    assert (made["max_uses"], made["expires_at"] < NEVER) == ("2", True)  # as asked, whatever the mode
    there = await rows(keys)
    (mfa,) = there["mfa"]["users"]
    assert (mfa["tms_user_id"], mfa["expires_at"]) == ("bob", NEVER)
    (link,) = there["hosts"]["users"]
    assert [link[name] for name in ("tms_user_id", "host", "host_account", "expires_at")] == [
        "bob",
        "h9",
        "anyone",
        NEVER,
    ]
    (delegation,) = there["delegations"]["users"]
    assert (delegation["client_id"], delegation["client_user_id"], delegation["expires_at"]) == ("portal", "bob", NEVER)
    assert (await keys.login(made, host="h9", account="anyone")).status == 200
    events = (await keys.world.good("GET", "audit-events?limit=200", auth=keys.world.operator))["items"]
    mvp = [one for one in events if json.loads(one["detail"] or "{}").get("mvp") is True]
    assert {one["actor"] for one in mvp} == {"client:portal"}
    assert {one["action"] for one in mvp} == {
        "users.create", "mfa.assert", "hosts.create", "account-links.create", "delegations.grant",
    }  # fmt: skip
    # Another key makes nothing anew, another account a link alone.
    await keys.make(**BOB)
    again = await rows(keys)
    assert {name: again[name] for name in ("mfa", "hosts", "delegations")} == {
        name: there[name] for name in ("mfa", "hosts", "delegations")
    }
    await keys.make(**{**BOB, "host_account": "other"})
    last = await rows(keys)
    assert (last["mfa"], last["delegations"], len(last["hosts"]["users"])) == (there["mfa"], there["delegations"], 2)


async def test_without_the_mode_nothing_is_made(started):
    async with started() as tms:
        keys = KeyMode(tms)
        assert (await keys.refused(**BOB)).startswith("Required delegation record not found")
        there = await rows(keys)
        assert there["mfa"]["users"] == there["hosts"]["users"] == there["delegations"]["users"] == there["keys"] == []


async def test_an_account_of_the_system_is_never_provided_for(keys):
    for account in ("root", "postgres"):
        said = await keys.refused(**{**BOB, "host_account": account})
        assert said.startswith("Required delegation record not found")
        assert (await rows(keys))["mfa"]["users"] == []
    await keys.make(**BOB)
    said = await keys.refused(**{**BOB, "host_account": "root"})
    assert said == "the user's delegation for host 'h9' is for another account than 'root'."
    assert len((await rows(keys))["hosts"]["users"]) == 1


async def test_what_is_there_stays_as_it_is(keys):
    tms, world = keys.tms, keys.world
    await keys.make(**BOB)
    who, account = {"tenant": "default", "tms_user_id": "bob"}, {"host": "h9", "host_account": "anyone"}
    granted = {**PLACE, "client_user_id": "bob"}
    for path, body, back, said in (
        ("usermfa/upd", {**who, "enabled": False}, {**who, "enabled": True}, "is disabled"),
        ("userhosts/upd", {**who, **account, "ttl_minutes": 0}, {**who, **account, "ttl_minutes": -1}, "expired at"),
        ("delegations/upd", {**granted, "ttl_minutes": 0}, {**granted, "ttl_minutes": -1}, "expired at"),
    ):
        await tms.good("PATCH", path, tms.admin, body)
        before = await rows(keys)
        assert said in await keys.refused(**BOB)
        assert await rows(keys) == before
        await tms.good("PATCH", path, tms.admin, back)
        await keys.make(**BOB)
    await world.good("PATCH", "hosts/h9", auth=world.operator, json={"enabled": False})
    assert "host 'h9' is disabled" in await keys.refused(**BOB)
    # A disabled user gets no account and no delegation either.
    await tms.good("PATCH", "usermfa/upd", tms.admin, {**who, "enabled": False})
    before = await rows(keys)
    stranger = await tms.new_client("stranger")
    for headers in (tms.client, stranger):
        assert (await keys.ask(headers, **{**BOB, "host_account": "new"})).status == 403
        assert await rows(keys) == before


async def test_a_user_s_own_word_to_the_client_stands(keys):
    world = keys.world
    await world.add_user("eve")
    await world.add_host("h1")
    for name in ("denied", "revoked"):
        headers = await keys.tms.new_client(name)
        made = await world.good("POST", f"clients/{name}/secrets", auth=world.operator)
        world.clients[name] = basic(name, made["secret"])
        asked = await world.delegate("eve", name, "h1", "eve", approve=name == "revoked")
        if name == "denied":
            await world.good("POST", f"delegations/{asked['id']}/deny", auth=world.sessions["eve"])
        else:
            await world.good(
                "POST", "revocations", auth=world.sessions["eve"], json={"delegation_id": asked["id"], "reason": "no"}
            )
        body = {"client_user_id": "eve", "host_account": "eve", "host": "h1"}
        reply = await keys.ask(headers, **body)
        assert reply.status == 403
        said = {"denied": "the user denied the delegation.", "revoked": "the delegation was revoked"}[name]
        assert said in reply.json["result_msg"]
        assert (await keys.ask(headers, **{**body, "host_account": "other"})).status == 403
        assert (await rows(keys))["delegations"]["users"] == []
    # To another client she has said nothing.
    await keys.make(client_user_id="eve", host_account="eve")


class Overtaken(Mvp):
    """Makes what is missing, after something else has happened."""

    change = None
    tries = 0

    async def settled(self, tenant):
        self.tries += 1
        await super().settled(tenant)

    async def provide(self, *args):
        change, self.change = self.change, None
        if change is not None:
            await change()
        return await super().provide(*args)


async def test_a_first_use_is_decided_once_and_anew_where_something_else_changed(keys):
    world, mode = keys.world, keys.world.context.key_mode
    mode._mvp = mvp = Overtaken(mode._database, world.context.grants)
    await keys.make(**BOB)
    assert mvp.tries == 1

    async def unrelated():
        await keys.mfa("eve")

    mvp.change = unrelated
    await keys.make(**{**BOB, "client_user_id": "joe"})
    assert mvp.tries == 1 + 2
    assert {one["tms_user_id"] for one in (await rows(keys))["mfa"]["users"]} == {"bob", "eve", "joe"}


async def test_a_credential_that_goes_meanwhile_gets_no_key(keys):
    world, mode = keys.world, keys.world.context.key_mode
    (secret,) = (await world.good("GET", "clients/portal/secrets", auth=world.operator))["items"]
    mode._mvp = Overtaken(mode._database, world.context.grants)

    async def unrelated():
        await keys.mfa("eve")

    async def take_back():
        await world.good("DELETE", f"clients/portal/secrets/{secret['credential_id']}", auth=world.operator)

    mode._mvp.change = unrelated
    await keys.make(**BOB)
    mode._mvp.change = take_back
    assert (await keys.ask(**{**BOB, "client_user_id": "joe"})).status == 401
    assert len(await keys.listed()) == 1
