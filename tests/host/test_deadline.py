"""G-02: whatever hangs - names, the network, TLS, a disk, syslog -, the helper ends when its configuration says."""

import os
import signal
import socket
import subprocess
import time

import pytest

from tests.host.liar import Liar, answer
from tests.host.namespaces import syslog, with_a_mute_name_server
from tests.host.test_faults import true_answer

SECONDS = 0.8


def run(helper, wrap=lambda *command: list(command)):
    """Run the helper; return its status, its output and how long it took."""
    kind, blob = helper.certificate.split()[:2]
    command = [*helper.command(), "--config", helper.directory / "host.conf", "alice", kind, blob]
    line = wrap(*command)
    begun = time.monotonic()
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False, cwd="/")
    return done.returncode, done.stdout, time.monotonic() - begun


def assert_ended_in_time(ran, status=1):
    """Whoever waits for longer than two minutes was not ended by its configuration: see `run`."""
    assert ran[:2] == (status, b"")
    assert ran[2] >= SECONDS


def test_G_02_a_name_server_that_never_answers(helper, tmp_path):
    """glibc's resolver alone would wait for minutes, and no signal handler of Python's runs meanwhile."""
    helper.configure("https://tms.example.org", ca_file="system", timeout_seconds=str(SECONDS))
    with syslog(tmp_path) as log:
        assert_ended_in_time(run(helper, lambda *command: log.wrap(*with_a_mute_name_server(tmp_path, *command))))
        (line,) = log.lines()
    assert "reason=no answer in time: " in line, "it was the resolver that gave up"


@pytest.mark.parametrize(("late", "printed"), [(2.5, b""), (0, b"alice@h1\n")])
def test_G_02_the_truth_is_not_taken_once_the_configured_time_is_over(helper, late, printed):
    """The helper's other times, five seconds and thirty, would take it; the twin comes at once."""

    def tell(question):
        service.closing.wait(late)
        return true_answer(question)

    with Liar(tell) as service:
        helper.configure(f"http://127.0.0.1:{service.port}", timeout_seconds=str(SECONDS) if late else "30")
        assert run(helper)[:2] == (int(bool(late)), printed)


def test_G_02_a_port_that_takes_no_connection(helper):
    """A full backlog drops the SYN, as a firewall does."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        helper.configure(f"http://127.0.0.1:{address[1]}", timeout_seconds=str(SECONDS))
        try:
            assert_ended_in_time(run(helper))
        finally:
            for each in waiting:
                each.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_G_02_a_service_that_accepts_and_says_nothing(helper, scheme):
    """In clear it is the answer that does not come, with TLS the handshake."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        helper.configure(url, ca_file="system", timeout_seconds=str(SECONDS))
        assert_ended_in_time(run(helper))


def test_G_02_a_syslog_that_takes_no_line(ended, tmp_path):
    """The kernel ends the process; what was printed before does not count, because sshd sees how it ended."""
    with syslog(tmp_path) as log, Liar(true_answer) as service:
        log.fill()
        ended.configure(f"http://127.0.0.1:{service.port}", timeout_seconds=str(SECONDS))
        status, _, seconds = run(ended, log.wrap)
    assert status == -signal.SIGALRM
    assert seconds >= SECONDS


def test_G_02_an_ignored_or_blocked_alarm_still_rings(ended, tmp_path):
    """What the parent process did to SIGALRM is inherited; the helper undoes it."""
    ended.configure("https://tms.example.org", ca_file="system", timeout_seconds=str(SECONDS))
    code = (
        "import os, signal, sys; signal.signal(signal.SIGALRM, signal.SIG_IGN);"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM]); os.execv(sys.argv[1], sys.argv[1:])"
    )
    with syslog(tmp_path) as log:
        log.fill()
        ran = run(ended, lambda *command: log.wrap("/usr/bin/python3", "-c", code, *command))
    assert ran[0] == -signal.SIGALRM


@pytest.mark.parametrize("name", ["host.conf", "token"])
def test_G_02_a_named_pipe_in_a_file_s_place(helper, tmp_path, name):
    helper.configure("http://127.0.0.1:1")
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name, 0o600)
    assert run(helper)[:2] == (1, b"")  # one that hung would be ended by the kernel, not by itself


def test_G_02_a_slow_truth_within_the_time_is_taken(helper):
    """The positive twin: it is the lateness that refuses, not the waiting."""

    def slow(question):
        service.closing.wait(0.3)
        return answer(bound=question.bound)

    with Liar(slow) as service:
        helper.configure(f"http://127.0.0.1:{service.port}")
        status, out, seconds = run(helper)
    assert (status, out) == (0, b"alice@h1\n")
    assert seconds >= 0.3
