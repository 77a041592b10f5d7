"""A furnished service of one or of several workers."""

import shutil
from dataclasses import dataclass

import pytest

from tests.ssh.conftest import initialised, new_key  # noqa: F401 - a fixture
from tests.ssh.service import People, Service


@dataclass
class Shop:
    service: Service
    people: People
    key: str


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
        service.start()
        people = People(service, "alice")
        people.furnish()
        return Shop(service, people, new_key(tmp_path, "id").public)

    return open_


@pytest.fixture
async def postgres_url(postgres) -> str:
    """Return the URL of a migrated, empty database."""
    return await postgres.fresh()
