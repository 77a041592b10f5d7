"""A rotation of the user CA key, forth and back: certificates of both keys open logins in every phase."""

import json

import pytest


def quoted(key):
    return f"ca-keys/{key['fingerprint'].replace('/', '%2F')}"


async def keys(world):
    found = (await world.good("GET", "ca-keys", auth=world.operator))["items"]
    return {key["fingerprint"]: key["state"] for key in found if key["purpose"] == "user"}


class Logins:
    """Certificates of every phase so far; each must go on opening its account."""

    def __init__(self, world):
        self.world = world
        self.held = []

    async def all_open(self):
        issued = await self.world.issue()
        assert issued.status == 201, issued.json
        self.held.append(issued.json)
        trusted = json.loads((await self.world.good("GET", "trust"))["bundle"])["user_ca_keys"]
        published = (await self.world.call("GET", "ca/user.pub")).body.decode()
        assert all(key in published for key in trusted)
        answers = [(await self.world.check(one["certificate"])).status for one in self.held]
        assert answers == [200] * len(answers)
        return issued.json["ca_fingerprint"]


@pytest.mark.parametrize("back_from", ["next", "active", "active twice", None])
async def test_G_05_no_login_is_refused_forth_and_back(world, back_from):
    logins = Logins(world)
    old = await logins.all_open()
    made = await world.good("POST", "ca-keys", auth=world.operator, json={"purpose": "user"})
    new = made["fingerprint"]
    assert await logins.all_open() == old
    if back_from == "next":
        await world.good("POST", f"{quoted(made)}/retire", auth=world.operator, json={})
        assert await logins.all_open() == old
        return
    await world.good("POST", f"{quoted(made)}/activate", auth=world.operator)
    assert await logins.all_open() == new
    for turn in range({"active": 1, "active twice": 3}.get(back_from, 0)):
        which = {"fingerprint": (old, new)[turn % 2]}
        await world.good("POST", f"{quoted(which)}/activate", auth=world.operator)
        assert await logins.all_open() == which["fingerprint"]
        assert sorted((await keys(world)).values()) == ["active", "retiring"]
    states = await keys(world)
    (leaving,) = [{"fingerprint": one} for one, state in states.items() if state == "retiring"]
    refused = await world.call("POST", f"{quoted(leaving)}/retire", auth=world.operator, json={})
    assert (refused.status, refused.code) == (409, "ca_key_in_use")
    world.clock.move(3601)  # the certificates have ended
    await world.verify("alice")
    logins.held.clear()
    await world.good("POST", f"{quoted(leaving)}/retire", auth=world.operator, json={})
    await logins.all_open()
    gone = await world.call("POST", f"{quoted(leaving)}/activate", auth=world.operator)
    assert (gone.status, gone.code) == (409, "ca_key_state")  # the twin: nobody trusts it any more
