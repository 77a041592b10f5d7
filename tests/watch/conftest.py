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


@pytest.fixture(scope="session")
def loads(initialised: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Load]]:
    """A load at rest for each number of workers."""
    found: dict[int, Load] = {}
    started: list[Service] = []
    try:
        for workers in (1, 2):
            directory = tmp_path_factory.mktemp(f"w{workers}")
            service = copied(initialised, directory, workers=workers)
            started.append(service)
            service.start()
            found[workers] = Load(service, directory)
        yield found
    finally:
        for service in started:
            service.stop()


@pytest.fixture(scope="session")
def watching(loads: dict[int, Load], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    services = [load.service.url for load in loads.values()]
    with prometheus(tmp_path_factory.mktemp("prometheus"), services) as running:
        yield running
