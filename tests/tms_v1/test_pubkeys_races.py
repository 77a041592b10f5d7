"""Key mode where much happens at once: nothing is lost, nothing is made twice, nothing ends in a 500."""

import asyncio
from collections import Counter

import pytest

from tests.tms_v1.keymode import PLACE, KeyMode
from tests.tms_v1.test_mvp import BOB, rows
from tests.tms_v1.test_pubkeys_life import place
from tests.world import at_once
from tms_ca.keypairs import KeyPairs


@pytest.fixture
async def keys(tms):
    mode = KeyMode(tms)
    await mode.furnish()
    return mode


async def test_creations_changes_and_deletions_at_once(keys):
    tms = keys.tms
    first = await asyncio.gather(*(keys.make() for _ in range(12)))
    assert len({one["public_key_fingerprint"] for one in first}) == 12
    calls = [keys.ask() for _ in range(6)]
    for one in first[:4]:
        calls += [tms.call("PATCH", "pubkeys", tms.client, place(one, max_uses=7)) for _ in range(3)]
        calls += [tms.call("DELETE", "pubkeys/del", tms.client, place(one)) for _ in range(3)]
    calls += [tms.call("GET", "pubkeys/list", tms.admin) for _ in range(3)]
    said = await at_once(*calls)
    assert {reply.status for reply in said} <= {200, 201, 404}
    deleted = [reply.json["num_deleted"] for reply in said if reply.json and "num_deleted" in reply.json]
    assert sum(deleted) == 4  # each once
    assert len(await keys.listed()) == 12 + 6 - 4


async def test_a_deletion_of_what_a_key_rests_on_leaves_no_key_behind(keys):
    tms = keys.tms
    for _ in range(3):
        said = await asyncio.gather(
            *(keys.ask() for _ in range(6)),
            tms.call("DELETE", "delegations/del", tms.admin, {**PLACE, "client_user_id": "ada"}),
            *(keys.ask() for _ in range(3)),
        )
        assert {reply.status for reply in said} <= {200, 201, 403}
        assert await keys.listed() == []
        await keys.delegate("portal", "ada")


async def test_uses_taken_during_a_change_are_counted(keys):
    """Of three keys for one use each, changed to two while they are used: two uses in all, never three."""
    tms = keys.tms
    made = [await keys.make(num_uses=1) for _ in range(3)]
    await keys.login(made[0], account="nobody")  # gets the host its credential
    for one in made:
        said = await asyncio.gather(
            keys.login(one), tms.call("PATCH", "pubkeys", tms.client, place(one, max_uses=2)), keys.login(one)
        )
        assert said[1].status == 200
    listed = {one["public_key_fingerprint"]: one for one in await keys.listed()}
    for one in made:
        now = listed[one["public_key_fingerprint"]]
        assert (now["max_uses"], now["remaining_uses"]) == (2, 1)
    keys.world.clock.move(30)
    assert Counter([(await keys.login(one)).status for one in made]) == {200: 3}
    keys.world.clock.move(30)
    assert Counter([(await keys.login(one)).code for one in made]) == {"uses_exhausted": 3}


class Overtaken(KeyPairs):
    """Makes pairs; something else happens while the first is being made."""

    def __init__(self, change):
        super().__init__()
        self._change, self.made = change, 0

    async def make(self, kind, owner, gone):
        self.made += 1
        change, self._change = self._change, None
        if change is not None:
            await change()
        return await super().make(kind, owner, gone)


async def test_what_changes_while_a_pair_is_made_counts(keys):
    world, mode = keys.world, keys.world.context.key_mode

    async def unrelated():
        await keys.mfa("bob")

    async def disable():
        await world.good("PATCH", "users/ada", auth=world.operator, json={"enabled": False})

    mode._pairs = pairs = Overtaken(unrelated)
    await keys.make()
    assert pairs.made == 1  # decided anew, and the same pair
    mode._pairs = pairs = Overtaken(disable)
    assert "is disabled" in await keys.refused()
    assert pairs.made == 1
    assert len(await keys.listed()) == 1


async def test_many_at_once_make_one_of_each_thing_that_is_missing(started):
    async with started(mvp="true") as tms:
        keys = KeyMode(tms)
        said = await asyncio.gather(*(keys.ask(**BOB) for _ in range(10)))
        assert Counter(reply.status for reply in said) == {201: 10}
        there = await rows(keys)
        assert [len(there[name]["users"]) for name in ("mfa", "hosts", "delegations")] == [1, 1, 1]
        assert len(there["keys"]) == 10
        said = await asyncio.gather(*(keys.ask(**{**BOB, "client_user_id": f"user{number}"}) for number in range(12)))
        assert Counter(reply.status for reply in said) == {201: 12}
        assert len((await rows(keys))["mfa"]["users"]) == 13


async def test_a_key_is_taken_back_once_whoever_asks(keys):
    world, tms = keys.world, keys.tms
    for _ in range(5):
        made = await keys.make()
        name = made["public_key_fingerprint"]
        path = f"public-keys/{name.replace('/', '%2F').replace('+', '%2B')}"
        body = {**PLACE, "host": "h1", "public_key_fingerprint": name}
        said = await asyncio.gather(
            *(world.call("DELETE", path, auth=world.operator) for _ in range(4)),
            *(tms.call("DELETE", "pubkeys/del", tms.client, body) for _ in range(2)),
        )
        assert {reply.status for reply in said[:4]} <= {204, 404}
        taken = [reply.status == 204 for reply in said[:4]] + [reply.json["num_deleted"] for reply in said[4:]]
        assert sum(taken) == 1, taken
