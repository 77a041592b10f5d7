"""Services to press: one in this process, and one of its own."""

import shutil
from collections.abc import AsyncIterator

import pytest

from tests.conftest import running_world
from tests.hot.jump import Jump
from tests.ssh.service import Service
from tests.world import World


@pytest.fixture
async def served(tmp_path, sqlite_template, clock) -> AsyncIterator[World]:
    """A service in this process; what is tested here ends before any database."""
    shutil.copy(sqlite_template, tmp_path / "tms.db")
    async with running_world(tmp_path / "data", f"sqlite:///{tmp_path / 'tms.db'}", clock) as world:
        yield world


@pytest.fixture
async def jump(monkeypatch: pytest.MonkeyPatch) -> Jump:
    """Return what moves the time of connections on."""
    return Jump(monkeypatch)


@pytest.fixture(scope="session")
def initialised(tmp_path_factory) -> Service:
    """A data directory as `tms-ca init` leaves it: to be copied, never served."""
    made = Service(tmp_path_factory.mktemp("initialised") / "data")
    made.init()
    return made


@pytest.fixture
def own_process(initialised, passing_path):
    """A service in a process of its own; no disk delays it."""
    shutil.copytree(initialised.data, passing_path / "data")
    made = Service(passing_path / "data", operator=initialised.operator)
    made.start()
    yield made
    made.stop()
