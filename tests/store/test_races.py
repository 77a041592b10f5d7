"""A-05: after the answer of whatever takes trust back, no certificate is issued, and those before are refused."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.world import World
from tms_ca.app import build_app, open_context
from tms_ca.observe import Log

ROUNDS = 8


@asynccontextmanager
async def second_service(world: World):
    """Another process's worth of service on the same database."""
    async with open_context(world.settings, world.clock) as context, AsyncExitStack() as stack:
        runner = web.AppRunner(build_app(context, world.settings, Log()), access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        http = await stack.enter_async_context(aiohttp.ClientSession())
        other = World(
            URL(f"http://127.0.0.1:{runner.addresses[0][1]}/"), http, world.clock, context, world.settings,
            world.operator, world.keys,
        )  # fmt: skip
        other.delegation = world.delegation
        other.clients, other.hosts, other.sessions, other.seeds = (
            world.clients,
            world.hosts,
            world.sessions,
            world.seeds,
        )
        yield other


async def _user(world, on):
    await world.good("PATCH", "users/alice", auth=world.operator, json={"enabled": on})


async def _client(world, on):
    await world.good("PATCH", "clients/portal", auth=world.operator, json={"enabled": on})


async def _host(world, on):
    await world.good("PATCH", "hosts/h1", auth=world.operator, json={"enabled": on})


async def _link(world, on):
    if on:
        await world.link("alice", "h1", "alice")
        return
    found = await world.good("GET", "account-links", auth=world.operator)
    await world.good("DELETE", f"account-links/{found['items'][0]['id']}", auth=world.operator)


async def _delegation(world, on):
    if on:
        world.delegation.update(await world.delegate("alice", "portal", "h1", "alice"))
        return
    await world.good(
        "POST", "revocations", auth=world.operator, json={"delegation_id": world.delegation["id"], "reason": "race"}
    )


async def _lift(world, selector):
    found = await world.good("GET", f"revocations?selector={selector}", auth=world.operator)
    for item in found["items"]:
        if item["lifted_at"] is None:
            await world.good("POST", f"revocations/{item['id']}/lift", auth=world.operator)


async def _user_revoked(world, on):
    if on:
        await _lift(world, "user")
        return
    await world.good("POST", "revocations", auth=world.operator, json={"user": "alice", "reason": "race"})


async def _client_revoked(world, on):
    if on:
        await _lift(world, "client_id")
        return
    await world.good("POST", "revocations", auth=world.operator, json={"client_id": "portal", "reason": "race"})


async def _mfa(world, on):
    if not on:
        await world.good("DELETE", "users/alice/mfa", auth=world.operator)
        return
    await world.log_in("alice")
    world.seeds["alice"] = (await world.good("POST", "mfa/totp", auth=world.sessions["alice"]))["seed"]
    await world.verify("alice")


KINDS = {
    "user disabled": _user,
    "client disabled": _client,
    "host disabled": _host,
    "link deleted": _link,
    "delegation revoked": _delegation,
    "user revoked": _user_revoked,
    "client revoked": _client_revoked,
    "MFA reset": _mfa,
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.replace(" ", "-"))
async def test_A_05_no_certificate_after_the_answer(world, kind):
    take_back = KINDS[kind]
    world.issue_body()
    async with second_service(world) as other:
        for number in range(ROUNDS):
            before: list[str] = []
            answered = asyncio.Event()
            late: list[str] = []

            async def writer(service: World, before=before, late=late, answered=answered) -> None:
                while True:
                    after = answered.is_set()  # the request begins after the answer of the change
                    reply = await service.issue()
                    if reply.status != 201:
                        if after:
                            return
                        await asyncio.sleep(0)
                        continue
                    (late if after else before).append(reply.json["certificate"])
                    if after:
                        return

            writers = [asyncio.create_task(writer(service)) for service in (world, other) for _ in range(4)]
            while len(before) < 4:
                await asyncio.sleep(0.001)
            await take_back(world if number % 2 else other, False)
            answered.set()
            await asyncio.gather(*writers)
            assert late == [], f"{len(late)} certificates after the answer"
            checks = [await other.check(text) for text in before[-8:]]
            assert {reply.status for reply in checks} == {403}
            await take_back(world, True)
            assert (await world.issue()).status == 201
        for service in (world, other):
            assert (await service.context.auditing.verify()).faults == ()
