"""A driver of a SQLite file, and someone who believes in what it says."""

import os
from contextlib import contextmanager
from pathlib import Path

from tms_ca.store.chainwriter import ChainWriter
from tms_ca.store.engine import Database, database_url
from tms_ca.store.hot_sqlite import SqliteDriver
from tms_ca.store.snapshot import Snapshot


@contextmanager
def opened(path: Path):
    database = Database(database_url(f"sqlite:///{path}"), ChainWriter(b"k" * 32, 0))
    driver = SqliteDriver(database)
    try:
        yield driver
    finally:
        driver._thread.close()
        driver._checkpoints.close()
        driver._index = None
        driver._reader.close()
        driver._writer.close()


def truth(driver: SqliteDriver) -> int:
    return driver._reader.execute("SELECT epoch FROM tenants").fetchone()[0]


def descriptors(path: Path) -> list[int]:
    """Return this process's descriptors of the index of `path`."""
    found = []
    for one in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(one)
        except FileNotFoundError:
            continue
        if target.removesuffix(" (deleted)") == f"{path}-shm":
            found.append(int(one.name))
    return found


class Follower:
    """Believes in an epoch for as long as the version is the same."""

    def __init__(self, driver: SqliteDriver) -> None:
        self.seen = Snapshot(driver.version)
        self.driver = driver
        self.kept = self.asked = 0

    def check(self) -> None:
        before = self.seen.version
        assert self.seen.get("epoch", truth, self.driver) == truth(self.driver)
        self.asked += 1
        self.kept += self.seen.version == before
