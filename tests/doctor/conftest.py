"""A host that is well, and the real service that knows it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doctor.host import NAME, Host, need_root
from tests.ssh.service import Service


@pytest.fixture(scope="session")
def service(tmp_path_factory) -> Iterator[Service]:
    need_root()
    made = Service(tmp_path_factory.mktemp("doctor") / "data")
    made.init()
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def template(service: Service, tmp_path_factory) -> Host:
    """Built once; each test has a copy."""
    token = service.good("POST", "hosts", service.operator, {"host": "h1"})["secret"]
    host = Host(tmp_path_factory.mktemp("doctor-host") / "t", tmp_path_factory.mktemp("doctor") / "library")
    host.build(service.url, token)
    return host


@pytest.fixture
def host(template: Host, tmp_path: Path) -> Host:
    shutil.copytree(template.directory, tmp_path / "t", symlinks=True)
    copy = Host(tmp_path / "t", template.library, dict(template.conf))
    copy.user_ca, copy.host_ca = template.user_ca, template.host_ca
    return copy


@pytest.fixture(scope="module")
def joining(tmp_path_factory) -> Iterator[Service]:
    """A service of its own, where the host h1 has its two names and no machine yet."""
    made = Service(tmp_path_factory.mktemp("joining") / "data")
    made.init()
    made.start()
    made.good("POST", "hosts", made.operator, {"host": "h1", "addresses": [NAME, "login1"]})
    yield made
    made.stop()
