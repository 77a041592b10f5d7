"""A service that speaks the wire of TMS 0.3, with a tenant's administrator and a client."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.conftest import Furnish, copied_world
from tests.fakes import FakeClock
from tests.tms_v1.wire import Tms
from tms_ca import keypairs
from tms_ca.http.tms_v1 import serve
from tms_ca.http.tms_v1.rates import Rates

Started = Callable[..., AbstractAsyncContextManager[Tms]]


@pytest.fixture
def started(
    request: pytest.FixtureRequest,
    furnished: Furnish,
    passing_path: Path,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> Started:
    """Return what starts a service; settings of [tms_v1] as TOML, such as strict="false".

    How often it may be asked is bound only where a test says so: tests are quicker than what is let through. It is let
    through by the clock of the tests.
    """
    monkeypatch.setattr(serve, "Rates", partial(Rates, now=clock.now))

    @asynccontextmanager
    async def start(**set_: str) -> AsyncIterator[Tms]:
        set_ = {"enabled": "true", "requests_per_minute": "1000000", **set_}
        async with copied_world(request, furnished(False), passing_path, clock, **set_) as world:
            tms = Tms(world)
            await tms.furnish()
            yield tms

    return start


@pytest.fixture
def quick_rsa(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have RSA keys made that are the smallest which are taken: a quarter of the work."""
    monkeypatch.setitem(keypairs._MAKE, keypairs.KeyKind.RSA, lambda: rsa.generate_private_key(65537, 3072))


@pytest.fixture
async def tms(started: Started) -> AsyncIterator[Tms]:
    """A service as [tms_v1] has it by default, but enabled."""
    async with started() as running:
        yield running
