"""The parts of the session's side: certificates read, processes told apart, messages kept, sessions remembered."""

import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keycmd import session, wrapper
from keycmd.certparts import KEY_STRINGS, Parts, Unreadable
from keycmd.hostd import announce, outbox, processes
from keycmd.hostd.registry import Registry, Session
from keycmd.service import CERTIFICATE_TYPES, ServiceError
from tests.host.sshd import Authority, keygen

KINDS = {
    "ssh-ed25519-cert-v01@openssh.com": ("-t", "ed25519"),
    "ssh-rsa-cert-v01@openssh.com": ("-t", "rsa", "-b", "3072"),
    "ecdsa-sha2-nistp256-cert-v01@openssh.com": ("-t", "ecdsa", "-b", "256"),
    "ecdsa-sha2-nistp384-cert-v01@openssh.com": ("-t", "ecdsa", "-b", "384"),
    "ecdsa-sha2-nistp521-cert-v01@openssh.com": ("-t", "ecdsa", "-b", "521"),
}


def made(directory: Path, name: str, *options: str, key: tuple[str, ...] = ("-t", "ed25519")) -> tuple[str, str]:
    """Return (type, base64) of a certificate that ssh-keygen made."""
    keygen(*key, "-N", "", "-f", directory / name)
    keygen("-s", directory / "ca", "-I", f'a "b" {name}', "-n", "alice@h1,bob", "-z", "9", "-V", "-1m:+1h", *options,
           directory / f"{name}.pub")  # fmt: skip
    kind, text = (directory / f"{name}-cert.pub").read_text().split()[:2]
    return kind, text


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def test_every_type_that_the_service_knows_is_read():
    assert set(KEY_STRINGS) == set(CERTIFICATE_TYPES)


@pytest.mark.parametrize("kind", KINDS)
def test_the_ca_and_the_forced_command_are_read(authority, kind):
    name = kind.partition("-cert")[0]
    plain = made(authority.directory, name, key=KINDS[kind])
    assert plain[0] == kind
    assert Parts(*plain).ca_key == authority.lines.split()[1]
    assert Parts(*plain).forced_command is None
    forced = made(authority.directory, f"{name}-forced", "-O", "force-command=echo 'x'; y", "-O", "source-address=10.0.0.0/8",
                  key=KINDS[kind])  # fmt: skip
    assert Parts(*forced).forced_command == b"echo 'x'; y"


def test_keys_in_hardware_are_read(authority):
    """ssh-keygen needs the hardware to make one, so that this one is put together by hand."""
    kind, text = made(authority.directory, "soft", "-O", "force-command=only")
    blob = base64.b64decode(text)
    old = b"\0\0\0\x20" + kind.encode()
    new = b"sk-ssh-ed25519-cert-v01@openssh.com"
    nonce_and_key = len(old) + 36 + 36
    sk = len(new).to_bytes(4, "big") + new + blob[len(old) : nonce_and_key] + b"\0\0\0\x04ssh:" + blob[nonce_and_key:]
    parts = Parts(new.decode(), base64.b64encode(sk).decode())
    assert (parts.ca_key, parts.forced_command) == (authority.lines.split()[1], b"only")


def test_what_is_cut_or_of_another_type_is_not_read(authority):
    kind, text = made(authority.directory, "cut", "-O", "force-command=only")
    blob = base64.b64decode(text)
    for length in range(len(blob)):
        with pytest.raises(Unreadable):
            Parts(kind, base64.b64encode(blob[:length]).decode())
    with pytest.raises(Unreadable):
        Parts(kind, base64.b64encode(blob + b"\0").decode())
    with pytest.raises(Unreadable):
        Parts("ssh-rsa-cert-v01@openssh.com", text)
    with pytest.raises(Unreadable):
        Parts("ssh-dss-cert-v01@openssh.com", text)


@given(st.binary(max_size=400))
def test_no_blob_does_more_than_be_unreadable(blob):
    for kind in KEY_STRINGS:
        with pytest.raises(Unreadable):
            Parts(kind, base64.b64encode(blob).decode())


def test_ours_is_who_our_ca_signed(authority, tmp_path):
    ours = made(authority.directory, "ours")
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    stranger = tuple(other.issue("stranger", "alice@h1")[1].read_text().split()[:2])
    (tmp_path / "user_ca.pub").write_text(f"# {other.lines}\n{authority.lines}")
    assert session.ours([stranger, ours], str(tmp_path)) == ours
    assert session.ours([stranger], str(tmp_path)) is None
    assert session.ours([], str(tmp_path / "none")) is None
    for doubtful in ([ours, ours], [("ssh-ed25519-cert-v01@openssh.com", "AAAA")]):
        with pytest.raises(session.Doubt):
            session.ours(doubtful, str(tmp_path))
    with pytest.raises(session.Doubt):
        session.ours([stranger], str(tmp_path / "none"))


def test_the_methods_of_a_login_are_read():
    text = "publickey ssh-ed25519 AAAA\npublickey ssh-ed25519-cert-v01@openssh.com BBBB\npassword\nhostbased x-cert-y CCCC\n"
    assert session.certificates(text) == [("ssh-ed25519-cert-v01@openssh.com", "BBBB")]


def test_a_configuration_that_others_can_write_is_a_doubt(tmp_path):
    path = tmp_path / "host.conf"
    assert session.directories(str(path)) == (session.STATE, session.RUN)
    path.write_text("url = x\nstate_dir = /a/b\n# run_dir = /no\n run_dir = /c\n")
    path.chmod(0o644)
    if os.geteuid() == 0:
        assert session.directories(str(path)) == ("/a/b", "/c")
    path.chmod(0o666)
    with pytest.raises(session.Doubt):
        session.directories(str(path))


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b"yes\n", []), (b"yes 1\necho x\n", ["echo x"]), (b"no uses_exhausted\n", session.Refused),
        (b"failed away\n", session.Doubt), (b"", session.Doubt), (b"yes", session.Doubt), (b"yes 2\na\n", session.Doubt),
        (b"yes 1\n", session.Doubt), (b"yes\nmore\n", session.Doubt), (b"no A B\n", session.Doubt), (b"no \n", session.Doubt),
        (b"no x\nyes\n", session.Doubt), (b"YES\n", session.Doubt), (b"\n", session.Doubt), (b"yes 0\n", session.Doubt),
    ],
)  # fmt: skip
def test_only_a_whole_answer_counts(tmp_path, answer, found):
    import socket
    import threading

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "session.sock"))
        listener.listen()

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            if isinstance(found, list):
                assert session.ask(str(tmp_path), "open\n") == found
            else:
                with pytest.raises(found):
                    session.ask(str(tmp_path), "open\n")
        finally:
            thread.join()


def test_a_hook_in_the_wrong_place_refuses():
    with pytest.raises(session.Doubt, match="session"):
        session.hook({"PAM_TYPE": "auth"}, "/nonexistent")
    with pytest.raises(session.Doubt):
        session.hook({}, "/nonexistent")


def test_a_login_id_is_one_for_a_process_and_its_start():
    assert session.login_id(os.getpid()) == session.login_id(os.getpid())
    assert session.login_id(os.getpid()) != session.login_id(os.getppid())
    gone = subprocess.Popen(["true"])
    gone.wait()
    with pytest.raises(session.Doubt):
        session.login_id(gone.pid)


def test_a_pid_that_was_given_out_again_is_another_process():
    me = processes.look(os.getpid())
    assert processes.is_same(me.pid, me.start)
    assert not processes.is_same(me.pid, str(int(me.start) + 1))
    assert processes.look(2**22 + 1) is None


def test_a_process_may_call_itself_anything(tmp_path):
    """A name with brackets and blanks confuses nobody, and sshd's name makes no sshd."""
    path = tmp_path / "a) R 1 (b"
    shutil.copy("/bin/sleep", path)
    named = tmp_path / "sshd"
    shutil.copy("/bin/sleep", named)
    with subprocess.Popen([path, "60"]) as odd, subprocess.Popen([named, "60"]) as false:
        try:
            assert processes.look(odd.pid).name == "a) R 1 (b"
            assert processes.look(odd.pid).parent == os.getpid()
            assert odd.pid in {process.pid for process in processes.descendants(os.getpid(), processes.everyone())}
            assert processes.sshd_above(odd.pid) != odd.pid
            assert not processes.is_session_of_sshd(false.pid)
        finally:
            odd.kill()
            false.kill()


def test_terminals_are_found_by_their_numbers():
    process = processes.Process(1, "x", 0, (136 << 8) | 7, "1")
    large = processes.Process(2, "y", 0, (136 << 8) | (300 & 0xFF) | ((300 & 0xFFF00) << 12), "1")
    none = processes.Process(3, "z", 0, 0, "1")
    console = processes.Process(4, "c", 0, (4 << 8) | 1, "1")
    assert processes.terminals([process, large, none, console, process]) == ["/dev/pts/7", "/dev/pts/300"]


def test_messages_are_sent_in_order_and_outlive_the_daemon(tmp_path):
    box = outbox.Outbox(str(tmp_path / "out"))
    for number in range(12):
        box.put({"n": number})
    again = outbox.Outbox(str(tmp_path / "out"))
    assert len(again) == 12
    seen = []
    while again.first() is not None:
        number, message = again.first()
        seen.append(message["n"])
        again.drop(number)
    assert seen == list(range(12))
    assert list((tmp_path / "out").iterdir()) == []
    assert again.first() is None


def test_too_many_messages_cost_the_oldest(tmp_path):
    box = outbox.Outbox(str(tmp_path / "out"), most=3)
    for number in range(5):
        box.put({"n": number})
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert box.first()[1] == {"n": 2}


def test_a_broken_message_holds_up_nothing(tmp_path):
    box = outbox.Outbox(str(tmp_path / "out"))
    box.put({"n": 1})
    box.put({"n": 2})
    (tmp_path / "out" / "000000000001").write_text("{")
    (tmp_path / "out" / ".tms-new-0-x").write_text("{")
    assert outbox.Outbox(str(tmp_path / "out")).first()[1] == {"n": 2}
    assert not (tmp_path / "out" / ".tms-new-0-x").exists()


def fields(process: int, name: str, start: str) -> dict:
    return {"login_id": name, "account": "alice", "certificate": "a b", "process": process, "start": start,
            "started_at": "2026-11-21T00:00:00Z"}  # fmt: skip


def test_sessions_outlive_the_daemon_but_not_their_sshd_nor_a_boot(tmp_path):
    registry = Registry(str(tmp_path / "open"))
    me = processes.look(os.getpid())
    here, earlier = session.login_id(me.pid), "0" * 32  # an id of another boot, with a pid and start of today
    for name in (here, earlier):
        kept = Session(fields(me.pid, name, me.start))
        kept.command = "echo only"
        registry.save(kept)
        registry.add(kept)
    assert registry.gone() == []
    (tmp_path / "open" / ("f" * 32)).write_text("{")
    again = Registry(str(tmp_path / "open"))
    assert set(again.sessions) == {here, earlier}
    assert again.sessions[here].command == "echo only"
    assert [one.login_id for one in again.gone()] == [earlier]
    again.remove(again.sessions[here])
    assert {path.name for path in (tmp_path / "open").iterdir()} == {earlier}


def test_the_command_of_remembered_lines():
    assert announce.forced_command(['restrict,command="echo x" alice@h1']) == "echo x"
    assert announce.forced_command(["alice@h1", "b@h1"]) is None
    with pytest.raises(ServiceError):
        announce.forced_command(['command="echo x" alice@h1', "alice@h1"])
    assert announce.is_command("echo x")
    assert not any(announce.is_command(text) for text in ('a"b', "a\nb", "", "a#b", "a\\b", None, 3, "x" * 1025))


def test_what_the_wrapper_is_told_must_be_known():
    with pytest.raises(session.Doubt, match="--wrap"):
        wrapper.run(["--sing"], "/nonexistent")


def test_the_hook_runs_on_the_oldest_python():
    oldest = sorted(Path.home().glob(".pyenv/versions/3.6*/bin/python"))
    if not oldest:
        pytest.skip("no Python 3.6 on this machine")
    root = Path(__file__).parents[2]
    code = "import sys; sys.path.insert(0, sys.argv[1]); import keycmd.wrapper, keycmd.hostd.sessions; from keycmd.session import main; sys.exit(main([]))"
    good = subprocess.run([oldest[0], "-ISE", "-c", code, root], env={"PAM_TYPE": "open_session"}, check=False)
    bad = subprocess.run([oldest[0], "-ISE", "-c", code, root], env={"PAM_TYPE": "account"}, check=False)
    assert (good.returncode, bad.returncode) == (0, 1)
