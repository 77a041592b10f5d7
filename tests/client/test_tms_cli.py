"""`tms` against a running service: from asking for a delegation to a revoked one."""

import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pyotp
import pytest

from tests.client.conftest import PASSWORD, ROOT, Machines, Terminal, clean, ran


def _key(terminal: Terminal) -> Path:
    key = terminal.home / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    return key.with_suffix(".pub")


def _approved(machines: Machines, user: str, *more: str) -> tuple[Terminal, Terminal, str]:
    """Return the user's and the application's machine, and a delegation that stands."""
    person, portal = machines.person("laptop"), machines.application()
    machines.running.user(user)
    person.log_in(user)
    asked = portal("delegate", user, f"{user}@h1", "--for", "8h", "--purpose", "nightly run", *more)
    person("approve", asked.field("id"))
    return person, portal, asked.field("id")


def test_help_shows_both_kinds_of_people_their_commands():
    done = ran("tms_ca.client.cli", "--help")
    assert done.code == 0
    for name in (
        "login logout whoami mfa delegations approve deny revoke delegate delegation cert ssh reserve unreserve".split()
    ):
        assert f"\n    {name}" in done.out


def test_from_the_request_to_a_certificate_and_its_end(machines: Machines):
    person, portal = machines.person("laptop"), machines.application()
    machines.running.user("alice")
    person.log_in("alice")
    asked = portal("delegate", "alice", "alice@h1", "--for", "8h", "--purpose", "nightly run")
    delegation = asked.field("id")
    assert asked.field("approval_url") == f"{machines.running.url}/t/default/delegations/{delegation}"
    assert re.fullmatch(r"[A-Z]{5}-[A-Z]{5}", asked.field("user_code"))
    key = _key(portal)
    pending = portal("cert", "alice", "alice@h1", "--key", key, code=1)
    assert "(delegation_pending)\nnext: the user approves it: tms approve ID" in pending.err
    assert not (portal.home / "id-cert.pub").exists()
    assert person("delegations", "--status", "pending").out.splitlines()[1].startswith(delegation)
    assert person("approve", delegation, "--for", "2h").field("status") == "approved"
    assert portal("delegation", delegation, "--wait").field("status") == "approved"
    made = portal("cert", "alice", "alice@h1", "--key", key, "--ttl", "10m")
    assert made.field("limited_by") == "requested"
    seen = subprocess.run(
        ["ssh-keygen", "-L", "-f", portal.home / "id-cert.pub"], capture_output=True, text=True, check=True
    ).stdout
    assert f"Serial: {made.field('serial')}" in seen
    assert "alice@h1" in seen
    assert "(delegation_other_host)" in portal("cert", "alice", "alice@h2", "--key", key, code=1).err
    assert person("revoke", delegation).field("status") == "revoked"
    before = (portal.home / "id-cert.pub").read_bytes()
    assert "(delegation_revoked)" in portal("cert", "alice", "alice@h1", "--key", key, code=1).err
    assert (portal.home / "id-cert.pub").read_bytes() == before


def test_a_wrong_password_opens_nothing(machines: Machines):
    person = machines.person("laptop")
    machines.running.user("bob")
    done = person("login", "bob", "--password-stdin", stdin="not the password\n", code=1)
    assert done.err == "tms: the user or the password is wrong (login_failed)\n"
    assert not (person.home / "session.json").exists()
    assert "give --password-stdin" in person("login", "bob", code=2).err
    assert "you are not logged in" in person("whoami", code=2).err


def test_a_code_works_once_and_a_wrong_one_never(machines: Machines):
    person = machines.person("laptop")
    machines.running.user("carol")
    person("login", "carol", "--password-stdin", stdin=PASSWORD + "\n")
    assert "next: tms mfa enrol" in person("mfa", "verify", "123456", code=1).err
    seed = person("mfa", "enrol").field("seed")
    assert person("mfa", "status").field("enrolled") == "no"
    good = pyotp.TOTP(seed).now()
    wrong = str((int(good) + 1) % 10**6).zfill(6)
    assert "(mfa_failed)" in person("mfa", "verify", wrong, code=1).err
    assert person("mfa", "verify", good).field("enrolled") == "yes"
    assert "(mfa_failed)" in person("mfa", "verify", good, code=1).err
    used = person("login", "carol", "--password-stdin", "--code", good, stdin=PASSWORD + "\n", code=1)
    assert "(mfa_failed)" in used.err
    following = pyotp.TOTP(seed).at(time.time() + 30)  # the clock of a phone may be ahead; the next step is accepted
    again = person("login", "carol", "--password-stdin", "--code", following, stdin=PASSWORD + "\n")
    assert again.field("mfa_expires_at") != "-"
    assert "which code?" in person("mfa", "verify", code=2).err


def test_too_many_guesses_are_told_to_wait(machines: Machines):
    person = machines.person("laptop")
    machines.running.user("dave")
    for _ in range(5):
        person("login", "dave", "--password-stdin", stdin="guess\n", code=1)
    done = person("login", "dave", "--password-stdin", stdin=PASSWORD + "\n", code=75)
    assert "too many failures; try again in" in done.err


def test_approving_needs_the_second_factor(machines: Machines):
    person, portal = machines.person("laptop"), machines.application()
    machines.running.user("erin")
    person.log_in("erin", mfa=False)
    asked = portal("delegate", "erin", "erin@h1", "--for", "8h", "--purpose", "x").field("id")
    assert "next: tms mfa verify CODE" in person("approve", asked, code=1).err
    assert portal("delegation", asked).field("status") == "pending"


def test_a_foreign_delegation_does_not_exist(machines: Machines):
    _, _, delegation = _approved(machines, "frank")
    machines.running.user("mallory")
    mallory = machines.person("mallory")
    mallory.log_in("mallory")
    for verb in ("approve", "deny", "revoke"):
        assert re.search(r"\((delegation|revocation_target)_unknown\)", mallory(verb, delegation, code=1).err)
    assert mallory("delegations", "--json").json == []
    rival = machines.application("rival")
    assert "(delegation_unknown)" in rival("delegation", delegation, code=1).err
    assert "(delegation_missing)" in rival("cert", "frank", "frank@h1", "--key", _key(rival), code=1).err


def test_a_denied_request_stays_denied(machines: Machines):
    person, portal = machines.person("laptop"), machines.application()
    machines.running.user("grace")
    person.log_in("grace")
    asked = portal("delegate", "grace", "grace@h1", "--for", "8h", "--purpose", "x").field("id")
    assert person("deny", asked).field("status") == "denied"
    assert portal("delegation", asked, "--wait", code=1).field("status") == "denied"
    assert "(delegation_not_pending)" in person("approve", asked, code=1).err


def test_waiting_ends_with_try_again(machines: Machines):
    portal = machines.application()
    machines.running.user("heidi")
    asked = portal("delegate", "heidi", "heidi@h1", "--for", "8h", "--purpose", "x").field("id")
    assert "has not decided within 0 seconds" in portal("delegation", asked, "--wait", "--timeout", "0", code=75).err


def test_approving_narrows_and_never_widens(machines: Machines):
    person, portal = machines.person("laptop"), machines.application()
    machines.running.user("ivan")
    person.log_in("ivan")
    asked = portal("delegate", "ivan", "ivan@h1", "--for", "2h", "--purpose", "x").field("id")
    assert "(delegation_widened)" in person("approve", asked, "--for", "3h", code=1).err
    assert person("approve", asked, "--for", "1h", "--json").json["lifetime_seconds"] == 3600


def test_a_user_revokes_one_certificate(machines: Machines):
    person, portal, _ = _approved(machines, "judy")
    serial = portal("cert", "judy", "judy@h1", "--key", _key(portal)).field("serial")
    assert person("revoke", "--serial", serial).field("certificates") == "1"
    assert "already_revoked" in person("revoke", "--serial", serial, code=1).err
    assert "not allowed with" in person("revoke", "dlg_x", "--serial", serial, code=2).err
    shown = machines.running.operator.json("certificates", "show", serial)
    assert (shown["user"], shown["revocation_id"][:4]) == ("judy", "rev_")
    (listed,) = machines.running.operator.json("certificates", "list", "--user", "judy")
    assert listed == shown
    assert "certificate_unknown" in machines.running.operator("certificates", "show", "5", code=1).err


def test_the_operator_revokes_what_a_user_approved(machines: Machines):
    _, portal, delegation = _approved(machines, "ken")
    operator = machines.running.operator
    assert operator.json("delegations", "show", delegation)["status"] == "approved"
    assert operator.json("delegations", "revoke", delegation, "--reason", "left")["status"] == "revoked"
    assert operator.json("delegations", "list", "--user", "ken", "--status", "approved") == []
    assert "already_revoked" in operator("delegations", "revoke", delegation, code=1).err
    assert portal("delegation", delegation).field("status") == "revoked"


def test_a_private_key_is_never_sent(machines: Machines):
    portal = machines.application()
    key = _key(portal).with_suffix("")
    assert "does not end with .pub" in portal("cert", "alice", "alice@h1", "--key", key, code=2).err
    done = portal("cert", "alice", "alice@h1", "--key", key, "--out", portal.home / "out", code=2)
    assert "is a private key, which never leaves your machine" in done.err
    (portal.home / "two.pub").write_text("ssh-ed25519 AAAA\nssh-ed25519 AAAA\n")
    assert "has 2 lines; expected one public key" in portal("cert", "a", "a@h1", "--key", "two.pub", code=2).err


def test_a_session_is_private_and_ends(machines: Machines):
    person = machines.person("laptop")
    machines.running.user("leo")
    person.log_in("leo", mfa=False)
    kept = person.home / "session.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert person("whoami").field("user") == "leo"
    token = kept.read_text().split('"token": "')[1].split('"')[0]
    elsewhere = person("whoami", "--url", machines.running.url.replace("127.0.0.1", "localhost"), code=2)
    assert "you are not logged in to http://localhost" in elsewhere.err  # a token goes only where it came from
    kept.chmod(0o644)
    assert "others can reach this secret (mode 0644)" in person("whoami", code=2).err
    kept.chmod(0o600)
    person("logout")
    assert "you are not logged in" in person("whoami", code=2).err
    assert "(credential_not_good)" in person("whoami", code=1, TMS_TOKEN=token).err


def test_a_secret_that_others_can_read_or_is_wrong_is_refused(machines: Machines):
    portal = machines.application()
    asked = ("delegation", "dlg_aaaaaaaaaaaaaaaaaaaa")
    (portal.home / "secret").chmod(0o604)
    assert "others can reach this secret (mode 0604)" in portal(*asked, code=2).err
    assert "(credential_not_good)" in portal(*asked, code=1, TMS_CLIENT_SECRET="tms_c_wrong").err
    (portal.home / "secret").unlink()
    assert "cannot read" in portal(*asked, code=2).err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["printers"], 2, "invalid choice: 'printers'"),
        (["cert", "alice", "alice", "--key", "x.pub"], 2, "expected ACCOUNT@HOST, such as alice@stampede3"),
        (["ssh", "alice", "-oProxyCommand=evil@h1", "--", "id"], 2, "ACCOUNT@HOST"),
        (["ssh", "alice", "alice@-oProxyCommand=evil"], 2, "expected ACCOUNT@HOST"),
        (["ssh", "alice", "alice@h1", "--address=-oProxyCommand=evil"], 2, "expected a host name or an address"),
        (["delegate", "alice", "alice@h1", "--for", "ever", "--purpose", "x"], 2, "expected a length of time"),
        (["login", "alice", "--password-stdin", "--url", "http://tms.example.org"], 2, "plain http to another machine"),
        (["login", "alice", "--password-stdin", "--url", "ftp://tms.example.org"], 2, "expected https://NAME[:PORT]"),
        (["login", "alice", "--password-stdin", "--url", "http://127.0.0.1:1"], 75, "Connection refused"),
        (["login", "alice", "--password-stdin", "--ca-file", "nowhere", "--url", "https://localhost"], 2, "nowhere"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_says_why(tmp_path: Path, words: list[str], code: int, says: str):
    env = {"TMS_URL": "http://127.0.0.1:1", "TMS_CLIENT_ID": "portal", "TMS_CLIENT_SECRET": "x"}
    done = Terminal(tmp_path, env)(*words, stdin="password\n", code=code)
    assert says in done.err


def test_a_configuration_without_or_with_wrong_settings_is_named(tmp_path: Path):
    nobody = Terminal(tmp_path, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert f'write url = "https://NAME" into {tmp_path}/tms/config.toml' in nobody("whoami", code=2).err
    (tmp_path / "tms").mkdir()
    (tmp_path / "tms" / "config.toml").write_text('server = "https://tms.example.org"\n')
    assert "there is no setting 'server'; expected url, tenant" in nobody("whoami", code=2).err
    assert "is not there; TMS_CONFIG names it" in nobody("whoami", code=2, TMS_CONFIG="missing.toml").err


def test_an_answer_of_something_else_is_not_believed(machines: Machines):
    person = machines.person("laptop")
    done = person(
        "login", "alice", "--password-stdin", "--url", f"{machines.running.url}/elsewhere", stdin="x\n", code=1
    )
    assert "(no_such_path)" in done.err


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no OpenSSH client")
def test_ssh_gets_a_key_that_is_gone_afterwards(machines: Machines):
    _, portal, _ = _approved(machines, "mike")
    runtime = portal.home / "runtime"
    runtime.mkdir()
    done = portal(
        "ssh",
        "mike",
        "mike@h1",
        "--address",
        "127.0.0.1",
        "--port",
        "1",
        "--",
        "true",
        code=255,
        XDG_RUNTIME_DIR=str(runtime),
    )
    assert "Connection refused" in done.err
    assert list(runtime.iterdir()) == []
    assert len(machines.running.operator.json("certificates", "list", "--user", "mike")) == 1


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no OpenSSH client")
def test_ssh_that_is_ended_leaves_no_key(machines: Machines):
    _, portal, _ = _approved(machines, "nina")
    runtime = portal.home / "runtime"
    runtime.mkdir()
    words = [
        "ssh",
        "nina",
        "nina@h1",
        "--address",
        "127.0.0.1",
        "-o",
        "ProxyCommand=sh -c 'echo begun >&2; exec sleep 60'",
        "--",
        "true",
    ]
    env = clean({**portal.env, "XDG_RUNTIME_DIR": str(runtime)})
    begun = subprocess.Popen(
        [sys.executable, "-m", "tms_ca.client.cli", *words], env=env, cwd=portal.home, stderr=subprocess.PIPE, text=True
    )
    assert begun.stderr
    assert begun.stderr.readline() == "begun\n"
    (place,) = runtime.iterdir()
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    begun.send_signal(signal.SIGTERM)
    assert begun.wait(60) == 128 + signal.SIGTERM
    begun.stderr.close()
    assert list(runtime.iterdir()) == []


def test_the_client_needs_nothing_but_the_standard_library(tmp_path: Path):
    shutil.copytree(ROOT / "tms_ca" / "client", tmp_path / "tms_ca" / "client")
    shutil.copy(ROOT / "tms_ca" / "__init__.py", tmp_path / "tms_ca")
    done = subprocess.run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from tms_ca.client.cli import main; main(['--version'])"], capture_output=True, text=True)  # fmt: skip
    assert done.stdout.startswith("tms 0."), done.stderr
