"""The numbers by which the wire names things: each is given once."""

from urllib.parse import quote

from sqlalchemy import select

from tests.tms_v1.keymode import KeyMode
from tests.tms_v1.wire import Tms
from tms_ca.cli.init import local_operator
from tms_ca.store import tables


async def held(tms: Tms) -> set[str]:
    """Return the kinds of things in the tenant that have numbers."""
    n = tables.tms_v1_numbers.c
    async with tms.world.context.directory._database.read() as connection:
        return set((await connection.execute(select(n.kind).where(n.tenant == "default"))).scalars())


async def furnish(tms: Tms) -> KeyMode:
    """Have one of everything, with its number."""
    furnished = KeyMode(tms)
    await furnished.furnish()
    made = await furnished.make()
    body = {"client_id": "portal", "client_user_id": "ada", "host": "h1", "ttl_minutes": 60}
    key = {"public_key_fingerprint": made["public_key_fingerprint"]}
    reserved = await tms.good("POST", "reservations", tms.client, {**body, **key}, 201)
    await tms.good("GET", f"reservations/portal/{reserved['resid']}", tms.client)
    for path, headers in (("client/list", tms.admin), ("pubkeys/list", tms.client), ("usermfa/list", tms.admin)):
        await tms.good("GET", path, headers)
    return furnished


async def test_what_is_deleted_over_the_other_api_loses_its_number_too(tms: Tms):
    await furnish(tms)
    everything = {"client", "mfa", "link", "delegation", "key", "reservation"}
    assert await held(tms) == everything
    world = tms.world
    paths = {
        "reservation": ("reservations", "id"), "key": ("public-keys", "fingerprint"),
        "link": ("account-links", "id"), "mfa": ("users", "user"),
        "client": ("clients", "client_id"),
    }  # fmt: skip
    for kind, (path, name) in paths.items():
        ((one),) = (await world.good("GET", path, auth=world.operator))["items"]
        await world.good("DELETE", f"{path}/{quote(one[name], safe='')}", auth=world.operator)
        everything.discard(kind)
        assert await held(tms) == everything, kind


async def test_upkeep_takes_back_the_numbers_of_what_went_with_something_else(tms: Tms):
    await furnish(tms)
    before = await held(tms)
    upkeep = tms.world.context.upkeep
    assert (await upkeep.run(local_operator())).deleted["numbers"] == 0
    assert await held(tms) == before
    await tms.world.good("DELETE", "users/ada", auth=tms.world.operator)
    assert await held(tms) == before - {"mfa"}
    assert (await upkeep.run(local_operator())).deleted["numbers"] >= 4
    assert await held(tms) == {"client"}


async def test_a_number_of_what_was_deleted_is_not_given_again(tms: Tms):
    given = []
    for turn in range(3):
        host = {"tenant": "default", "host": "h1", "addr": f"192.0.2.{turn}"}
        await tms.good("POST", "hosts", tms.admin, host, 201)
        ((one),) = (await tms.good("GET", "hosts/list", tms.admin))["users"]
        given.append(one["id"])
        assert (await tms.good("GET", f"hosts/{one['id']}", tms.admin))["addr"] == host["addr"]
        assert (await tms.good("DELETE", "hosts/del", tms.admin, host))["num_deleted"] == 1
        await tms.no("GET", f"hosts/{one['id']}", tms.admin, None, 404)
    assert given == sorted(set(given))
    assert len(given) == 3
