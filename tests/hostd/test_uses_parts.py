"""Which keys the hook announces: those of which the daemon has made a note, and no others."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from keycmd import session
from keycmd.files import FilesError
from keycmd.hostd.keynotes import KEPT_SECONDS, KeyNotes
from keycmd.hostd.sessions import _plain_key
from keycmd.keylines import fingerprint_of
from keycmd.keyquestion import KeyQuestion
from keycmd.service import ServiceError
from tests.host.sshd import Authority

KIND = "ssh-ed25519"
BLOBS = [
    "AAAAC3NzaC1lZDI1NTE5AAAAIKHqFA4kTRiKRfMCcEz+6xYiGmj7rLa6e8E4tqPf5E9W",
    "AAAAC3NzaC1lZDI1NTE5AAAAIAbcFA4kTRiKRfMCcEz+6xYiGmj7rLa6e8E4tqPf5E9W",
]


@pytest.fixture
def notes(tmp_path: Path) -> KeyNotes:
    return KeyNotes(str(tmp_path))


def note(notes: KeyNotes, blob: str = BLOBS[0]) -> None:
    notes.note(fingerprint_of(KIND, blob))


def test_the_keys_of_a_login_are_read():
    text = f"publickey {KIND} AAAA\npublickey {KIND}-cert-v01@openssh.com BBBB\npassword\nhostbased {KIND} CCCC\n"
    assert session.plain_keys(text) == [(KIND, "AAAA")]


def test_a_noted_key_is_announced_and_another_is_the_machines_own(notes, tmp_path):
    state = str(tmp_path)
    mine, other = ((KIND, blob) for blob in BLOBS)
    assert session.noted([mine], state) is None
    note(notes)
    assert session.noted([mine], state) == mine
    assert session.noted([other], state) is None
    assert session.noted([other, mine], state) == mine
    assert session.noted([], state) is None
    note(notes, BLOBS[1])
    with pytest.raises(session.Doubt, match="2 plain keys"):
        session.noted([other, mine], state)


def test_what_cannot_be_told_is_a_doubt(notes, tmp_path):
    with pytest.raises(session.Doubt, match="whose the key"):
        session.noted([(KIND, "A")], str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(session.Doubt, match="whose the key"):
        session.noted([(KIND, BLOBS[0])], str(tmp_path / "file"))
    assert session.noted([(KIND, BLOBS[0])], str(tmp_path / "nothing")) is None


def test_old_notes_go_and_a_new_yes_keeps_one(notes, tmp_path):
    directory = tmp_path / "spool/keys"
    assert directory.stat().st_mode & 0o777 == 0o700
    for blob in BLOBS:
        note(notes, blob)
    for path in directory.iterdir():
        long_ago = time.time() - KEPT_SECONDS - 5
        os.utime(path, (long_ago, long_ago))
    note(notes)
    notes.sweep()
    assert [session.noted([(KIND, blob)], str(tmp_path)) is not None for blob in BLOBS] == [True, False]
    KeyNotes(str(tmp_path)).sweep()  # another daemon
    assert session.noted([(KIND, BLOBS[0])], str(tmp_path)) is not None


def test_a_note_that_cannot_be_made_is_an_error(notes, tmp_path):
    (tmp_path / "spool/keys").rmdir()
    with pytest.raises(OSError, match="No such file"):
        note(notes)
    (tmp_path / "spool/keys").write_text("")
    with pytest.raises(FilesError):
        KeyNotes(str(tmp_path))


def test_a_host_says_that_it_reports_only_where_it_does():
    question = KeyQuestion("alice", fingerprint_of(KIND, BLOBS[0]), KIND)
    assert '"reports_logins":true}' in question.body(reports_logins=True)
    assert "reports_logins" not in question.body()


def test_without_the_daemon_nothing_is_asked_that_nobody_would_count():
    question = KeyQuestion("alice", fingerprint_of(KIND, BLOBS[0]), KIND)
    config = SimpleNamespace(sessions="pam", tenant="default", host="h1", addresses=(), token="x")
    with pytest.raises(ServiceError, match="sessions = pam"):
        question.ask(config, time.monotonic() + 1)
    config.sessions = "wrapper"
    with pytest.raises(ServiceError, match="no address to ask"):
        question.ask(config, time.monotonic() + 1)


def test_only_pams_hook_announces_plain_keys():
    assert _plain_key("pam", "alice", KIND, BLOBS[0]) == f"{KIND} {BLOBS[0]}"
    for mode, account, kind, blob in (
        ("wrapper", "alice", KIND, BLOBS[0]),
        ("pam", "Alice!", KIND, BLOBS[0]),
        ("pam", "alice", "ssh-rsa", BLOBS[0]),
        ("pam", "alice", KIND, "AAAA"),
    ):
        with pytest.raises(ServiceError):
            _plain_key(mode, account, kind, blob)


def test_a_login_by_a_certificate_and_a_noted_key_is_a_doubt(notes, tmp_path):
    """Two grants for one login: neither is announced in the other's place."""
    if os.geteuid() != 0:
        pytest.skip("host.conf must be root's")
    config = tmp_path / "host.conf"
    config.write_text(f"state_dir = {tmp_path}\nrun_dir = {tmp_path}/none\n")
    config.chmod(0o644)
    authority = Authority(tmp_path)
    (tmp_path / "user_ca.pub").write_text(authority.lines)
    certificate = " ".join(authority.issue("alice", "alice@h1")[1].read_text().split()[:2])
    methods = f"publickey {certificate}\npublickey {KIND} {BLOBS[0]}\n"
    environment = {"PAM_TYPE": "open_session", "PAM_USER": "alice", "SSH_AUTH_INFO_0": methods}
    with pytest.raises(session.Doubt, match="does not answer"):  # so far the certificate alone is announced
        session.hook(environment, str(config))
    note(notes)
    with pytest.raises(session.Doubt, match="expected one of them"):
        session.hook(environment, str(config))
