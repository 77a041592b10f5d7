"""A service process, a real sshd that asks it, and people."""

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deploy.sandbox_sshd import HelperFiles, SandboxSshd
from tests.ssh.service import People, Service


@dataclass
class KeyPair:
    path: Path

    @property
    def public(self) -> str:
        return self.path.with_name(self.path.name + ".pub").read_text().strip()


def new_key(directory: Path, name: str) -> KeyPair:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", directory / name], check=True)
    return KeyPair(directory / name)


@pytest.fixture(scope="session")
def initialised(tmp_path_factory) -> Service:
    """A data directory as `tms-ca init` leaves it: to be copied, never served."""
    made = Service(tmp_path_factory.mktemp("initialised") / "data")
    made.init()
    return made


@pytest.fixture
def service(initialised, passing_path):
    shutil.copytree(initialised.data, passing_path / "data")  # no disk delays it
    made = Service(passing_path / "data", operator=initialised.operator)
    made.start()
    yield made
    made.stop()


@dataclass
class Site:
    """Everything that a login needs."""

    service: Service
    people: People
    sshd: SandboxSshd
    directory: Path
    keys: int = 0

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Let another sshd have the door, whose helper waits for a second only."""
        sshd = self.sshd
        helper = replace(sshd.helper, timeout_seconds=1.0)
        self.sshd = replace(sshd, workdir=self.directory / "impatient", helper=helper, port=0, _process=None)
        try:
            with self.sshd:
                yield
        finally:
            self.sshd = sshd

    def certified(self) -> tuple[Path, Path, dict]:
        """Make a key, have it certified; return key, certificate file and the answer."""
        self.keys += 1
        pair = new_key(self.directory, f"id{self.keys}")
        issued = self.people.issue(pair.public)
        assert issued.status == 201, issued
        certificate = self.directory / f"id{self.keys}-cert.pub"
        certificate.write_text(issued.json["certificate"] + "\n")
        return pair.path, certificate, issued.json

    def login(self, key: Path, certificate: Path, **options) -> bool:
        """Try a real login; tell whether it opened."""
        done = self.sshd.ssh(key, certificate, "echo in", **options)
        if done.returncode == 0 and done.stdout == "in\n":
            return True
        assert "Permission denied" in done.stderr, (done, self.sshd.log[-1500:])
        return False


@pytest.fixture
def site(service, tmp_path):
    account = "alice" if os.geteuid() == 0 else getpass.getuser()
    people = People(service, account)
    people.furnish()
    ca = service.call("GET", "ca/user.pub").body.decode()
    helper = HelperFiles(None, service.url, "default", "h1", people.host, timeout_seconds=30)
    with SandboxSshd(tmp_path / "sshd", ca, helper, accounts=(account, "bob")) as sshd:
        yield Site(service, people, sshd, tmp_path)
