"""A PostgreSQL of the benchmark's own, on a Unix socket, with a durable commit, on the core beside the service."""

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from tests.bench.processes import started
from tests.postgres import _bin

_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_SETTINGS = {**_DURABLE, "listen_addresses": "", "shared_buffers": "256MB", "max_connections": "100"}


async def _prepare(directory: Path) -> None:
    """Make the database, and look whether the server is as durable as this file says."""
    connection = await asyncpg.connect(host=str(directory), user="postgres", database="postgres")
    try:
        for name, expected in _DURABLE.items():
            found = await connection.fetchval(f"SHOW {name}")
            if found != expected:
                raise RuntimeError(f"PostgreSQL's {name} is {found}; expected {expected}")
        await connection.execute("CREATE DATABASE bench")
    finally:
        await connection.close()


def version() -> str:
    text = subprocess.run([_bin("postgres"), "--version"], check=True, capture_output=True, text=True).stdout
    return f"PostgreSQL {text.split()[2]}"


@contextmanager
def postgresql(*, cpu: str) -> Iterator[str]:
    """Yield the URL of an empty database.

    Raises:
        RuntimeError: PostgreSQL is not installed, or did not start

    """
    base = Path(tempfile.mkdtemp(prefix="tms-bench-pg-"))
    account: dict[str, object] = {"cwd": base}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        postgres = pwd.getpwnam("postgres")
        os.chown(base, postgres.pw_uid, postgres.pw_gid)
        account |= {"user": postgres.pw_uid, "group": postgres.pw_gid, "extra_groups": []}
    try:
        initdb = [_bin("initdb"), "-D", str(base / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]
        made = subprocess.run(initdb, check=False, capture_output=True, text=True, **account)
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr[-1000:]}")
        options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [_bin("postgres"), "-D", str(base / "data"), *options, "-c", f"unix_socket_directories={base}"]

        def ready(_: Path) -> str | None:
            ask = [_bin("pg_isready"), "-q", "-h", str(base)]
            return str(base) if subprocess.run(ask, check=False, **account).returncode == 0 else None

        with started(command, cpu=cpu, address=ready, account=account):
            asyncio.run(_prepare(base))
            yield f"postgresql://postgres@/bench?host={base}"
    finally:
        shutil.rmtree(base, ignore_errors=True)
