"""A furnished service of one or of several workers."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.postgres import memory
from tests.ssh.conftest import initialised, new_key  # noqa: F401 - a fixture
from tests.ssh.service import People, Service


@dataclass
class Shop:
    service: Service
    people: People
    key: str


def _open(service: Service, keys: Path) -> Shop:
    service.start()
    people = People(service, "alice")
    people.furnish()
    return Shop(service, people, new_key(keys, "id").public)


@pytest.fixture
def shop(initialised, passing_path, tmp_path, request):  # noqa: F811
    """Return what opens a service with so many workers; `deep` puts its data where a socket's path would not fit.

    Its data lie in memory: a disk that stands still for seconds refuses certificates, and would be what is seen.
    """

    def open_(workers: int, *, deep: bool = False, environment: dict[str, str] | None = None) -> Shop:
        data = passing_path / ("d" * 120 if deep else "") / "data"
        if environment is None:
            shutil.copytree(initialised.data, data)
        service = Service(data, workers=workers, operator=initialised.operator, environment=environment or {})
        if environment is not None:
            service.init()
        request.addfinalizer(service.stop)
        return _open(service, tmp_path)

    return open_


@pytest.fixture(scope="module")
def two_workers(initialised, tmp_path_factory):  # noqa: F811
    """A service of two workers, for tests that leave it as well as they found it: starting one takes long."""
    with tempfile.TemporaryDirectory(prefix="tms-world-", dir=memory(), ignore_cleanup_errors=True) as path:
        shutil.copytree(initialised.data, Path(path) / "data")
        with Service(Path(path) / "data", workers=2, operator=initialised.operator) as service:
            yield _open(service, tmp_path_factory.mktemp("keys"))


@pytest.fixture
async def postgres_url(postgres) -> str:
    """Return the URL of a migrated, empty database."""
    return await postgres.fresh()
