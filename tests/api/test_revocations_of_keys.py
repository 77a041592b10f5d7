"""A public key is forbidden first; its certificates are searched for afterwards, and whatever becomes of that, it stands."""

import asyncio

import pytest

from tests.api.stores import events, query
from tests.api.test_revocations import krl, listed, revoke
from tests.world import ssh_keygen
from tms_ca.core.errors import Unavailable
from tms_ca.services import key_endings
from tms_ca.store import revocations


async def records(world, issued):
    """Return by which revocation each certificate is revoked, on record."""
    return [
        (await world.good("GET", f"certificates/{one['serial']}", auth=world.clients["portal"]))["revocation_id"]
        for one in issued
    ]


async def is_refused(world, tmp_path, issued):
    assert (await world.issue()).code == "key_revoked"
    assert (await world.check(issued["certificate"])).status == 403
    assert listed(tmp_path, (await krl(world)).body, issued["certificate"])


async def counted(world):
    """Return the count of the only revocation."""
    (row,) = await query(world, "SELECT certificates FROM revocations")
    return row[0]


async def test_it_stands_where_the_search_fails_and_asking_again_ends_what_is_left(world, tmp_path, monkeypatch):
    issued = [(await world.issue()).json for _ in range(2)]
    fingerprint = {"public_key_fingerprint": issued[0]["public_key_fingerprint"]}

    async def away(*_):
        raise Unavailable("database_unavailable", "away")

    with monkeypatch.context() as broken:
        broken.setattr(revocations, "serials_of_key", away)
        broken.setattr(key_endings, "PAUSES", ())
        made = await revoke(world, **fingerprint)
        assert (made.status, made.json["certificates"]) == (201, None)
        await is_refused(world, tmp_path, issued[0])
        assert (await revoke(world, **fingerprint)).code == "already_revoked"
        assert await records(world, issued) == [None, None]
    again = await revoke(world, **fingerprint)
    assert (again.status, again.json["revocation_id"]) == (409, made.json["id"])
    assert await records(world, issued) == [made.json["id"]] * 2
    await revoke(world, **fingerprint)  # adds nothing
    assert await counted(world) == 2
    assert len(await events(world, action="revocations.create")) == 1
    assert [one["actor"] for one in await events(world, action="revocations.end")] == ["operator:admin"]


@pytest.mark.parametrize("failures", [1, 3, 4])
async def test_a_search_that_fails_is_tried_again_and_whoever_runs_the_service_hears_of_the_last(
    world, monkeypatch, caplog, failures
):
    issued = (await world.issue()).json
    search, begun = revocations.serials_of_key, 0

    async def away(*arguments):
        nonlocal begun
        begun += 1
        if begun <= failures:
            raise Unavailable("database_unavailable", "away")
        return await search(*arguments)

    monkeypatch.setattr(revocations, "serials_of_key", away)
    monkeypatch.setattr(key_endings, "PAUSES", (0.01, 0.01, 0.01))
    made = (await revoke(world, public_key_fingerprint=issued["public_key_fingerprint"])).json
    assert made["certificates"] == (1 if failures < 4 else None)
    assert await records(world, [issued]) == ([made["id"]] if failures < 4 else [None])
    assert (made["id"] in caplog.text) is (failures == 4)


async def test_a_search_that_takes_long_goes_on_behind_the_answer(world, tmp_path, monkeypatch):
    issued = (await world.issue()).json
    search, asked, go_on, begun = revocations.serials_of_key, asyncio.Event(), asyncio.Event(), 0

    async def slow(*arguments):
        nonlocal begun
        begun += 1
        asked.set()
        await go_on.wait()
        return await search(*arguments)

    monkeypatch.setattr(revocations, "serials_of_key", slow)
    monkeypatch.setattr(key_endings, "PATIENCE_SECONDS", 0.05)
    made = await revoke(world, public_key_fingerprint=issued["public_key_fingerprint"])
    assert (made.status, made.json["certificates"]) == (201, None)
    await is_refused(world, tmp_path, issued)
    assert (await revoke(world, public_key_fingerprint=issued["public_key_fingerprint"])).status == 409
    await asyncio.wait_for(asked.wait(), 60)  # it may need longer than the patience to begin
    assert begun == 1, "whoever asks again waits for the same search"
    assert await records(world, [issued]) == [None]
    go_on.set()
    async with asyncio.timeout(60):
        while await records(world, [issued]) == [None]:
            await asyncio.sleep(0.02)
    assert (await records(world, [issued]), await counted(world)) == ([made.json["id"]], 1)


@pytest.mark.parametrize("window", [1, 3])
async def test_it_is_searched_for_in_windows_and_no_other_key_is_touched(world, monkeypatch, window):
    monkeypatch.setattr(revocations, "_WINDOW", window)
    other = ssh_keygen(world.keys, "other")
    mine, others = [], []
    for number in range(4):
        mine += [(await world.issue()).json for _ in range(2)]  # that end in the same second
        others.append((await world.issue(public_key=other.public)).json)
        world.clock.move(number % 2)
    made = await revoke(world, public_key_fingerprint=mine[0]["public_key_fingerprint"])
    assert made.json["certificates"] == len(mine)
    assert await records(world, mine + others) == [made.json["id"]] * len(mine) + [None] * len(others)


async def test_whatever_is_issued_for_a_key_while_it_is_revoked_is_revoked_with_it(world):
    issued = [(await world.issue()).json]

    async def issue_until_refused():
        while (reply := await world.issue()).status == 201:
            issued.append(reply.json)
        assert reply.code == "key_revoked"

    askers = [asyncio.create_task(issue_until_refused()) for _ in range(4)]
    while len(issued) < 12 and not any(asker.done() for asker in askers):
        await asyncio.sleep(0.001)
    made = await revoke(world, public_key_fingerprint=issued[0]["public_key_fingerprint"])
    await asyncio.gather(*askers)
    assert made.json["certificates"] == len(issued) >= 12
    assert set(await records(world, issued)) == {made.json["id"]}
