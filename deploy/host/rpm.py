"""The .rpm, by Debian's or any other rpmbuild, with everything that would tell one build from another fixed."""

import os
import subprocess
import tempfile
from pathlib import Path

from deploy.build_host import ROOT, HostFile
from deploy.host.tree import directories

SCRIPTS = ROOT / "deploy/host/scripts"
SPEC = """\
Name: tms-host
Version: {version}
Release: 1
Summary: TMS-CA on a host: sshd asks at each login whether a certificate stands
License: Apache-2.0
BuildArch: noarch
Requires: python3 >= 3.6
Requires: openssh-server
Requires: openssh-clients
Requires(post): shadow-utils
AutoReqProv: no

%description
The helpers that sshd calls, the daemon that keeps CA keys, revocation list and
host certificates fresh, and the command tms-host that joins the host to a TMS-CA
service. Needs nothing but Python 3.6 and OpenSSH.

%pre -p /bin/sh
{bytecode}
%post -p /bin/sh
{setup}
%preun -p /bin/sh
if [ "$1" = 0 ]; then
{remove}{bytecode}fi

%files
%defattr(-,root,root,-)
{files}
"""
# The host's name, the time and the compressor's choice of threads are what differs between two builds.
MACROS = {
    "_buildhost": "reproducible",
    "use_source_date_epoch_as_buildtime": "1",
    "clamp_mtime_to_source_date_epoch": "1",
    "source_date_epoch_from_changelog": "0",
    "_binary_payload": "w9.gzdio",
    "__os_install_post": "%{nil}",
    "_build_id_links": "none",
}
# Directories of the system, which no package of ours may own.
SYSTEMS = ("/etc", "/usr", "/usr/lib", "/usr/libexec", "/usr/sbin", "/usr/share", "/usr/share/doc", "/usr/lib/systemd",
           "/usr/lib/systemd/system", "/usr/lib/sysusers.d", "/usr/lib/tmpfiles.d")  # fmt: skip


def spec(files: list[HostFile], version: str) -> str:
    """Return the text of the spec file."""
    lines = [f"%dir %attr(0755,root,root) {name}" for name in directories(files) if name not in SYSTEMS]
    for file in files:
        config = "%config(noreplace) " if file.kind == "conffile" else ""
        lines.append(f"{config}%attr({file.mode:04o},root,root) {file.target}")
    pieces = {name: (SCRIPTS / f"{name}.sh").read_text() for name in ("bytecode", "setup", "remove")}
    return SPEC.format(version=version, files="\n".join(lines), **pieces)


def write_rpm(outdir: Path, files: list[HostFile], version: str, epoch: int) -> Path:
    """Write the package; return its path. `epoch` is the time of every file, in seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        top = Path(scratch)
        root = top / "root"
        for file in files:
            path = root / file.target[1:]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
        for path in root.rglob("*"):
            os.utime(path, (epoch, epoch))
        (top / "tms-host.spec").write_text(spec(files, version))
        macros = {**MACROS, "_topdir": str(top / "rpm"), "_rpmdir": str(top / "out"), "_tmppath": str(top)}
        defines = [word for name, value in macros.items() for word in ("--define", f"{name} {value}")]
        command = [
            "rpmbuild",
            "-bb",
            "--quiet",
            "--nodeps",
            "--noclean",
            "--buildroot",
            str(root),
            "--target",
            "noarch",
        ]
        done = subprocess.run(
            [*command, *defines, str(top / "tms-host.spec")], capture_output=True, text=True, check=False, cwd=top,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": scratch, "LC_ALL": "C.UTF-8", "TZ": "UTC",
                 "SOURCE_DATE_EPOCH": str(epoch)},
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"rpmbuild ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        (built,) = (top / "out").rglob("*.rpm")
        target = outdir / f"tms-host-{version}-1.noarch.rpm"
        target.write_bytes(built.read_bytes())
    return target
