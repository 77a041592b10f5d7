"""The session hook under a real sshd with PAM: what the service's yes opens, and that its no leaves nothing open."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest

from deploy.sandbox_sshd import free_port
from tests.host.sshd import Authority, keygen
from tests.hostd.session_host import SessionHost
from tests.hostd.session_service import Scripted, refusal, scripted

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="PAM and namespaces need root")
TOKEN = "tms_h_0123456789abcdefghijklmnopqrstuvwxyzABCDEF0"
QUESTION = b"POST /x HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


@dataclass
class Place:
    """A host, its service, its CA, and alice's key with her certificate."""

    host: SessionHost
    service: Scripted
    authority: Authority
    alice: tuple[Path, Path]
    plain: Path
    stranger: tuple[Path, Path]

    def ways(self) -> dict[str, bool]:
        """Try every way to have something of the host; tell which worked."""
        host = self.host
        options = ("ExitOnForwardFailure=yes",)
        shell = subprocess.run(
            host.ssh_command(*self.alice),
            input="echo has-$((40+2))\n",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        # What only a shell can work out: the message of the day names the hour, and "in" stands in it.
        terminal = typed(host.ssh_command(*self.alice, flags=("-tt",)), "echo has-$((40+2)); exit\n")[1]
        sftp = subprocess.run(
            ["sftp", "-b", "-", *_for_sftp(host.ssh_command(*self.alice))],
            input="pwd\n", capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return {
            "shell": "has-42" in shell.stdout,
            "terminal": "has-42" in terminal,
            "command": host.ssh(*self.alice, "echo in").stdout == "in\n",
            "sftp": "/run/home/alice" in sftp.stdout,
            "local forward": self._forwards("-L", f"127.0.0.1:{self.service.port}", QUESTION, b"HTTP/1.1"),
            "socket forward": self._forwards_a_socket(),
            "stdio forward": self._stdio(),
            "remote forward": host.ssh(*self.alice, "echo in", flags=("-R", "0:127.0.0.1:9"), options=options).stdout
            == "in\n"
            or self._forwards("-R", f"127.0.0.1:{self.service.port}", QUESTION, b"HTTP/1.1"),
        }

    def _forwards_a_socket(self) -> bool:
        path = self.host.directory / "any.sock"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            path.chmod(0o666)
            listener.listen()
            listener.settimeout(60)

            def answer() -> None:
                with suppress(OSError), listener.accept()[0] as connection:
                    connection.recv(100)
                    connection.sendall(b"any socket")

            Thread(target=answer, daemon=True).start()
            return self._forwards("-L", str(path), b"x\n", b"any socket")

    def _forwards(self, way: str, target: str, question: bytes, wanted: bytes) -> bool:
        """Forward a port without a session; tell whether the target's answer comes through."""
        port = free_port()
        options = ("ExitOnForwardFailure=yes",)
        command = self.host.ssh_command(*self.alice, flags=("-N", way, f"{port}:{target}"), options=options)
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, **quiet) as ssh:
            try:
                until = time.monotonic() + 60
                while ssh.poll() is None and time.monotonic() < until:
                    try:
                        with socket.create_connection(("127.0.0.1", port), 60) as through:
                            through.sendall(question)
                            return wanted in through.recv(100)
                    except ConnectionRefusedError:
                        time.sleep(0.05)
                    except OSError:
                        return False
                return False
            finally:
                end_client(ssh)

    def _stdio(self) -> bool:
        command = self.host.ssh_command(*self.alice, flags=("-W", f"127.0.0.1:{self.service.port}"))
        done = subprocess.run(command, input=QUESTION, capture_output=True, timeout=120, check=False)
        return b"HTTP/1.1" in done.stdout


def end_client(ssh: "subprocess.Popen[bytes]") -> None:
    """End a client; one that is asked at a bad moment may not."""
    ssh.terminate()
    try:
        ssh.wait(20)
    except subprocess.TimeoutExpired:
        ssh.kill()
        ssh.wait(60)


def typed(command: list[str], text: str) -> tuple[int, str]:
    """Type a text at a terminal; return the exit status and what was seen."""
    reading, writing = os.pipe()
    os.write(writing, text.encode())  # before it starts: one that is refused may be gone before we would get to it
    try:
        with subprocess.Popen(
            command, stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as ssh:
            try:
                status = ssh.wait(120)
            except subprocess.TimeoutExpired:
                ssh.kill()
                status = -1
            return status, ssh.stdout.read()
    finally:  # open until the end: with its end in the same packet, some of it may be lost
        os.close(writing)
        os.close(reading)


def _for_sftp(command: list[str]) -> list[str]:
    words = command[1:]
    words[words.index("-p")] = "-P"
    return words


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    directory = Path(tempfile.mkdtemp(prefix="tms-session-"))
    directory.chmod(0o755)
    (directory / "other").mkdir()
    ours, theirs = Authority(directory), Authority(directory / "other")
    keygen("-t", "ed25519", "-N", "", "-f", directory / "plain")
    (directory / "trusted.pub").write_text(ours.lines + theirs.lines)
    (directory / "keys").write_text((directory / "plain.pub").read_text())
    lines = (f"TrustedUserCAKeys {directory}/trusted.pub", "AuthorizedKeysFile /run/principals/keys_%u")
    try:
        with scripted() as service:
            url = f"http://127.0.0.1:{service.port}"
            with SessionHost(directory / "host", url, TOKEN, ours.lines, sshd_lines=lines) as host:
                host.run("cp", str(directory / "keys"), "/run/principals/keys_alice")
                alice, stranger = ours.issue("alice", "alice@h1"), theirs.issue("stranger", "alice@h1")
                yield Place(host, service, ours, alice, directory / "plain", stranger)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(autouse=True)
def anew(request: pytest.FixtureRequest) -> None:
    if "place" in request.fixturenames:
        request.getfixturevalue("place").service.forget()


def test_a_yes_opens_every_way(place):
    assert all(place.ways().values()), (place.ways(), place.host.log[-3000:], place.host.daemon_log)


def test_a_no_opens_none(place):
    place.service.verdict = refusal()
    assert not any(place.ways().values()), place.ways()
    assert "code=certificate_revoked" in place.host.daemon_log
    place.service.verdict = None
    assert place.host.ssh(*place.alice, "echo in").stdout == "in\n"


def test_a_login_is_told_once_and_its_end_too(place):
    assert place.host.ssh(*place.alice, "echo in").stdout == "in\n"
    opened = place.service.opened
    assert len(opened) == 1
    wait_for(lambda: opened[0]["login_id"] in dict(place.service.ended))
    certificate = " ".join(place.alice[1].read_text().split()[:2])
    assert opened[0] == {
        "login_id": opened[0]["login_id"], "node": "n1", "account": "alice", "certificate": certificate, "late": False,
        "remote_address": "127.0.0.1", "started_at": opened[0]["started_at"],
    }  # fmt: skip
    assert dict(place.service.ended)[opened[0]["login_id"]]["reason"] == "closed"


def test_two_logins_have_two_names_and_two_sessions_of_one_connection_one(place, tmp_path):
    for _ in range(2):
        assert place.host.ssh(*place.alice, "echo in").stdout == "in\n"
    assert len({login["login_id"] for login in place.service.opened}) == 2
    place.service.forget()
    options = (f"ControlPath={tmp_path}/c",)
    master = subprocess.Popen(
        place.host.ssh_command(*place.alice, "echo in; sleep 60", options=(*options, "ControlMaster=yes")),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert master.stdout.readline() == b"in\n"
        assert place.host.ssh(*place.alice, "echo in", options=options).stdout == "in\n"
    finally:
        end_client(master)
        master.stdout.close()
    assert len(place.service.opened) == 1


def test_an_offer_of_a_key_and_a_failed_login_tell_nothing(place, tmp_path):
    keygen("-t", "ed25519", "-N", "", "-f", tmp_path / "wrong")
    assert place.host.ssh(tmp_path / "wrong", place.alice[1], "echo in").returncode == 255
    assert place.host.ssh(*place.alice, "echo in", account="bob").returncode == 255
    wait_for(lambda: "Postponed publickey" in place.host.log)  # said by a process that tells another, which writes
    assert place.service.opened == []
    assert place.host.ssh(*place.alice, "echo in").stdout == "in\n"
    assert len(place.service.opened) == 1


def test_logins_that_are_not_of_our_ca_are_none_of_its_business(place):
    place.service.verdict = refusal()
    assert place.host.ssh(place.plain, None, "echo in").stdout == "in\n"
    assert place.host.ssh(*place.stranger, "echo in").stdout == "in\n"
    assert place.service.opened == []
    assert place.host.ssh(*place.alice, "echo in").stdout == ""


def test_without_the_list_of_ca_keys_only_certificates_are_refused(place):
    keys = place.host.state / "user_ca.pub"
    keys.rename(keys.with_name("away"))
    try:
        assert place.host.ssh(*place.alice, "echo in").stdout == ""
        assert place.host.ssh(*place.stranger, "echo in").stdout == ""
        assert place.host.ssh(place.plain, None, "echo in").stdout == "in\n"
        assert place.service.opened == []
    finally:
        keys.with_name("away").rename(keys)
    assert place.host.ssh(*place.alice, "echo in").stdout == "in\n"


def test_a_daemon_that_is_not_there_or_hangs_refuses_in_time_and_leaves_other_logins_alone(place):
    place.host.set_time("keycmd/session.py", "SECONDS", 1.0)
    place.host.signal_daemon(signal.SIGSTOP)
    try:
        assert place.host.ssh(*place.alice, "echo in").stdout == ""  # else ssh would still wait
        assert place.host.ssh(place.plain, None, "echo in").stdout == "in\n"
    finally:
        place.host.signal_daemon(signal.SIGCONT)
        place.host.set_time("keycmd/session.py", "SECONDS", 60.0)
    place.host.kill_daemon()
    try:
        assert place.host.ssh(*place.alice, "echo in").stdout == ""
        assert place.host.ssh(place.plain, None, "echo in").stdout == "in\n"
    finally:
        place.host.start_daemon()
    place.service.forget()
    assert place.host.ssh(*place.alice, "echo in").stdout == "in\n"


@pytest.mark.parametrize(
    "lie",
    [
        b"",
        b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\ntrue",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["nothing", "another login", "not an object", "204", "500", "302", "401"],
)
def test_an_answer_that_is_not_a_yes_is_none(place, lie):
    place.service.verdict = lie or b"\r\n"
    assert place.host.ssh(*place.alice, "echo in").stdout == ""
    place.service.forget()
    assert place.host.ssh(*place.alice, "echo in").stdout == "in\n"


def test_sessions_that_are_off_refuse_until_the_hook_is_taken_out(place):
    place.host.configure(sessions="off")
    place.host.signal_daemon(signal.SIGHUP)
    try:
        wait_for(lambda: place.host.ssh(*place.alice, "echo in").stdout == "")
        assert "sessions = off in host.conf" in place.host.daemon_log
        assert place.service.opened == [] or len(place.service.opened) < 3
    finally:
        place.host.configure(sessions="pam")
        place.host.signal_daemon(signal.SIGHUP)
    wait_for(lambda: place.host.ssh(*place.alice, "echo in").stdout == "in\n")
