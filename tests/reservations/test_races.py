"""What is taken back at the same moment, on both databases: nothing is left that lives on."""

import asyncio
import json

import pytest
from sqlalchemy import update

from tests.reservations.test_reservations import HOUR, child_of, end, reserve
from tests.world import at_once, ssh_keygen
from tms_ca.core.access import Role
from tms_ca.core.model import Caller
from tms_ca.services.authentication import ChangedMeanwhile
from tms_ca.services.issuance import with_reservation
from tms_ca.store.tables import delegations

AT_ONCE = 8


@pytest.mark.parametrize("query", ["", "?related=true"])
async def test_no_child_outlives_a_parent_that_is_taken_back_meanwhile(world, query):
    for _ in range(3):
        parent = (await reserve(world)).json["id"]
        assert (await child_of(world, parent)).status == 201
        answers = await asyncio.gather(
            *(child_of(world, parent) for _ in range(AT_ONCE // 2)),
            end(world, parent, world.operator, query),
            *(child_of(world, parent) for _ in range(AT_ONCE // 2)),
        )
        ended = answers.pop(AT_ONCE // 2)
        assert ended.status == 204
        assert {answer.status for answer in answers} <= {201, 404}, [answer.json for answer in answers]
        left = (await world.good("GET", f"reservations?parent_id={parent}", auth=world.operator))["items"]
        assert bool(left) is not bool(query)
        for child in left:
            assert (await world.issue(reservation_id=child["id"])).code == "reservation_expired"


async def test_what_was_issued_at_the_moment_of_its_end_opens_nothing_past_the_window(world):
    name = (await reserve(world)).json["id"]
    world.clock.move(12 * HOUR)
    answers = await asyncio.gather(
        *(world.issue(reservation_id=name) for _ in range(AT_ONCE)), end(world, name, world.operator)
    )
    assert answers.pop().status == 204
    assert {answer.status for answer in answers} <= {201, 403}
    for answer in answers:
        if answer.status == 201:
            assert (await world.check(answer.json["certificate"])).code == "reservation_unknown"
    assert (await world.issue(reservation_id=name)).code == "reservation_unknown"


async def test_none_is_made_beside_the_end_of_what_it_rests_on(world):
    """What is decided before a change that is not committed yet is decided anew once it is."""
    parent = (await reserve(world)).json["id"]
    async with world.context.directory._database.change("default") as change:
        revoked = update(delegations).where(delegations.c.delegation_id == world.delegation["id"])
        await change.connection.execute(revoked.values(status="revoked"))
        asked = [asyncio.create_task(one) for one in (reserve(world), reserve(world), child_of(world, parent))]
        done, _ = await asyncio.wait(asked, timeout=0.3)
        assert not done
    answers = await asyncio.gather(*asked)
    assert [answer.code for answer in answers] == ["delegation_revoked"] * 3


async def test_many_at_once_do_not_stand_in_each_other_s_way(world):
    answers = await at_once(*(reserve(world) for _ in range(2 * AT_ONCE)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.json["id"] for answer in answers}) == 2 * AT_ONCE


async def test_the_same_one_is_taken_back_once(world):
    name = (await reserve(world)).json["id"]
    answers = await asyncio.gather(*(end(world, name, world.operator) for _ in range(AT_ONCE)))
    assert sorted(answer.status for answer in answers) == [204] + [404] * (AT_ONCE - 1)


async def test_a_reservation_of_another_moment_than_the_facts_is_not_decided_on(world):
    name = (await reserve(world)).json["id"]
    remembered = world.context.issuance._facts
    facts = await remembered.for_issue("default", "portal", "alice", "h1", "alice", "")
    caller = Caller(Role.CLIENT, "default", "portal")
    assert (await with_reservation(remembered, caller, facts, name)).reservation is not None
    await world.good("PATCH", "users/alice", auth=world.operator, json={"display_name": "A"})
    with pytest.raises(ChangedMeanwhile):
        await with_reservation(remembered, caller, facts, name)


@pytest.mark.parametrize("selector", ["user", "client_id", "host", "delegation_id", "public_key_fingerprint"])
async def test_what_is_revoked_takes_its_reservations_and_lifting_brings_none_back(world, selector):
    pair = ssh_keygen(world.keys, f"of_{selector}", "-t", "ed25519")
    key = {"user": "alice", "host": "h1", "account": "alice", "public_key": pair.public}
    kept = await world.good("POST", "public-keys", auth=world.clients["portal"], json=key)
    for_key = {"public_key_fingerprint": kept["fingerprint"]}
    certificates, plain = (await reserve(world)).json["id"], (await reserve(world, **for_key)).json["id"]
    # The twin: revoking another's takes nothing.
    await world.add_user("bob")
    await world.good("POST", "revocations", auth=world.operator, json={"user": "bob", "reason": "x"})
    assert len(await _on_record(world)) == 2
    for parent, more in ((certificates, {}), (plain, for_key)):
        assert (await child_of(world, parent, **more)).status == 201

    value = {
        "user": "alice", "client_id": "portal", "host": "h1", "delegation_id": world.delegation["id"],
        "public_key_fingerprint": kept["fingerprint"],
    }[selector]  # fmt: skip
    revoked = await world.good("POST", "revocations", auth=world.operator, json={selector: value, "reason": "x"})
    of_key_alone = selector == "public_key_fingerprint"
    assert len(await _on_record(world)) == (2 if of_key_alone else 0)
    events = await world.good("GET", "audit-events?action=revocations.create", auth=world.operator)
    (event,) = [one for one in events["items"] if revoked["id"] in one["detail"]]
    assert json.loads(event["detail"])["reservations"] == (2 if of_key_alone else 4)
    if selector in {"user", "client_id", "host"}:
        await world.good("POST", f"revocations/{revoked['id']}/lift", auth=world.operator)
        assert (await world.issue()).status == 201
        world.clock.move(12 * HOUR)
        assert (await world.issue(reservation_id=certificates)).code == "reservation_unknown"


async def _on_record(world) -> list[dict]:
    return (await world.good("GET", "reservations", auth=world.operator))["items"]
