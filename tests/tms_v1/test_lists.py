"""Lists that are longer than a batch: everything once, in order, with a number of its own."""

from tests.tms_v1.keymode import KeyMode
from tms_ca.http.tms_v1 import listing
from tms_ca.services import lists

# In the order of their code points, which is no collation's.
NAMES = ["A-1", "B", "Z.z", "a", "a-b", "a.b", "a_b", "ab", "b", "b1"]
MADE = [NAMES[place] for place in (7, 2, 9, 0, 5, 4, 8, 1, 6, 3)]


async def listed(keys, noun, headers=None):
    said = await keys.tms.good("GET", f"{noun}/list", headers or keys.tms.admin)
    (count,) = (value for name, value in said.items() if name.startswith("num_"))
    (found,) = (value for value in said.values() if isinstance(value, list))
    assert count == len(found)
    assert len({one["id"] for one in found}) == count
    assert all(list(one) == sorted(one) for one in found)
    assert (await keys.tms.good("GET", f"{noun}/list", headers or keys.tms.admin)) == said
    return found


async def test_a_list_is_whole_and_in_order(tms, monkeypatch):
    keys = KeyMode(tms)
    for name in MADE:
        await keys.mfa(name)
    for name in MADE:
        await keys.link("A-1", f"u{len(name)}{NAMES.index(name)}")
        await keys.delegate("portal", name)
    for name in MADE:
        place = {"tenant": "default", "host": "h1", "addr": name}
        await keys.tms.good("POST", "hosts", keys.tms.admin, place, 201)
    mine = [
        (await keys.make(client_user_id="A-1", host_account=f"u{len(name)}{NAMES.index(name)}")) for name in MADE[:6]
    ]
    other = await keys.tms.new_client("other")
    await keys.delegate("other", "A-1")
    theirs = await keys.make(other, client_user_id="A-1", host_account="u11")

    for size in (1, 3, 10, 500):
        for module in (lists, listing):
            monkeypatch.setattr(module, "BATCH", size)
        await whole(keys, other, {one["public_key_fingerprint"] for one in mine}, theirs["public_key_fingerprint"])


async def whole(keys, other, mine, theirs):
    assert [one["tms_user_id"] for one in await listed(keys, "usermfa")] == NAMES
    assert [one["addr"] for one in await listed(keys, "hosts")] == NAMES
    assert [(one["client_id"], one["client_user_id"]) for one in await listed(keys, "delegations")] == [
        ("other", "A-1"), *(("portal", name) for name in NAMES)
    ]  # fmt: skip
    assert [one["client_id"] for one in await listed(keys, "client")] == ["other", "portal"]
    assert [one["client_id"] for one in await listed(keys, "client", other)] == ["other"]
    every = await listed(keys, "pubkeys")
    assert [one["host_account"] for one in every] == sorted(one["host_account"] for one in every)
    assert {one["public_key_fingerprint"] for one in every} == {*mine, theirs}
    assert {one["public_key_fingerprint"] for one in await listed(keys, "pubkeys", keys.tms.client)} == mine
    assert [one["public_key_fingerprint"] for one in await listed(keys, "pubkeys", other)] == [theirs]
