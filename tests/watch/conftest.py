"""Real services, one process and two workers, watched by a real Prometheus."""

import shutil
from collections.abc import Iterator

import pytest

from tests.ssh.service import Service
from tests.watch.load import Load
from tests.watch.prometheus import Prometheus, prometheus


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    for tool in ("prometheus", "promtool"):
        assert shutil.which(tool), f"{tool} is not installed: sh deploy/debian-packages.sh watch"


@pytest.fixture(scope="session")
def loads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Load]]:
    """A load at rest for each number of workers."""
    found: dict[int, Load] = {}
    try:
        for workers in (1, 2):
            directory = tmp_path_factory.mktemp(f"w{workers}")
            service = Service(directory / "data", workers)
            found[workers] = None
            service.init()
            service.start()
            found[workers] = Load(service, directory)
        yield found
    finally:
        for load in found.values():
            if load is not None:
                load.service.stop()


@pytest.fixture(scope="session")
def watching(loads: dict[int, Load], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    services = [load.service.url for load in loads.values()]
    with prometheus(tmp_path_factory.mktemp("prometheus"), services) as running:
        yield running
