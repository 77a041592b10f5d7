"""tms-hostd as a process: it answers, ends, and reads its configuration again."""

import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.halting import halt
from tests.host.conftest import TOKEN
from tests.host.liar import answer
from tests.host.namespaces import syslog, with_a_mute_name_server
from tests.host.test_faults import true_answer
from tests.host.test_pythons import _python
from tests.hostd.conftest import until
from tests.patient import FOR_A_CROWD


def test_a_yes_and_its_twin(host, service, url):
    host.configure(url)
    host.start()
    assert host.say(host.question()) == b"yes 1\nalice@h1\n"
    service.reply = lambda _: answer(b'{"code":"expired"}', status="403 Forbidden", kind="application/problem+json")
    assert host.say(host.question()) == b"no expired\n"
    service.reply = lambda q: answer(bound=q.bound.replace("alice", "root"))
    assert host.say(host.question()) == b"failed the answer belongs to another question\n"


def test_every_question_is_asked_live(host, service, url):
    """A revocation counts at the very next login, so no yes is ever used twice while the service answers."""
    host.configure(url, when_away="cached 60")
    host.start()
    for _ in range(3):
        assert host.say(host.question()) == b"yes 1\nalice@h1\n"
    assert len(service.questions) == 3


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b" \n", b"principals\n", b"principals alice\n", b"principals  alice t c\n", b"nonsense\n", b"principals alice t c",
        b"principals alice ssh-ed25519 AAAA\n", b"principals al\xffce t c\n", b"principals alice\tt c\n", b"x" * 90_000 + b"\n",
        b"principals root;id ssh-ed25519-cert-v01@openssh.com AAAA\n", b"principals a ssh-ed25519-cert-v01@openssh.com A=A\n",
    ],
)  # fmt: skip
def test_a_line_that_is_no_question_fails_and_is_never_sent(host, service, url, line):
    host.configure(url)
    host.start()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(host.ask_socket))
        connection.sendall(line)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65536).startswith(b"failed ")
    assert service.questions == []
    assert host.say(host.question()) == b"yes 1\nalice@h1\n"


def test_the_status(host, service, url):
    host.configure(url, when_away="cached 5")
    host.start()
    before = host.status()
    assert host.say(host.question()).startswith(b"yes")
    after = host.status()
    assert (before["host"], before["tenant"], before["when_away"]) == ("h1", "default", "cached 5")
    assert (before["remembered"], after["remembered"]) == (0, 1)
    assert TOKEN not in str(after)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_also_while_a_question_waits(host, service, url, number):
    service.reply = lambda q: q.socket.recv(1) and None
    host.configure(url, timeout_seconds="30")
    process = host.start()
    said = []
    asking = threading.Thread(target=lambda: said.append(host.say(host.question())), daemon=True)
    asking.start()
    until(lambda: service.questions)
    process.send_signal(number)
    assert process.wait(60) == 0
    assert not host.ask_socket.exists()
    asking.join(60)
    assert said == [b""], "it waited for the service"


def test_it_ends_at_once_while_a_name_server_is_mute(host):
    """A thread that hangs in the resolver does not hold the process."""
    host.configure("https://tms.example.org", ca_file="system", timeout_seconds="30")
    process = host.start(wrap=lambda command: with_a_mute_name_server(host.directory, *command))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(host.directory / "run/ask.sock"))
        connection.sendall(host.question())
        assert select.select([connection], [], [], 0.3)[0] == []  # it waits for the name server
        os.kill(_peer(connection), signal.SIGTERM)
        process.wait(60)  # the resolver gives up after minutes
        assert connection.recv(100) == b""


def _peer(connection):
    """Return the process that listens at the other end: unix(7), SO_PEERCRED. What we started only began the daemon."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[0]


def test_sighup_reads_the_configuration_again(host, service, url):
    host.configure(url)
    process = host.start()
    host.configure(url, host="h2")
    process.send_signal(signal.SIGHUP)
    until(lambda: host.status()["host"] == "h2")
    assert host.say(host.question()).startswith(b"yes")
    assert "/hosts/h2/principals" in service.questions[-1].head


@pytest.mark.parametrize("more", [{"host": "../x"}, {"run_dir": "/tmp"}, {"token_file": "/nonexistent"}])
def test_a_configuration_that_is_not_good_changes_nothing(host, service, url, more):
    host.configure(url)
    process = host.start()
    host.configure(url, **more)
    process.send_signal(signal.SIGHUP)
    until(lambda: "the configuration stays as it was" in host.errors)
    assert host.say(host.question()).startswith(b"yes")
    assert "/hosts/h1/principals" in service.questions[-1].head


def test_a_new_credential_is_taken_with_sighup(host, service, url):
    host.configure(url)
    process = host.start()
    (host.directory / "token").write_text(TOKEN.replace("0", "9") + "\n")
    process.send_signal(signal.SIGHUP)
    until(lambda: "read again" in host.errors)
    assert host.say(host.question()).startswith(b"yes")
    assert f"Bearer {TOKEN.replace('0', '9')}\r\n" in service.questions[-1].head


def test_a_second_daemon_does_not_start(host, url):
    host.configure(url)
    host.start()
    second = subprocess.run(host.command(), capture_output=True, text=True, check=False, timeout=120)
    assert second.returncode == 1
    assert f"another tms-hostd runs in {host.directory}/run" in second.stderr
    assert host.say(host.question()).startswith(b"yes")


def test_one_that_was_killed_leaves_no_obstacle(host, url):
    host.configure(url)
    process = host.start()
    process.kill()
    process.wait(60)
    assert host.ask_socket.exists()
    host.start()
    assert host.say(host.question()).startswith(b"yes")


def test_a_configuration_that_is_not_good_ends_the_start(host):
    host.configure("http://tms.example.org")
    done = subprocess.run(host.command(), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert re.search(r"tms-hostd: .*host.conf line 1: url is plain http", done.stderr)


def test_systemd_is_told_that_it_is_ready_alive_and_ending(host, url):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(host.directory / "notify"))
        listener.settimeout(60)
        host.configure(url)
        # Ten words wait to be read, and what comes then is lost: that is five seconds.
        environment = {"NOTIFY_SOCKET": str(host.directory / "notify"), "WATCHDOG_USEC": "1500000"}
        process = host.start(environment=environment)
        told = [listener.recv(100) for _ in range(4)]
        assert told == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        process.terminate()
        while told[-1] != b"STOPPING=1":
            told.append(listener.recv(100))
        process.wait(60)


def test_a_stopped_daemon_tells_systemd_nothing(host, url):
    """The twin: the watchdog is fed by the event loop, so one that stands still is started anew."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(host.directory / "notify"))
        host.configure(url)
        process = host.start(environment={"NOTIFY_SOCKET": str(host.directory / "notify"), "WATCHDOG_USEC": "300000"})
        halt(process.pid)
        while select.select([listener], [], [], 0)[0]:
            listener.recv(100)
        listener.settimeout(1)
        with pytest.raises(TimeoutError):
            listener.recv(100)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_G_04_another_user_gets_no_answer(host, service, url):
    host.configure(url)
    host.start()
    code = (
        "import socket, sys; c = socket.socket(socket.AF_UNIX); c.connect(sys.argv[1]); c.settimeout(60);"
        " print(c.recv(1000).decode())"
    )
    command = [
        "setpriv",
        "--reuid=12345",
        "--regid=12345",
        "--clear-groups",
        "/usr/bin/python3",
        "-I",
        "-c",
        code,
        host.ask_socket,
    ]

    def as_another():
        return subprocess.run(command, capture_output=True, check=False, timeout=120)

    assert b"PermissionError" in as_another().stderr
    host.ask_socket.chmod(0o666)  # the mode is not the only lock
    assert as_another().stdout == b"failed not a user for this socket\n\n"
    assert service.questions == []


def test_G_02_sixty_questions_at_once(host, service, url):
    host.configure(url, timeout_seconds=FOR_A_CROWD)
    host.start()
    with ThreadPoolExecutor(60) as pool:
        said = list(pool.map(lambda _: host.say(host.question()), range(60)))
    assert said == [b"yes 1\nalice@h1\n"] * 60
    assert len(service.questions) == 60


def test_the_log_names_all_but_secrets(host, service, url, tmp_path):
    host.configure(url)
    with syslog(tmp_path) as log:
        host.start(wrap=lambda command: log.wrap(*command))
        assert host.say(host.question()).startswith(b"yes")
        lines = log.lines()
    (line,) = [line for line in lines if "allowed" in line]
    about = r"host=h1 account=alice certificate=SHA256:\S{43} serial=7 key_id=\S+ user=alice client=portal principals=alice@h1"
    assert re.fullmatch(rf"<86>[A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d tms-hostd\[\d+\]: allowed {about}", line)
    assert not any(TOKEN in line or host.certificate.split()[1][40:] in line for line in lines)


def test_G_02_a_syslog_that_takes_no_line_holds_no_login(host, service, url, tmp_path):
    host.configure(url)
    with syslog(tmp_path) as log:
        host.start(wrap=lambda command: log.wrap(*command))
        log.fill()
        assert host.say(host.question()) == b"yes 1\nalice@h1\n"
        lines = log.lines()  # a job of the daemon's may say it while there is room for the first one
        assert host.say(host.question()) == b"yes 1\nalice@h1\n"
        until(lambda: lines.extend(log.lines()) or any("lines were lost" in line for line in lines))


@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8", "3.9", "3.10", "3.12", "3.13"])
def test_it_runs_on_the_pythons_of_the_fleet(host, service, url, version):
    host.configure(url)
    process = host.start(python=_python(version))
    assert host.say(host.question()) == b"yes 1\nalice@h1\n"
    service.reply = lambda _: b""
    assert host.say(host.question()).startswith(b"failed the connection ended")
    service.reply = true_answer
    assert host.say(host.question()) == b"yes 1\nalice@h1\n"
    process.terminate()
    assert process.wait(60) == 0
    assert "Traceback" not in host.errors
    assert sys.version_info >= (3, 11)
