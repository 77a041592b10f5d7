"""A database that is not there, is another's or cannot be reached: nothing is made in its place, nothing is left behind."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import warm


def tms_ca(*arguments: object, url: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TMS_CA_DATABASE_URL"}
    if url is not None:
        environment["TMS_CA_DATABASE_URL"] = url
    return warm.run(*map(str, arguments), environment=environment)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("installed") / "data"
    assert tms_ca("init", "--data", made).returncode == 0
    return made


@pytest.fixture
def data(tmp_path, installed) -> Path:
    return Path(shutil.copytree(installed, tmp_path / "data"))


@pytest.mark.parametrize("command", [["serve", "--port", "0", "--workers", "2"], ["hosts", "list"], ["upkeep"]])
def test_a_database_that_is_gone_is_not_made_anew(data, command):
    (data / "tms.db").rename(data / "away.db")
    said = tms_ca(*command, "--data", data)
    assert said.returncode == 1
    assert "there is no database" in said.stderr
    assert "(database_missing)" in said.stderr
    assert "Traceback" not in said.stderr
    assert not (data / "tms.db").exists()


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("postgresql://tms_ca@127.0.0.1:1/x", "database_unavailable"),
        ("sqlite:////nonexistent/directory/x.db", "there is no directory /nonexistent/directory"),
    ],
)
def test_an_init_that_fails_leaves_nothing_and_can_be_repeated(tmp_path, url, word):
    new = tmp_path / "new"
    said = tms_ca("init", "--data", new, url=url)
    assert said.returncode != 0
    assert word in said.stderr
    assert len(said.stderr.splitlines()) == 1, said.stderr
    assert not new.exists()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    assert tms_ca("init", "--data", tmp_path / "kept", url=url).returncode != 0
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["file"]
    assert tms_ca("init", "--data", new).returncode == 0


def test_an_init_does_not_fill_a_database_that_is_in_use(data, tmp_path):
    before = (data / "tms.db").read_bytes()
    url = f"sqlite:///{data / 'tms.db'}"
    said = tms_ca("init", "--data", tmp_path / "second", url=url)
    assert said.returncode == 1
    assert "(database_in_use)" in said.stderr
    assert "copy master.key and settings.toml" in said.stderr
    assert not (tmp_path / "second").exists()
    assert (data / "tms.db").read_bytes() == before


def test_an_init_says_that_the_variable_is_needed_again(tmp_path):
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    assert "TMS_CA_DATABASE_URL is not in" in tms_ca("init", "--data", tmp_path / "one", url=url).stdout
    assert "TMS_CA_DATABASE_URL" not in tms_ca("init", "--data", tmp_path / "two").stdout
