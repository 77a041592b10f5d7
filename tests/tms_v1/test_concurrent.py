"""Many at once, through two services on one database: one row, one yes, and never a 500."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

from tests.api.stores import query
from tests.store.test_races import second_service
from tests.tms_v1.wire import Tms
from tms_ca.cli.init import local_operator
from tms_ca.store import rows

T = {"tenant": "default"}
ADA = {**T, "tms_user_id": "ada", "ttl_minutes": 60}
PLACE = {**T, "tms_user_id": "ada", "host": "h7", "host_account": "ada"}
PAIR = {**T, "client_id": "portal", "client_user_id": "ada"}
NOTED = {**T, "host": "h7", "addr": "192.0.2.7"}
# Of each noun: what makes one, what deletes it, and the table.
NOUNS = {
    "usermfa": (("POST", "usermfa", ADA), ("DELETE", "usermfa/del/ada", None), "users"),
    "userhosts": (
        ("POST", "userhosts", {**PLACE, "ttl_minutes": 60}), ("DELETE", "userhosts/del", PLACE), "account_links"
    ),
    "delegations": (
        ("POST", "delegations", {**PAIR, "ttl_minutes": 60}), ("DELETE", "delegations/del", PAIR), "delegations"
    ),
    "hosts": (("POST", "hosts", NOTED), ("DELETE", "hosts/del", NOTED), "tms_v1_hosts"),
}  # fmt: skip


@asynccontextmanager
async def two(tms):
    """Yield what calls the one service and the other in turn."""
    tms.world.delegation = None
    async with second_service(tms.world) as world:
        other = Tms(world, tms.admin, tms.client)

        async def at_once(*calls):
            every = enumerate(calls)
            return await asyncio.gather(
                *((tms, other)[at % 2].call(m, p, tms.admin, body) for at, (m, p, body) in every)
            )

        yield at_once


async def rows_of(tms, table):
    return await query(tms.world, f"SELECT * FROM {table}")


async def test_of_twenty_that_make_the_same_one_does(tms):
    async with two(tms) as at_once:
        for noun, (make, _, table) in NOUNS.items():
            replies = await at_once(*[make] * 20)
            assert Counter(reply.status for reply in replies) == {201: 1, 409: 19}, noun
            assert all(reply.json["result_msg"].startswith("ERROR: ") for reply in replies if reply.status == 409)
            assert len(await rows_of(tms, table)) == 1, noun
    assert len(await rows_of(tms, "hosts")) == 1


async def test_making_and_deleting_race_and_add_up(tms):
    async with two(tms) as at_once:
        for noun, (make, delete, table) in NOUNS.items():
            replies = await at_once(*[make, make, delete, delete] * 5)
            assert {reply.status for reply in replies} <= {201, 409, 200}, noun
            made = sum(reply.status == 201 for reply in replies)
            deleted = sum(reply.json["num_deleted"] for reply in replies if reply.status == 200)
            assert len(await rows_of(tms, table)) == made - deleted in {0, 1}, noun
            await tms.call(make[0], make[1], tms.admin, make[2])  # what the next noun refers to


async def test_what_a_user_s_deletion_takes_is_not_made_under_it(tms):
    """Links and delegations race with the deletion of the user whom they name: refused, or gone with the user."""
    await tms.good("POST", "usermfa", tms.admin, ADA, 201)
    link, grant, delete = NOUNS["userhosts"][0], NOUNS["delegations"][0], NOUNS["usermfa"][1]
    end = ("PATCH", "userhosts/upd", {**PLACE, "ttl_minutes": 1})
    enable = ("PATCH", "usermfa/upd", {**T, "tms_user_id": "ada", "enabled": True})
    async with two(tms) as at_once:
        replies = await at_once(link, grant, end, enable, delete, link, grant, end, enable)
    assert {reply.status for reply in replies} <= {201, 409, 400, 200}
    for table in ("users", "account_links", "delegations"):
        assert await rows_of(tms, table) == []


async def test_lists_are_whole_and_in_order_while_rows_come_and_go(tms):
    """Every list is of one moment: what no call touches is in each, under the same number."""
    world = tms.world
    for user in ("own1", "own2"):  # made by the other API: numbered when first shown, by many at once
        await world.good("POST", "users", auth=world.operator, json={"user": user})
        await world.context.directory.change(local_operator(), rows.USERS, ("default", user), mfa_until=tms.clock.now())
    some = [("POST", "usermfa", {**ADA, "tms_user_id": f"u{n}"}) for n in range(6)]
    async with two(tms) as at_once:
        replies = await at_once(*(call for one in some for call in (one, ("GET", "usermfa/list", None))))
    lists = [reply.json for reply in replies if "users" in reply.json]
    assert len(lists) == 6
    assert all(reply.status in {200, 201} for reply in replies)
    for found in lists:
        names = [one["tms_user_id"] for one in found["users"]]
        assert names == sorted(names)
        assert found["num_users"] == len(names)
        assert {"own1", "own2"} <= set(names)
    ids = {(one["tms_user_id"], one["id"]) for found in lists for one in found["users"]}
    assert len(ids) == len({name for name, _ in ids})
