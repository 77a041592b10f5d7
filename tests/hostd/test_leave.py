"""`tms-host leave` and `join` as root in directories of tms-host, which somebody may have taken over."""

import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from keycmd import files
from keycmd.admin import daemon
from keycmd.admin.leave import remaining_lines
from keycmd.admin.places import AdminError, Places
from tests.host.conftest import directory_for_all
from tests.hostd.machine import Machine

STRANGER = 65533
CONFIG = "url = http://127.0.0.1:9\ntenant = default\nhost = h1\ntoken_file = {root}/etc/tms/token\nca_file = system\n"
LISTEN = """
import os, socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1]); listener.listen(); os.chmod(sys.argv[1], 0o666)
print(flush=True)
time.sleep(60)
"""


@pytest.fixture
def machine():
    if os.geteuid() != 0:
        pytest.skip("only root works in another's directories")
    with Machine() as made:
        (made.root / "etc/tms").mkdir()
        made.config.write_text(CONFIG.format(root=made.root))
        (made.root / "etc/tms/token").write_text("tms_h_" + "a" * 43 + "\n")
        for name in ("host-certs", "spool/sessions/open"):
            (made.state / name).mkdir(parents=True)
            (made.state / name / "host-cert.pub").write_text("ours\n")
        os.chown(made.state, STRANGER, STRANGER)
        yield made


@pytest.mark.parametrize("name", ["host-certs", "spool"])
@pytest.mark.parametrize("linked", [False, True])
def test_leaving_removes_nothing_behind_a_link(machine, tmp_path, name, linked):
    """Without the link the directory's files go, with it those of root's directory stay."""
    roots = tmp_path / "roots"
    (roots / "sessions").mkdir(parents=True)
    for path in (roots / "precious.pub", roots / "sessions/precious.pub"):
        path.write_text("precious\n")
    if linked:
        (machine.state / name).rename(machine.state / "aside")
        (machine.state / name).symlink_to(roots)
    done = machine.tms_host("leave", "--force")
    assert done.returncode == int(linked), done.stderr
    assert len(list(roots.rglob("precious.pub"))) == 2
    assert not (machine.root / "etc/tms/token").exists()
    if linked:
        assert name in done.stderr
    else:
        assert machine.files() == {}
        assert not (machine.state / "spool").exists()


@pytest.mark.parametrize("owner", [0, STRANGER])
def test_a_directory_that_another_has_made_a_link_is_not_taken(tmp_path, owner):
    """What root has laid is followed, as the twin shows."""
    above, roots = tmp_path / "above", tmp_path / "roots"
    above.mkdir(0o755)
    roots.mkdir()
    (above / "link").symlink_to(roots)
    os.chown(above, owner, owner)
    if owner == 0:
        files.make_directory(str(above / "link"))
    else:
        with pytest.raises(files.FilesError):
            files.make_directory(str(above / "link"))


@pytest.mark.parametrize("uid", [0, STRANGER])
def test_only_our_own_process_is_signalled(uid, tmp_path):
    """Root's is ended; that of another user, who took the socket's place, is not."""
    directory = Path("/tmp") / f"tms-leave-{os.getpid()}-{uid}"
    directory.mkdir()
    try:
        os.chown(directory, uid, uid)
        command = ["setpriv", f"--reuid={uid}", "--clear-groups", sys.executable, "-c", LISTEN, directory / "ask.sock"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            # It answers no question, and is ended all the same.
            assert daemon.end(str(directory)) is (uid == 0)
            assert (process.poll() is None) is (uid != 0)
            process.kill()
            assert process.wait() == (-signal.SIGTERM if uid == 0 else -signal.SIGKILL)
    finally:
        (directory / "ask.sock").unlink(missing_ok=True)
        directory.rmdir()


DAEMON = """
import json, os, signal, socket, sys
reads, does = 1, sys.argv[2]
def hup(*_):
    global reads
    reads += does == "reads"
signal.signal(signal.SIGHUP, hup)
signal.signal(signal.SIGTERM, signal.SIG_IGN if does == "stays" else signal.SIG_DFL)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1]); listener.listen()
print(flush=True)
while True:
    with listener.accept()[0] as asking:
        if asking.recv(100) == b"status\\n":
            asking.sendall(b"json\\n" + json.dumps({"configuration": {"reads": reads}}).encode())
"""


@pytest.mark.parametrize(("does", "ends"), [("reads", True), ("stays", False)])
def test_what_a_daemon_does_when_it_is_told_to_read_or_to_end(monkeypatch, does, ends):
    with directory_for_all("daemon") as directory:
        command = [sys.executable, "-c", DAEMON, directory / "ask.sock", does]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            monkeypatch.setattr(daemon, "SECONDS", 60.0)
            try:
                if does == "stays":
                    passes = SimpleNamespace(monotonic=count(0, 10).__next__, sleep=lambda _: None)
                    monkeypatch.setattr(daemon, "time", passes)
                    with pytest.raises(AdminError, match="has not read its configuration"):
                        daemon.reload(str(directory))
                else:
                    assert daemon.reload(str(directory))
                assert daemon.end(str(directory)) is ends
                assert (process.poll() is None) is not ends
            finally:
                process.kill()


def test_the_lines_of_pam_are_named_first(tmp_path):
    for name, text in (
        ("etc/pam.d/sshd", "# /usr/libexec/tms\nsession required pam_exec.so quiet /usr/libexec/tms/tms-session\n"),
        ("etc/ssh/sshd_config", "RevokedKeys /var/lib/tms-host/krl\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    found = remaining_lines(Places(str(tmp_path)))
    assert [line.partition(": ")[0] for line in found] == [
        f"{tmp_path}/etc/pam.d/sshd:2",
        f"{tmp_path}/etc/ssh/sshd_config:1",
    ]


def test_what_went_wrong_is_told_in_whole_sentences(machine):
    (machine.root / "etc/tms/token").unlink()
    assert "is this host joined? Nothing was removed" in machine.tms_host("leave").stderr
    (machine.root / "etc/tms/token").write_text("tms_h_" + "a" * 43 + "\n")
    assert ". Nothing was removed" in machine.tms_host("leave").stderr
