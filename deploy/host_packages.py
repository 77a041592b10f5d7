"""`make host-packages`: build/host/ gets the .deb, the .rpm and the .tar.gz, the same bytes from the same sources."""

import argparse
import os
import re
from pathlib import Path

from deploy.build_host import ROOT, HostFile, host_files
from deploy.host.deb import SCRIPTS, write_deb
from deploy.host.rpm import write_rpm
from deploy.host.tree import gzipped, tarred

# The time of every file unless SOURCE_DATE_EPOCH says another: 2026-01-01. It tells nothing, so that it never differs.
LONG_AGO = 1767225600


def version_of_ours() -> str:
    """Return the version of this source tree."""
    found = re.search(r'__version__ = "([0-9.]+)"', (ROOT / "tms_ca/__init__.py").read_text())
    assert found
    return found.group(1)


def write_tarball(outdir: Path, files: list[HostFile], version: str, epoch: int) -> Path:
    """Write the archive for systems without dpkg and rpm: the tree and install.sh; return its path."""
    script = "#!/bin/sh\n# As root, in this directory.\nset -eu\ncp -R usr /\n"
    for file in files:
        if file.kind == "conffile":
            script += f"mkdir -p {Path(file.target).parent}; [ -e {file.target} ] || cp .{file.target} {file.target}\n"
    script = script.replace("cp -R usr /\n", (SCRIPTS / "bytecode.sh").read_text() + "cp -R usr /\n")
    script += (SCRIPTS / "setup.sh").read_text()
    inside = [*files, HostFile("/install.sh", 0o755, "program", script.encode())]
    target = outdir / f"tms-host-{version}.tar.gz"
    target.write_bytes(gzipped(tarred(inside, epoch, f"tms-host-{version}")))
    return target


def build(outdir: Path, version: str, kinds: tuple[str, ...] = ("deb", "rpm", "tar")) -> list[Path]:
    """Write the packages into `outdir`; return their paths."""
    outdir.mkdir(parents=True, exist_ok=True)
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or LONG_AGO)
    writers = {"deb": write_deb, "rpm": write_rpm, "tar": write_tarball}
    files = host_files()
    made = []
    for kind in kinds:
        path = writers[kind](outdir, files, version, epoch)
        path.chmod(0o644)
        made.append(path)
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outdir", type=Path, default=ROOT / "build/host")
    parser.add_argument("--version", default=version_of_ours(), help="for tests of upgrades")
    parser.add_argument("--kinds", default="deb,rpm,tar")
    asked = parser.parse_args()
    for written in build(asked.outdir, asked.version, tuple(asked.kinds.split(","))):
        print(written)
