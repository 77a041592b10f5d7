"""The .deb, written byte by byte: an ar archive of two tar archives. deb(5) is the format."""

import hashlib
import io
from pathlib import Path

from deploy.build_host import ROOT, HostFile
from deploy.host.tree import gzipped, tarred

SCRIPTS = ROOT / "deploy/host/scripts"
CONTROL = """\
Package: tms-host
Version: {version}
Architecture: all
Maintainer: TMS-CA maintainers <tms-ca@localhost>
Installed-Size: {kibibytes}
Depends: python3 (>= 3.6), openssh-server, openssh-client, passwd
Section: admin
Priority: optional
Description: TMS-CA on a host: sshd asks at each login whether a certificate stands
 The helpers that sshd calls, the daemon that keeps CA keys, revocation list and
 host certificates fresh, and the command tms-host that joins the host to a TMS-CA
 service. Needs nothing but Python 3.6 and OpenSSH.
"""
# Debian's interpreter is another one after an upgrade of python3: its byte code is made again.
TRIGGERS = "interest-noawait /usr/bin/python3\n"


def _script(cases: dict[str, tuple[str, ...]]) -> bytes:
    """Return a maintainer script: for each of dpkg's words (a shell pattern), the named pieces of shell."""
    lines = ["#!/bin/sh", "set -e", 'case "$1" in']
    for words, names in cases.items():
        lines += [f"{words})", *((SCRIPTS / f"{name}.sh").read_text().rstrip("\n") for name in names), ";;"]
    return "\n".join([*lines, "esac", "exit 0", ""]).encode()


def control_members(files: list[HostFile], version: str) -> dict[str, tuple[int, bytes]]:
    """Return name -> (mode, content) of what dpkg reads."""
    size = sum(len(file.content) // 1024 + 1 for file in files)
    sums = "".join(
        f"{hashlib.md5(file.content, usedforsecurity=False).hexdigest()}  {file.target[1:]}\n" for file in files
    )
    conffiles = "".join(f"{file.target}\n" for file in files if file.kind == "conffile")
    return {
        "control": (0o644, CONTROL.format(version=version, kibibytes=size).encode()),
        "conffiles": (0o644, conffiles.encode()),
        "md5sums": (0o644, sums.encode()),
        "triggers": (0o644, TRIGGERS.encode()),
        "postinst": (0o755, _script({"configure|triggered": ("setup",)})),
        "prerm": (0o755, _script({"upgrade": ("bytecode",), "remove": ("remove", "bytecode")})),
        # Again: whoever ran tms-host as root in between has left byte code behind.
        "postrm": (0o755, _script({"remove": ("bytecode",), "purge": ("purge",)})),
    }


def write_deb(outdir: Path, files: list[HostFile], version: str, epoch: int) -> Path:
    """Write the package; return its path. `epoch` is the time of every file, in seconds."""
    control = io.BytesIO()
    members = [HostFile(f"/{name}", mode, "control", content) for name, (mode, content) in
               control_members(files, version).items()]  # fmt: skip
    control.write(gzipped(tarred(members, epoch)))
    parts = (
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", control.getvalue()),
        ("data.tar.gz", gzipped(tarred(files, epoch))),
    )
    target = outdir / f"tms-host_{version}_all.deb"
    with target.open("wb") as deb:
        deb.write(b"!<arch>\n")
        for name, content in parts:
            deb.write(f"{name:<16}{epoch:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
            deb.write(content + b"\n" * (len(content) % 2))
    return target
