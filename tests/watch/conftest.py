"""Real services, one process and two workers, watched by a real Prometheus."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ssh.service import Service
from tests.watch.load import Load
from tests.watch.prometheus import Prometheus, prometheus


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    for tool in ("prometheus", "promtool"):
        assert shutil.which(tool), f"{tool} is not installed: sh deploy/debian-packages.sh watch"


@pytest.fixture(scope="session")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A data directory to copy: making one takes longer than starting on it."""
    service = Service(tmp_path_factory.mktemp("init") / "data")
    service.init()
    return service


def copied(initialised: Service, directory: Path, **more: Any) -> Service:
    """Return a service, not yet started, on a copy of its own."""
    shutil.copytree(initialised.data, directory / "data")
    return Service(directory / "data", operator=initialised.operator, **more)


class Loads(dict[int, Load]):
    """A load at rest for each number of workers, made when somebody wants it."""

    def __init__(self, initialised: Service, factory: pytest.TempPathFactory) -> None:
        super().__init__()
        self._initialised = initialised
        self._factory = factory
        self.started: list[Service] = []

    def __missing__(self, workers: int) -> Load:
        directory = self._factory.mktemp(f"w{workers}")
        service = copied(self._initialised, directory, workers=workers)
        self.started.append(service)
        service.start()
        self[workers] = Load(service, directory)
        return self[workers]


@pytest.fixture(scope="session")
def loads(initialised: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loads]:
    found = Loads(initialised, tmp_path_factory)
    try:
        yield found
    finally:
        for service in found.started:
            service.stop()


@pytest.fixture(scope="session")
def watching(loads: Loads, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    services = [loads[workers].service.url for workers in (1, 2)]
    with prometheus(tmp_path_factory.mktemp("prometheus"), services) as running:
        yield running
