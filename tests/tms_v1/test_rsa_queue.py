"""RSA pairs are dear: a client has few places in the queue, and what nobody waits for is not made."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.tms_v1.keymode import KeyMode
from tms_ca.keypairs import KeyPairs

pytestmark = pytest.mark.usefixtures("quick_rsa")


@pytest.fixture
async def keys(tms):
    mode = KeyMode(tms)
    await mode.furnish()
    return mode


@asynccontextmanager
async def busy(pairs: KeyPairs) -> AsyncIterator[None]:
    """Keep every thread that makes pairs at something else."""
    done = threading.Event()
    for _ in range(2):
        pairs._threads.submit(done.wait)
    try:
        yield
    finally:
        done.set()


async def until(said):
    async with asyncio.timeout(60):
        while not said():
            await asyncio.sleep(0.01)


async def test_one_client_does_not_take_every_place(keys):
    other = await keys.tms.new_client("other")
    await keys.delegate("other", "ada")
    keys.world.context.key_mode._pairs = pairs = KeyPairs(most_of_one=2)
    async with asyncio.timeout(60), busy(pairs):
        waiting = [asyncio.create_task(keys.ask(key_type="RSA")) for _ in range(2)]
        await until(lambda: pairs._waiting["default", "portal"] == 2)
        refused = await keys.ask(key_type="RSA")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        assert refused.json["result_msg"].startswith("ERROR: of this client 2 RSA key pairs are")
        assert (await keys.ask()).status == 201  # of another kind
        another = asyncio.create_task(keys.ask(other, key_type="RSA"))
        await until(lambda: pairs._waiting["default", "other"] == 1)
    assert {(await one).status for one in (*waiting, another)} == {201}
    await until(lambda: not pairs._waiting)
    assert (await keys.ask(key_type="RSA")).status == 201  # the places are free again


class Watched(KeyPairs):
    """Makes pairs; tells whether somebody waits for the last that was asked for."""

    async def make(self, kind, owner, gone):
        self.gone = gone
        return await super().make(kind, owner, gone)


@pytest.mark.parametrize("hangs_up", [True, False])
async def test_what_nobody_waits_for_is_not_made(keys, hangs_up):
    keys.world.context.key_mode._pairs = pairs = Watched()
    async with busy(pairs):
        asked = asyncio.create_task(keys.ask(key_type="RSA"))
        await until(lambda: pairs._waiting["default", "portal"] == 1)
        assert not pairs.gone()
        if hangs_up:
            asked.cancel()
            await until(pairs.gone)
    await until(lambda: not pairs._waiting)
    if hangs_up:
        assert await keys.listed() == []
    else:
        assert (await asked).status == 201
        assert len(await keys.listed()) == 1
