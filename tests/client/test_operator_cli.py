"""`tms-ca <noun> <verb>` on a data directory: the directory's nouns, usage, settings and backups."""

import contextlib
import shutil
import sqlite3
import stat
import subprocess
from pathlib import Path

import pytest

from tests.client.conftest import PASSWORD, Operator, Running, ran, run_tms_ca


def test_help_names_every_noun_and_a_nouns_verbs_with_examples():
    top = ran("tms_ca", "--help")
    nouns = "tenants admins clients users identities hosts links delegations certificates revocations ca krl audit backup settings"
    assert top.code == 0
    assert all(f"\n    {noun}" in top.out for noun in nouns.split())
    of_clients = run_tms_ca("clients", "--help")
    assert "delete-secret" in of_clients.out
    assert "tms-ca clients create portal" in of_clients.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["printers", "list"], "invalid choice: 'printers'"),
        (["clients", "paint"], "invalid choice: 'paint'"),
        (["clients"], "VERB"),
        (["clients", "create", "portal", "--colour", "red"], "unrecognized arguments: --colour"),
        (["clients", "create", "portal", "--max-ttl", "soon"], "got 'soon'; expected a length of time such as 90, 15m"),
        (["revocations", "create", "--user", "a", "--serial", "1", "--reason", "x"], "not allowed with argument"),
        (["revocations", "create", "--reason", "x"], "one of the arguments --serial"),
        (["links", "create", "alice", "alice@h1", "--until", "2030-01-01", "--days", "3"], "not allowed with argument"),
    ],
)  # fmt: skip
def test_a_command_line_that_is_not_one_is_usage(words: list[str], says: str):
    done = run_tms_ca(*words)
    assert done.code == 2
    assert says in done.err
    assert not done.out


def test_what_a_shape_refuses_is_the_same_sentence_as_in_the_api(operator: Operator):
    done = operator("clients", "create", "no spaces", code=2)
    assert "client_id: 'no spaces' cannot be a client_id: 1-32 of A-Z a-z 0-9 . _ - (invalid_request)" in done.err
    assert operator.json("clients", "list") == []


def test_a_missing_data_directory_says_how_to_make_one(tmp_path: Path):
    done = run_tms_ca("clients", "list", env={"TMS_CA_DATA": str(tmp_path / "nowhere")})
    assert done.code == 2
    assert f"tms-ca init --data {tmp_path / 'nowhere'}" in done.err


def test_the_data_directory_may_come_from_the_environment(operator: Operator):
    done = operator.run("tenants", "list", "--json", env={"TMS_CA_DATA": str(operator.data)})
    assert [one["tenant"] for one in done.json] == ["default"]


def test_a_second_init_is_refused_and_changes_nothing(operator: Operator):
    before = (operator.data / "master.key").read_bytes()
    done = operator("init", code=2)
    assert "is a data directory already; nothing was changed" in done.err
    assert (operator.data / "master.key").read_bytes() == before


@pytest.mark.parametrize("words", [("clients", "list"), ("backup", "create", "/nonexistent/b.db")])
def test_a_master_key_that_others_can_read_is_refused(operator: Operator, words: tuple[str, ...]):
    (operator.data / "master.key").chmod(0o640)
    done = operator(*words, code=1)
    assert "others can reach the master key (mode 0640)" in done.err


def test_the_life_of_a_client(operator: Operator):
    made = operator("clients", "create", "portal", "--display-name", "Science portal", "--max-ttl", "2h")
    assert made.field("max_ttl_seconds") == "7200"
    assert made.field("secret").startswith("tms_c_")
    assert "shown this once" in made.err
    again = operator("clients", "create", "portal", code=1)
    assert again.err == "tms-ca: there is a client 'portal' already (exists)\n"
    assert operator.json("clients", "update", "portal", "--no-max-ttl", "--disable")["max_ttl_seconds"] is None
    shown = operator.json("clients", "show", "portal")
    assert (shown["enabled"], shown["display_name"], "secret" in shown) == (False, "Science portal", False)
    assert operator("clients", "list").out.splitlines()[1].split()[:3] == ["portal", "Science", "portal"]
    assert operator.json("clients", "new-secret", "portal")["secret"].startswith("tms_c_")
    assert "has 2 secrets; delete one first" in operator("clients", "new-secret", "portal", code=1).err
    first, second = operator.json("clients", "secrets", "portal")
    operator("clients", "delete-secret", "portal", first["credential_id"])
    assert operator.json("clients", "secrets", "portal") == [second]
    assert operator("clients", "delete", "portal").out == "deleted client portal\n"
    assert "client_unknown" in operator("clients", "show", "portal", code=1).err


def test_the_life_of_a_user(operator: Operator):
    operator("users", "create", "alice", "--password-stdin", stdin=PASSWORD + "\n")
    assert "password: " in operator("users", "create", "bob", "--password-stdin", stdin="short\n", code=2).err
    assert "give --password-stdin or --no-password" in operator("users", "create", "bob", code=2).err
    operator("users", "create", "bob", "--no-password")
    assert [one["user"] for one in operator.json("users", "list")] == ["alice", "bob"]
    assert operator("users", "reset-mfa", "bob").out == "reset the second factor of bob\n"
    assert "user_unknown" in operator("users", "reset-mfa", "carol", code=1).err
    link = operator.json("identities", "create", "bob", "--issuer", "https://idp.example.org", "--subject", "b-1")
    assert operator.json("identities", "list", "--user", "bob") == [link]
    assert operator.json("identities", "list", "--user", "alice") == []
    operator("identities", "delete", "--issuer", "https://idp.example.org", "--subject", "b-1")
    operator("users", "delete", "bob")
    assert [one["user"] for one in operator.json("users", "list")] == ["alice"]


def test_the_life_of_a_host_and_a_link(operator: Operator, tmp_path: Path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    made = operator.json(
        "hosts", "create", "h1", "--address", "h1.example.org", "--ssh-host-keys", tmp_path / "key.pub"
    )
    assert made["ssh_host_keys"][0].split()[:2] == (tmp_path / "key.pub").read_text().split()[:2]
    (tmp_path / "wrong").write_text("ssh-dss AAAA\n")
    operator("hosts", "update", "h1", "--ssh-host-keys", tmp_path / "wrong", code=2)
    operator("users", "create", "alice", "--no-password")
    link = operator.json("links", "create", "alice", "al@h1", "--until", "2030-01-31")
    assert (link["account"], link["host"], link["expires_at"]) == ("al", "h1", "2030-01-31T00:00:00Z")
    assert operator.json("links", "update", link["id"], "--until", "2031-01-31T12:00:00Z")["expires_at"].startswith(
        "2031"
    )
    assert "expected ACCOUNT@HOST" in operator("links", "create", "alice", "alice", "--days", "3", code=2).err
    assert "reference_unknown" in operator("links", "create", "alice", "alice@h2", "--days", "3", code=1).err
    operator("links", "delete", link["id"])
    assert "account_link_unknown" in operator("links", "show", link["id"], code=1).err


def test_tenants_keep_apart_and_a_wrong_tenant_is_named(operator: Operator):
    made = operator.json("tenants", "create", "physics", "--max-ttl", "2h", "--mfa-window", "30m")
    assert (made["max_ttl_seconds"], made["mfa_window_seconds"]) == (7200, 1800)
    operator("clients", "create", "portal", "--tenant", "physics")
    assert operator.json("clients", "list") == []
    assert "there is no tenant 'physic'" in operator("clients", "list", "--tenant", "physic", code=1).err
    assert "longer than max_ttl_seconds" in operator("tenants", "update", "physics", "--default-ttl", "3h", code=2).err
    assert operator.json("tenants", "update", "physics", "--disable")["enabled"] is False


def test_a_long_list_says_that_there_is_more(operator: Operator):
    for name in ("a", "b"):
        operator("users", "create", name, "--no-password")
    done = operator("users", "list", "--limit", "1", "--json")
    assert [one["user"] for one in done.json] == ["a"]
    assert "there are more: give --limit N" in done.err


def test_settings_are_shown_or_their_fault_is_named(operator: Operator, monkeypatch: pytest.MonkeyPatch):
    assert operator("settings", "check").field("listen.port") == "8443"
    settings = operator.data / "settings.toml"
    settings.write_text('[database]\nurl = "postgresql://tms:hunter2@db.example.org/tms"\n')
    shown = operator("settings", "check").field("database.url")
    assert shown == "postgresql://tms:***@db.example.org/tms"
    settings.write_text("[tms_v1]\nenabled = true\nmvp = true\n")
    shown = operator("settings", "check")
    assert shown.field("tms_v1.mvp") == "yes"
    assert "tms_v1.mvp is true" in shown.field("less safe than it could be")
    settings.write_text("[limits]\nmax_ttl = 3\n")
    assert "limits.max_ttl: no such setting" in operator("settings", "check", code=2).err
    settings.write_text("")
    (operator.data / "master.key").chmod(0o644)
    assert "chmod 600 it" in operator("settings", "check", code=2).err


def test_a_backup_is_whole_private_and_never_overwrites(running: Running, tmp_path: Path):
    copy = tmp_path / "backup.db"
    assert running.operator("backup", "create", copy).out.startswith(f"wrote {copy}")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["backup.db"]
    with contextlib.closing(sqlite3.connect(copy)) as database:
        there = {(one["client_id"],) for one in running.operator.json("clients", "list")}
        assert there >= {("portal",), ("rival",)}
        assert set(database.execute("SELECT client_id FROM clients")) == there
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    before = copy.read_bytes()
    assert "is not overwritten" in running.operator("backup", "create", copy, code=1).err
    assert copy.read_bytes() == before


def test_a_backup_opens_again_with_its_master_key_and_with_no_other(operator: Operator, tmp_path: Path):
    operator("clients", "create", "portal")
    operator("backup", "create", tmp_path / "copy.db")
    restored = Operator(tmp_path / "restored")
    restored("init")
    own_key = (restored.data / "master.key").read_bytes()
    for left in restored.data.glob("tms.db*"):
        left.unlink()
    shutil.copy(tmp_path / "copy.db", restored.data / "tms.db")
    (restored.data / "master.key").write_bytes((operator.data / "master.key").read_bytes())
    assert [one["client_id"] for one in restored.json("clients", "list")] == ["portal"]
    restored("audit", "verify")
    (restored.data / "master.key").write_bytes(own_key)
    assert "does not open with this master key" in restored("audit", "verify", code=1).err


def test_a_backup_of_postgresql_is_pg_dumps_business(operator: Operator, tmp_path: Path):
    (operator.data / "settings.toml").write_text('[database]\nurl = "postgresql://tms@db.example.org/tms"\n')
    assert "back it up with pg_dump" in operator("backup", "create", tmp_path / "b.db", code=1).err
    assert not (tmp_path / "b.db").exists()
