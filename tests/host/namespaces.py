"""Run a command where /dev/log is a socket of the test's, or where the name server never answers."""

import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

UNSHARE = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount", "--propagation", "private"]


def need_namespaces(*more: str) -> None:
    """Skip where this account may not make them."""
    if shutil.which("unshare") is None or subprocess.run([*UNSHARE, *more, "true"], check=False).returncode:
        pytest.skip("this account may not make mount and network namespaces")


class Syslog:
    """A /dev of its own, in which /dev/log is ours."""

    def __init__(self, directory: Path) -> None:
        self._dev = directory / "dev"
        self._dev.mkdir()
        for name in ("null", "urandom"):
            (self._dev / name).touch()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self._dev / "log"))
        (self._dev / "log").chmod(0o666)
        self.socket.setblocking(False)

    def wrap(self, *command: str | Path) -> list[str | Path]:
        """Return the command line that runs `command` there."""
        script = (
            'd=$1; shift; for n in null urandom; do mount --bind /dev/$n $d/$n; done; mount --rbind $d /dev; exec "$@"'
        )
        return [*UNSHARE, "sh", "-euc", script, "sh", self._dev, *command]

    def lines(self) -> list[str]:
        """Return what has come, each line from the ident on."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(65536).decode().rstrip("\0"))
            except BlockingIOError:
                return found

    def fill(self) -> None:
        """Leave no room for another line, as a syslog daemon does that has stopped reading."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            try:
                while True:
                    sender.sendto(b"x", str(self._dev / "log"))
            except BlockingIOError:
                return


@contextmanager
def syslog(directory: Path):
    """A Syslog for as long as the block runs."""
    need_namespaces()
    log = Syslog(directory)
    try:
        yield log
    finally:
        log.socket.close()


_MUTE = """
import fcntl, os, socket, struct, subprocess, sys
control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
sys.exit(subprocess.run(sys.argv[1:]).returncode)
"""


def with_a_mute_name_server(directory: Path, *command: str | Path) -> list[str | Path]:
    """Return the command line that runs `command` where names are asked for in vain, for more than two minutes."""
    need_namespaces("--net")
    (directory / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
    (directory / "nsswitch.conf").write_text("hosts: dns\n")
    (directory / "mute.py").write_text(_MUTE)
    script = 'd=$1; shift; for n in resolv.conf nsswitch.conf; do mount --bind $d/$n /etc/$n; done; exec "$@"'
    return [*UNSHARE, "--net", "sh", "-euc", script, "sh", directory, sys.executable, directory / "mute.py", *command]
