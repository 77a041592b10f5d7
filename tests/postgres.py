"""Real PostgreSQL in temporary clusters: started by the tests, killed and frozen by them, stopped by process id."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.halting import halt, still

START_SECONDS = 120.0
_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 6 << 30


def _bin(name: str) -> str:
    """Return the path of a program of PostgreSQL."""
    for directory in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (directory / name).exists():
            return str(directory / name)
    found = shutil.which(name)
    if found is None:
        raise RuntimeError("PostgreSQL is not installed; make test installs it")
    return found


class Server:
    """One PostgreSQL on a Unix socket, and on a TCP port of 127.0.0.1 where it is given one."""

    def __init__(self, base: Path, *options: str, port: int | None = None) -> None:
        self.base = base
        self.data = base / "data"
        self.port = port
        self._as_user: dict[str, object] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            account = pwd.getpwnam("postgres")
            self._as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self.own(base)
        self._options = [
            f"listen_addresses={'127.0.0.1' if port else ''}", f"port={port or 5432}", f"unix_socket_directories={base}",
            "max_connections=200", "shared_buffers=32MB", "log_min_messages=log", *options,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def _quiet(self) -> dict[str, object]:
        return {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "cwd": self.base, **self._as_user}

    def own(self, path: Path) -> None:
        """Give `path` to the user that the server runs as."""
        if self._as_user:
            os.chown(path, self._as_user["user"], self._as_user["group"])

    def run(self, name: str, *arguments: object) -> None:
        """Run a program of PostgreSQL as its user."""
        subprocess.run(
            [_bin(name), *map(str, arguments)], check=True, stderr=subprocess.PIPE, **self._quiet
        )  # fmt: skip

    def initialise(self) -> None:
        """Make the cluster."""
        self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = [part for option in self._options for part in ("-c", option)]
        with open(self.base / "log", "ab") as log:
            self.process = subprocess.Popen([_bin("postgres"), "-D", self.data, *options], stderr=log, **self._quiet)
        until = time.monotonic() + START_SECONDS
        ready = [_bin("pg_isready"), "-q", "-h", self.base, "-p", str(self.port or 5432)]
        while subprocess.run(ready, check=False, **self._quiet).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL did not start: {self.log()}")
            time.sleep(0.05)

    def log(self) -> str:
        """Return the end of what it wrote."""
        return (self.base / "log").read_text(errors="replace")[-2000:]

    def family(self) -> list[int]:
        """Return the process ids of the server and all its children."""
        assert self.process
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def freeze(self) -> None:
        """Stop every process of it; once this returns none of them does anything, nor is another forked."""
        halted: set[int] = set()
        while left := set(self.family()) - halted:  # those that the server had just begun are found by the next look
            for pid in sorted(left, key=lambda pid: pid != self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    halt(pid)
            halted |= left

    def thaw(self) -> None:
        """Let every process of it go on."""
        for pid in reversed(self.family()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def kill(self) -> None:
        """kill -9, all of it, at once; none is left that would keep it from being started again."""
        assert self.process
        self.freeze()
        family = self.family()
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for pid in family:
            still(pid)
        self.process = None

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self.process is not None:
            self.thaw()
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
            self.process = None

    def url(self, database: str = "{database}") -> str:
        """Return its URL by the Unix socket."""
        port = f"&port={self.port}" if self.port else ""
        return f"postgresql://postgres@/{database}?host={self.base}{port}"


def memory() -> Path | None:
    """Return where files may lie that need not outlive the machine: in memory, where there is enough.

    Hundreds of databases are made and dropped. Who writes to the disk then waits for seconds now and again.
    """
    if not os.access(_MEMORY, os.W_OK):
        return None
    said = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(said["MemAvailable"].split()[0]) * 1024
    return _MEMORY if min(shutil.disk_usage(_MEMORY).free, available) >= _ENOUGH_BYTES else None


@contextlib.contextmanager
def server(*options: str, port: int | None = None, made: bool = True) -> Iterator[Server]:
    """Yield a server that is initialised (where `made`) and not started."""
    base = Path(tempfile.mkdtemp(prefix="tms-pg-", dir=memory() if "fsync=off" in options else None))
    one = Server(base, *options, port=port)
    try:
        if made:
            one.initialise()
        yield one
    finally:
        one.stop()
        shutil.rmtree(base, ignore_errors=True)


@contextlib.contextmanager
def cluster() -> Iterator[Server]:
    """Yield a fresh cluster that runs."""
    with server("fsync=off", "autovacuum=off", "max_wal_size=256MB") as running:
        running.start()
        yield running
