"""What a host tells, for tests."""

import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web
from yarl import URL

from schemas.base import rfc3339
from tests.world import Reply, World
from tms_ca.app import build_app, open_context
from tms_ca.http.runner import Runner
from tms_ca.observe import Log
from tms_ca.settings import MASTER_KEY_FILE, SETTINGS_FILE, load_settings


def told(world: World, presented: str, **more: Any) -> dict[str, Any]:
    """Return what a host sends of a login that sshd has let in."""
    return {
        "login_id": secrets.token_hex(16),
        "node": "login1",
        "account": "alice",
        "certificate": presented.strip(),
        "remote_address": "192.0.2.7",
        "started_at": rfc3339(world.clock.now()),
        **more,
    }


async def open_login(world: World, body: dict[str, Any], host: str = "h1") -> Reply:
    return await world.call("POST", f"hosts/{host}/logins", auth=world.hosts[host], json=body)


async def end_login(world: World, login_id: str, **more: Any) -> Reply:
    body = {"ended_at": rfc3339(world.clock.now()), "reason": "closed", **more}
    return await world.call("POST", f"hosts/h1/logins/{login_id}/end", auth=world.hosts["h1"], json=body)


async def report(world: World, *login_ids: str, node: str = "login1", **more: Any) -> list[dict[str, Any]]:
    body = {"node": node, "open": list(login_ids), **more}
    return (await world.good("POST", "hosts/h1/sessions", auth=world.hosts["h1"], json=body))["end"]


async def records(world: World, **query: Any) -> list[dict[str, Any]]:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    return (await world.good("GET", f"logins?{asked}", auth=world.operator))["items"]


async def certificate_of(world: World, **more: Any) -> str:
    reply = await world.issue(**more)
    assert reply.status == 201, reply.json
    return reply.json["certificate"]


async def lines_of(world: World, certificate: str) -> Reply:
    """Ask as a helper does: a line for each principal."""
    body = {"account": "alice", "certificate": certificate.strip(), "nonce": "00"}
    headers = {"Accept": "text/plain"}
    return await world.call("POST", "hosts/h1/principals", auth=world.hosts["h1"], json=body, headers=headers)


@asynccontextmanager
async def second(data: Path, first: World, log: Log | None = None) -> AsyncIterator[World]:
    """Run another service on the database of `first`, with memory and connections of its own."""
    data.mkdir()
    shutil.copy(first.settings.master_key, data / MASTER_KEY_FILE)
    (data / SETTINGS_FILE).write_text((first.settings.data / SETTINGS_FILE).read_text())
    settings = load_settings(data)
    async with open_context(settings, first.clock) as context:
        runner = Runner(build_app(context, settings, log or Log()), access_log=None, auto_decompress=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield replace(first, base=URL(f"http://127.0.0.1:{runner.addresses[0][1]}/"), context=context)
        await runner.cleanup()
