"""`tms-ca import-tms`, as an operator types it."""

import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.import_tms.old import Old
from tms_ca.cli.main import main


@pytest.fixture
def data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["init", "--data", str(tmp_path / "data"), "--json"]) == 0
    capsys.readouterr()
    return tmp_path / "data"


def test_the_command(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    old = Old(int(time.time()))
    old.everything()
    old.tenant("physics")
    old.user("bob", tenant="physics")
    old.user("evil\x1b[2Jname")
    old.client("odd", client_secret="not a hash")
    path = tmp_path / "old.db"
    url = old.sqlite(path)
    before = path.read_bytes()

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["import-tms", "--data", str(data), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    assert run("--from", url, "--tenant", "physics", "--dry-run")[0] == 0
    code, said, _ = run("--from", url, "--dry-run", "--json")
    planned = json.loads(said)
    assert (code, planned["dry_run"], planned["whole"]) == (3, True, False)
    assert planned["tables"]["user_mfa"] == {"found": 3, "came": 2, "here": 0, "left": 1}
    assert planned["source"] == "0.2 (SQLite)"

    code, said, _ = run("--from", url, "--dry-run")
    assert "would come in part: 1\n" in said
    assert "would come without its secret" in said
    assert " came" not in said

    code, said, _ = run("--from", url)
    assert code == 3
    assert "came without its secret" in said
    assert "left behind: 1" in said
    assert "\\x1b[2Jname" in said
    assert "\x1b" not in said

    code, said, _ = run("--from", url, "--json")
    assert code == 3  # it is still behind
    again = json.loads(said)
    assert again["tables"]["user_mfa"] == {"found": 3, "came": 0, "here": 2, "left": 1}
    assert again["left"] == planned["left"]
    assert run("--from", url, "--tenant", "physics", "--adopt-client", "portal")[0] == 0
    assert path.read_bytes() == before
    with closing(sqlite3.connect(data / "tms.db")) as database:
        assert database.execute("SELECT count(*) FROM public_keys").fetchone() == (1,)

    for wrong, expected in (
        (["--from", url, "--tenant", "chemistry"], "the old database has no tenant 'chemistry'; it has default"),
        (["--from", url, "--adopt-client", "x"], "the old database has no client_id 'x'; it has odd, portal"),
        (["--from", f"sqlite:///{data / 'tms.db'}"], "is not a database of the TMS server 0.2 or 0.3"),
        (["--from", f"sqlite:///{tmp_path / 'none.db'}"], "there is no file"),
    ):
        code, said, error = run(*wrong)
        assert (code, said) == (2, "")
        assert expected in error
