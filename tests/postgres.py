"""A real PostgreSQL in a temporary cluster: started by the tests, on a Unix socket, stopped by process id."""

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


def _bin(name: str) -> str:
    for directory in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (directory / name).exists():
            return str(directory / name)
    found = shutil.which(name)
    if found is None:
        raise RuntimeError("PostgreSQL is not installed; make test installs it")
    return found


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """Yield the URL (without a database) of a fresh cluster."""
    base = Path(tempfile.mkdtemp(prefix="tms-pg-"))
    as_user: dict[str, object] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        account = pwd.getpwnam("postgres")
        os.chown(base, account.pw_uid, account.pw_gid)
        as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    name = "postgres"
    data = base / "data"
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "cwd": base, **as_user}
    subprocess.run(
        [_bin("initdb"), "-D", data, "-U", name, "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"],
        check=True,
        **quiet,
    )
    log = open(base / "log", "wb")
    options = [
        "-c", "listen_addresses=", "-c", f"unix_socket_directories={base}", "-c", "max_connections=200",
        "-c", "fsync=off", "-c", "shared_buffers=32MB", "-c", "log_min_messages=fatal",
    ]  # fmt: skip
    server = subprocess.Popen([_bin("postgres"), "-D", data, *options], stderr=log, **quiet)
    try:
        for _ in range(200):
            if subprocess.run([_bin("pg_isready"), "-q", "-h", base], check=False, **quiet).returncode == 0:
                break
            if server.poll() is not None:
                raise RuntimeError((base / "log").read_text())
            time.sleep(0.05)
        else:
            raise RuntimeError("PostgreSQL did not start: " + (base / "log").read_text())
        yield f"postgresql://{name}@/{{database}}?host={base}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
        log.close()
        shutil.rmtree(base, ignore_errors=True)
