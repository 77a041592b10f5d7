"""Packages built as `make host-packages` builds them, and a machine of one's own to install them on."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.build_host import ROOT
from deploy.host_packages import version_of_ours
from deploy.sandbox_machine import Machine

VERSION = version_of_ours()


def build_packages(
    outdir: Path, root: Path = ROOT, kinds: str = "deb,rpm,tar", umask: int = 0o022, **environment: str
) -> Path:
    """Build in a process of its own."""
    subprocess.run(
        [sys.executable, "-m", "deploy.host_packages", "--outdir", outdir, "--kinds", kinds],
        cwd=root, check=True, umask=umask, capture_output=True, timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": str(outdir), **environment},
    )  # fmt: skip
    return outdir


@pytest.fixture(scope="session")
def packages(tmp_path_factory) -> Path:
    """A directory with the three packages."""
    if shutil.which("rpmbuild") is None:
        pytest.skip("rpmbuild is missing: deploy/debian-packages.sh hosts")
    return build_packages(tmp_path_factory.mktemp("packages"))


class Installed(Machine):
    """A machine whose commands must end as the test says."""

    def run(self, script: str, *arguments: str | Path, status: int = 0) -> str:
        """Run a piece of shell as root; insist on its exit status; return all that it said."""
        done = self.sh(script, *arguments)
        assert done.returncode == status, f"{script}\nended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def ours(self) -> list[str]:
        """Return every changed path with our name in it, but for the databases of dpkg and rpm."""
        listing = [*self.changes(), *self.run("find /run -mindepth 1").splitlines()]
        return [
            path
            for path in listing
            if "tms" in path and not path.startswith(("/root/", "/var/lib/dpkg/", "/var/lib/rpm/"))
        ]


@pytest.fixture
def machine(tmp_path) -> Iterator[Installed]:
    if os.geteuid() != 0:
        pytest.skip("dpkg installs as root only")
    try:
        started = Installed(tmp_path / "machine").__enter__()
    except RuntimeError as error:
        pytest.skip(str(error))
    try:
        yield started
    finally:
        started.__exit__()
