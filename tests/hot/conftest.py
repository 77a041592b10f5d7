"""Worlds for the hot path: one service that answers where the bytes arrive, and one that never does."""

import io
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
from aiohttp import web
from yarl import URL

from tests.conftest import running_world
from tests.hot.jump import Jump
from tests.hot.line import Line, request
from tests.world import World
from tms_ca.app import build_app, open_context
from tms_ca.http.direct import DIRECT
from tms_ca.http.runner import Runner
from tms_ca.observe import Log


class _Stream:
    def __init__(self) -> None:
        self.buffer = io.BytesIO()


@dataclass
class Door:
    """A service on the world's context, and how often it took the short way."""

    world: World
    port: int = 0
    app: web.Application | None = None
    runner: Runner | None = None
    log: Log | None = None
    stream: _Stream = field(default_factory=_Stream)
    short: int = 0
    lines: list[Line] = field(default_factory=list)

    def line(self) -> Line:
        self.lines.append(Line(self.port))
        return self.lines[-1]

    def logged(self) -> list[dict[str, Any]]:
        """Return the log's lines since the last time."""
        self.log.flush()
        found = [orjson.loads(one) for one in self.stream.buffer.getvalue().splitlines()]
        self.stream.buffer = io.BytesIO()
        return found


@asynccontextmanager
async def open_door(
    world: World, *, short: bool, keepalive_seconds: float = 75.0, **listen: Any
) -> AsyncIterator[Door]:
    """Serve the world on one more port; without `short`, every request goes through its endpoint's task."""
    door = Door(world)
    door.log = Log(door.stream)  # type: ignore[arg-type]
    settings = replace(world.settings, listen=replace(world.settings.listen, **listen))
    app = door.app = build_app(world.context, settings, door.log)
    direct = app[DIRECT]
    if short:
        answer = direct.answer

        def counted(*args: Any) -> Any:
            found = answer(*args)
            door.short += found is not None
            return found

        direct.answer = counted
    else:
        del app[DIRECT]
    runner = door.runner = Runner(app, access_log=None, auto_decompress=False, keepalive_timeout=keepalive_seconds)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    door.port = runner.addresses[0][1]
    try:
        yield door
    finally:
        for line in door.lines:
            line.close()
        await runner.cleanup()


@asynccontextmanager
async def another(world: World) -> AsyncIterator[World]:
    """Run one more service, with a memory and connections of its own, on the database of `world`."""
    async with open_context(world.settings, world.clock) as context:
        runner = Runner(build_app(context, world.settings, Log()), access_log=None, auto_decompress=False)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield replace(world, base=URL(f"http://127.0.0.1:{runner.addresses[0][1]}/"), context=context)
        finally:
            await runner.cleanup()


@dataclass
class Doors:
    """The same service with its short way and without it, and a certificate that opens h1."""

    world: World
    short: Door
    long: Door
    certificate: str = ""
    serial: str = ""

    def good(self, *fields: str, **more: Any) -> bytes:
        """Return a login check that is answered with yes."""
        body = {"account": "alice", "certificate": self.certificate, "nonce": "00"}
        path = "/api/v1/tenants/default/hosts/h1/principals"
        auth = more.pop("auth", self.world.hosts["h1"])
        return request(more.pop("path", path), more.pop("body", body), auth, *fields, **more)

    async def certify(self) -> None:
        issued = (await self.world.issue()).json
        self.certificate, self.serial = issued["certificate"].strip(), issued["serial"]

    async def warm(self, line: Line) -> None:
        """Ask until the answer comes by the short way."""
        for _ in range(4):
            before = self.short.short
            said = await line.ask(self.good())
            assert said.status == 200, said.body
            if self.short.short > before:
                return
        raise AssertionError("the short way is never taken")


@pytest.fixture
async def jump(monkeypatch: pytest.MonkeyPatch) -> Jump:
    """Return what moves the time of connections on."""
    return Jump(monkeypatch)


@pytest.fixture
async def lite(tmp_path, sqlite_template, clock) -> AsyncIterator[World]:
    """A furnished service on SQLite, where login checks are answered without waiting."""
    shutil.copy(sqlite_template, tmp_path / "tms.db")
    async with running_world(tmp_path / "data", f"sqlite:///{tmp_path / 'tms.db'}", clock) as world:
        await world.furnish()
        yield world


@asynccontextmanager
async def open_doors(world: World) -> AsyncIterator[Doors]:
    """Run both services, with the short way and without it."""
    async with open_door(world, short=True) as short, open_door(world, short=False) as long:
        made = Doors(world, short, long)
        await made.certify()
        yield made


@pytest.fixture
async def doors(lite: World) -> AsyncIterator[Doors]:
    """Both services."""
    async with open_doors(lite) as made:
        yield made
