"""A key is escrowed anew while it is taken back, or by two at once: the answer says what there is."""

from tests.keys.test_public_keys import escrow, path_of
from tests.overtaking import beside
from tms_ca.store import rows
from tms_ca.store.plainkeys import KEYS


def _once_found(monkeypatch, happen):
    """Have something happen once, between the look for the key and what is written of it."""
    read = rows.Shelf.get
    seen = []

    async def late(shelf, *args):
        found = await read(shelf, *args)
        if shelf is KEYS and not seen:
            seen.append(found)
            await happen()
        return found

    monkeypatch.setattr(rows.Shelf, "get", late)


async def test_a_key_that_is_said_to_be_escrowed_is(world, monkeypatch):
    assert (await escrow(world)).status == 201
    path = await path_of(world)
    removal = beside(world, lambda: world.call("DELETE", path, auth=world.clients["portal"]))
    _once_found(monkeypatch, removal.begin)
    assert (await escrow(world)).status == 201
    assert (await removal.done()).status == 204
    left = await world.call("GET", path, auth=world.operator)
    assert left.status == (200 if removal.was_first else 404)


async def test_a_key_that_another_escrows_meanwhile_stays_theirs(world, monkeypatch):
    await world.add_client("other")
    await world.delegate("alice", "other", "h1", "alice")
    assert (await escrow(world)).status == 201
    path = await path_of(world)

    async def pass_on():
        assert (await world.call("DELETE", path, auth=world.clients["portal"])).status == 204
        return await escrow(world, client_id="other")

    passing = beside(world, pass_on)
    _once_found(monkeypatch, passing.begin)
    again = await escrow(world)
    theirs = await passing.done()
    assert theirs.status == 201
    kept = await world.good("GET", path, auth=world.operator)
    assert kept["client_id"] == "other"
    if passing.was_first:
        assert (again.status, again.code) == (409, "public_key_taken")


async def test_of_two_who_escrow_a_new_key_at_once_one_gets_it(world, monkeypatch):
    await world.add_client("other")
    await world.delegate("alice", "other", "h1", "alice")
    world.issue_body()  # makes the key
    second = beside(world, lambda: escrow(world, client_id="other"))
    _once_found(monkeypatch, second.begin)
    said = [await escrow(world), await second.done()]
    assert sorted(reply.status for reply in said) == [201, 409]
