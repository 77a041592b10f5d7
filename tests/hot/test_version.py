"""SqliteDriver.version(): other after every commit of anyone, the same while nobody commits, never our own descriptor."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from tests.hot.committer import Committer
from tests.hot.conftest import another
from tests.hot.follower import Follower, descriptors, opened, truth
from tms_ca.store import hot_sqlite
from tms_ca.store.engine import database_url
from tms_ca.store.sqlite import open_sqlite

ADD = "UPDATE tenants SET epoch = epoch + 1"
CHECKPOINTS = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"]


@pytest.fixture
def path(tmp_path, sqlite_template) -> Path:
    """A database with one tenant."""
    shutil.copy(sqlite_template, tmp_path / "tms.db")
    connection = open_sqlite(database_url(f"sqlite:///{tmp_path / 'tms.db'}"))
    connection.execute(
        "INSERT INTO tenants (tenant, display_name, enabled, mfa_window_seconds, default_ttl_seconds, max_ttl_seconds, epoch, created_at)"
        " VALUES ('default', '', 1, 1, 1, 1, 1, 1)"
    )
    connection.close()
    return tmp_path / "tms.db"


def test_A_06_the_version_is_another_after_each_commit_and_the_same_without(path):
    with opened(path) as driver, Committer(path) as other:
        same = open_sqlite(database_url(f"sqlite:///{path}"))
        for commit in (lambda: other.do(ADD), lambda: same.execute(ADD), lambda: driver._writer.execute(ADD)):
            before = driver.version()
            assert before is not None
            for _ in range(5):
                truth(driver)
                same.execute("SELECT count(*) FROM tenants").fetchall()
                other.do("SELECT count(*) FROM tenants")
                assert driver.version() == before
            commit()
            assert driver.version() != before
        before = driver.version()
        same.execute("BEGIN IMMEDIATE")
        same.execute(ADD)
        assert driver.version() == before
        same.execute("ROLLBACK")
        assert driver.version() == before
        same.close()


def test_A_06_no_answer_is_stale_across_commits_checkpoints_and_processes(path):
    dice = Random(6)
    seen: set[bytes] = set()
    with opened(path) as driver:
        follower = Follower(driver)
        others = [Committer(path) for _ in range(2)]
        here = open_sqlite(database_url(f"sqlite:///{path}"))
        commits = 0
        for _ in range(300):
            match dice.randrange(8):
                case 0 | 1 | 2:
                    dice.choice(others).do(ADD)
                    commits += 1
                case 3:
                    dice.choice([here, driver._writer]).execute(ADD)
                    commits += 1
                case 4:
                    mode = dice.choice(CHECKPOINTS)
                    if dice.random() < 0.5:
                        here.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
                    else:
                        dice.choice(others).do(f"PRAGMA wal_checkpoint({mode})")
                case 5 if dice.random() < 0.2:
                    place = dice.randrange(len(others))
                    dice.choice([others[place].kill, others[place].__exit__])()
                    others[place] = Committer(path)
                case 6 if dice.random() < 0.3:
                    here.close()
                    here = open_sqlite(database_url(f"sqlite:///{path}"))
            for _ in range(2):
                follower.check()
            seen.add(driver.version())
        assert follower.kept > follower.asked // 3, "the version is never the same"
        assert commits > 100
        assert len(seen) > commits * 0.9
        assert truth(driver) == 1 + commits
        for one in others:
            one.__exit__()
        here.close()


@pytest.mark.parametrize("mode", CHECKPOINTS)
def test_A_06_a_log_that_begins_again_at_its_first_frame_is_another_version(path, mode):
    """After a reset the same pages are written to the same places: only salt and count tell the heads apart."""
    seen = set()
    with opened(path) as driver, Committer(path) as other:
        follower = Follower(driver)
        for number in range(60):
            other.do("UPDATE tenants SET epoch = 5 WHERE epoch <> 5" if number % 2 else "UPDATE tenants SET epoch = 6")
            version = driver.version()
            assert version not in seen
            seen.add(version)
            follower.check()
            other.do(f"PRAGMA wal_checkpoint({mode})")
            follower.check()
            seen.add(driver.version())


def test_A_06_nobody_can_put_another_index_in_the_place_of_ours_while_we_read(path):
    with opened(path) as driver, Committer(path, patience=0.2) as other:
        follower = Follower(driver)
        index = os.stat(f"{path}-shm").st_ino
        for statement, said in {
            "PRAGMA journal_mode=DELETE": "database is locked",
            "PRAGMA locking_mode=EXCLUSIVE": "[('exclusive',)]",
            ADD: "database is locked",
            "PRAGMA locking_mode=NORMAL": "[('normal',)]",
            f"{ADD} ": "[]",
            "VACUUM": "[]",
            "PRAGMA wal_checkpoint(TRUNCATE)": "[(0, 0, 0)]",
        }.items():
            assert other.do(statement) == said
            follower.check()
            assert os.stat(f"{path}-shm").st_ino == index == os.fstat(driver._index).st_ino
    with opened(path) as driver:
        for _ in range(3):
            with Committer(path) as last:
                last.do(ADD)
            Follower(driver).check()
            assert os.stat(f"{path}-shm").st_ino == os.fstat(driver._index).st_ino


def test_A_06_two_drivers_of_one_file_share_sqlites_descriptor_and_either_may_end_first(path):
    with opened(path) as first:
        with opened(path) as second, opened(path) as third:
            assert len(descriptors(path)) == 1
            assert first._index == second._index == third._index == descriptors(path)[0]
            followers = [Follower(one) for one in (first, second, third)]
            for one in followers:
                one.check()
        assert descriptors(path) == [first._index]
        with Committer(path) as other:
            for _ in range(5):
                other.do(ADD)
                followers[0].check()
    assert descriptors(path) == []


def test_A_06_locks_are_still_held_after_another_driver_has_ended(path):
    """Had we opened and closed the index ourselves, another process could now take the log away under our reader."""
    with opened(path) as first:
        with opened(path):
            pass
        assert first.version() is not None
        with Committer(path) as other:
            other.do(ADD)
        assert Path(f"{path}-shm").exists(), "the last to leave deleted it: our lock was gone"
        assert Path(f"{path}-wal").exists()
        Follower(first).check()


_OPENS = """
import sys
from tests.hot.follower import opened, truth
from pathlib import Path
with opened(Path(sys.argv[1])) as driver:
    for _ in range(50):
        driver.version(), truth(driver), driver._writer.execute("UPDATE tenants SET epoch = epoch + 1")
    with opened(Path(sys.argv[1])) as another:
        assert another.version() == driver.version() != None
"""


def test_no_descriptor_of_our_own_is_ever_opened_on_the_index(path, tmp_path):
    traced = tmp_path / "trace"
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not here: apt-get install strace")
    command = [
        strace,
        "-f",
        "-o",
        str(traced),
        "-e",
        "trace=open,openat,openat2,dup,dup2,dup3",
        sys.executable,
        "-c",
        _OPENS,
    ]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr.lower():
        pytest.skip("this machine does not let processes be traced")
    assert done.returncode == 0, done.stderr
    calls = [line for line in traced.read_text().splitlines() if f"{path}-shm" in line]
    assert len(calls) == 1, calls
    assert "O_RDWR|O_CREAT" in calls[0]  # as SQLite opens it


@pytest.mark.parametrize("known", [None, 0])
async def test_A_06_where_the_index_is_not_shown_the_database_is_asked(lite, monkeypatch, known):
    """Without /proc no version says that nothing changed; every answer is still of now."""
    if known is None:
        monkeypatch.setattr(hot_sqlite, "_open_index", lambda _: None)
    certificate = (await lite.issue()).json["certificate"]
    async with another(lite) as other:
        driver = other.context.logins._facts._reader._driver._driver
        assert (driver.version() is None) == (known is None)
        for _ in range(4):
            for _ in range(3):
                assert (await other.check(certificate)).status == 200
            await lite.good("PATCH", "users/alice", auth=lite.operator, json={"enabled": False})
            assert (await other.check(certificate)).status == 403
            await lite.good("PATCH", "users/alice", auth=lite.operator, json={"enabled": True})


def test_an_index_that_is_elsewhere_or_hidden_is_unknown(path, tmp_path, monkeypatch):
    assert hot_sqlite._open_index(str(path)) is None  # nobody has it open
    with opened(path) as driver:
        assert hot_sqlite._open_index(str(path)) == driver._index
        (tmp_path / "link.db").symlink_to(path)
        assert hot_sqlite._open_index(str(tmp_path / "link.db")) == driver._index
        assert hot_sqlite._open_index(None) is None
        with opened(tmp_path / "link.db") as linked:
            assert linked.version() == driver.version()
        real = Path.iterdir

        def hidden(self):
            if str(self) == "/proc/self/fd":
                raise FileNotFoundError(self)
            return real(self)

        monkeypatch.setattr(Path, "iterdir", hidden)
        with opened(path) as blind:
            assert blind.version() is None
            Follower(blind).check()


def test_E_01_the_version_follows_a_process_that_was_killed_in_the_middle(path):
    """What it left in the log is recovered by whoever comes next, and the head is written anew."""
    with opened(path) as driver:
        follower = Follower(driver)
        for number in range(10):
            other = Committer(path)
            other.do("BEGIN IMMEDIATE")
            other.do(ADD)
            if number % 2:
                other.do("COMMIT")
            other.kill()
            follower.check()
            driver._writer.execute(ADD)
            follower.check()
        assert truth(driver) == 1 + 10 + 5
