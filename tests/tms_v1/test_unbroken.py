"""A tenant that changes at every moment at which it could matter: what rests on it is decided all the same."""

import asyncio

import pytest

from tests.hot.conftest import another
from tests.tms_v1.keymode import WISH, KeyMode
from tests.tms_v1.test_mvp import BOB
from tms_ca.services import mvp
from tms_ca.store import standstill

HOUR = 60  # minutes


class Unbroken:
    """Another service changes the tenant whenever something here has been read that a decision rests on."""

    def __init__(self, standstill_, other, patch):
        self._standstill, self._other, self._patch = standstill_, other, patch
        self.changed, self.waiting = 0, set()

    async def change(self):
        auth, body = self._other.operator, {"display_name": "x"}
        await self._other.good("PATCH", "users/ada", auth=auth, json=body)
        self.changed += 1

    def after(self, whose, name):
        read = getattr(whose, name)

        async def disturbed(*arguments, **named):
            found = await read(*arguments, **named)
            changing = asyncio.create_task(self.change())
            self.waiting.add(changing)
            if not self._standstill.is_on("default"):  # else it waits itself until what is read here is of no use
                await changing
            return found

        self._patch.setattr(whose, name, disturbed)


@pytest.fixture
async def unbroken(tms, monkeypatch):
    """ada's key, and a service whose tenant is changed all the time."""
    mode = KeyMode(tms)
    await mode.furnish()
    made = await mode.make()
    async with another(tms.world) as other:
        changes = Unbroken(tms.world.context.standstill, other, monkeypatch)
        yield mode, made, changes
        await asyncio.gather(*changes.waiting)


async def test_keys_and_reservations_are_made_under_one_change_upon_another(unbroken):
    mode, made, changes = unbroken
    tms = mode.tms
    fingerprint = made["public_key_fingerprint"]
    wish = {"client_user_id": "ada", "host": "h1", "public_key_fingerprint": fingerprint, "ttl_minutes": HOUR}
    parent = await tms.good("POST", "reservations", tms.client, wish, 201)
    changes.after(tms.world.context.authentication, "by_secret")
    calls = [("pubkeys/creds", WISH), ("reservations", wish)]
    calls += [("reservations/extend", {**wish, "parent_resid": parent["resid"]})]
    for path, body in calls:
        before = changes.changed
        await tms.good("POST", path, tms.client, body, 201)
        assert changes.changed - before >= 2, f"{path} was disturbed"


async def test_a_key_is_found_for_whoever_names_no_tenant_under_one_change_upon_another(unbroken):
    mode, made, changes = unbroken
    tms = mode.tms
    question = {"user": "ada", "host": "h1", "public_key_fingerprint": made["public_key_fingerprint"]}
    changes.after(tms.world.context.retrieval._hosts, "get")
    said = await tms.good("POST", "pubkeys/creds/retrieve", None, question)
    assert said["public_key"].endswith(made["public_key"].split()[1])
    assert changes.changed >= 2, "it was disturbed"
    assert await tms.no("POST", "pubkeys/creds/retrieve", None, {**question, "user": "bob"}, 404) == "NOT_FOUND"


async def test_what_is_made_for_another_s_key_is_not_waited_for_while_the_tenant_stands_still(started, monkeypatch):
    async with started(mvp="true") as tms:
        keys = KeyMode(tms)
        await keys.make()
        for where, name in ((standstill, "MOST_SECONDS"), (mvp, "_MOST_SECONDS")):
            monkeypatch.setattr(where, name, 600)  # whoever waits at all waits too long
        context = tms.world.context
        async with context.standstill.hold("default"), asyncio.timeout(60):
            first_use = asyncio.create_task(keys.ask(**BOB))
            while not context.key_mode._mvp._at_work:
                await asyncio.sleep(0.001)
            await keys.make()
            assert not first_use.done()
        assert (await first_use).status == 201
