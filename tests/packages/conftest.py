"""Packages built as `make host-packages` builds them, and a machine of one's own to install them on."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.build_host import ROOT
from deploy.host_packages import version_of_ours

VERSION = version_of_ours()
# The whole machine, read-only, below a file system in memory that takes every change: dpkg's own database and
# programs are there, and what an installation leaves behind is exactly what lies in `upper`.
MAKE = """
mount -t tmpfs -o mode=0755 none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" none "$1/root"
mount --rbind /proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
echo ready
exec sleep infinity
"""


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


@dataclass
class Machine:
    """A copy of this machine that is gone at the end."""

    directory: Path
    pid: int

    def sh(self, script: str, *arguments: str | Path, status: int = 0) -> str:
        """Run a piece of shell as root in there; insist on its exit status; return all that it said."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), "-m", "chroot", self.directory / "root", "sh", "-euc", script, "sh", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}, cwd="/",
        )  # fmt: skip
        assert done.returncode == status, f"{script}\nended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def put(self, path: Path) -> str:
        """Copy a file into the machine's /root; return its path there."""
        content = path.read_bytes()
        target = f"/root/{path.name}"
        subprocess.run(
            ["nsenter", "-t", str(self.pid), "-m", "sh", "-c", 'cat >"$1"', "sh", f"{self.directory}/root{target}"],
            input=content, check=True, timeout=60,
        )  # fmt: skip
        return target

    def ours(self) -> list[str]:
        """Return every changed path of the machine that has our name in it."""
        listing = subprocess.run(
            ["nsenter", "-t", str(self.pid), "-m", "find", self.directory / "upper", "-mindepth", "1", "!", "-type", "c",
             "-printf", "/%P\\n"], capture_output=True, text=True, check=True, timeout=60,
        ).stdout  # fmt: skip
        return sorted(
            line for line in listing.splitlines() if "tms" in line and not line.startswith(("/root/", "/work"))
        )


@pytest.fixture
def machine(tmp_path) -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.skip("dpkg installs as root only")
    directory = tmp_path / "machine"
    directory.mkdir()
    # `unshare` execs the shell, which execs sleep: the process that we hold is the one that keeps the namespace.
    holder = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-euc", MAKE, "sh", directory],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout
        assert holder.stderr
        if holder.stdout.readline() != "ready\n":
            pytest.skip(f"no overlay file system here: {holder.stderr.read()}")
        yield Machine(directory, holder.pid)
    finally:
        holder.kill()
        holder.communicate()
