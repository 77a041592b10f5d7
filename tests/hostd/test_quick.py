"""tms-principals as it is installed: through the daemon, through one that lies, and without one over HTTPS."""

import ast
import fcntl
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.host.liar import answer
from tests.host.namespaces import syslog
from tests.host.test_arguments import HOSTILE_ACCOUNTS
from tests.host.test_faults import true_answer
from tests.host.test_pythons import VERSIONS, _python
from tests.hostd.conftest import PYTHON, until
from tests.patient import LONGEST

SECONDS = 1.0
NO = b'{"code":"certificate_revoked"}'
YES = b"yes 1\nalice@h1\n"


@contextmanager
def daemon_that_says(host, said):
    """Listen on ask.sock and answer each line with `said`: bytes, or a function of the connection."""
    listener = socket.socket(socket.AF_UNIX)
    with suppress(FileNotFoundError):
        host.ask_socket.unlink()
    listener.bind(str(host.ask_socket))
    host.ask_socket.chmod(0o666)  # the helper may be another user
    listener.listen(100)
    asked = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(60)
                line = b""
                while not line.endswith(b"\n"):
                    line += connection.recv(65536) or b"\n"
                asked.append(line)
                if callable(said):
                    said(connection)
                else:
                    connection.sendall(said)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(60)
        host.ask_socket.unlink()


def test_a_yes_and_a_no_through_the_daemon(host, service, url):
    host.configure(url)
    host.start()
    ran = host.ask()
    assert (ran.status, ran.out, len(service.questions)) == (0, b"alice@h1\n", 1)
    service.reply = lambda _: answer(NO, status="403 Forbidden", kind="application/problem+json")
    ran = host.ask()
    assert (ran.status, ran.out, len(service.questions)) == (0, b"", 2)


def test_a_failure_of_the_daemon_is_one(host, service, url):
    """It has tried everything already: the helper does not ask the service once more."""
    host.configure(url)
    host.start()
    service.reply = lambda _: b"garbage"
    ran = host.ask()
    assert (ran.status, ran.out, len(service.questions)) == (1, b"", 1)


@pytest.mark.parametrize("version", VERSIONS)
def test_G_04_every_python_says_yes_and_no_both_ways(host, service, url, version):
    python = _python(version)
    host.configure(url)
    for start in (lambda: None, host.start):
        start()
        service.reply = true_answer
        ran = host.ask(python=python)
        assert (ran.status, ran.out) == (0, b"alice@h1\n")
        service.reply = lambda q: answer(b'restrict,command="id" alice@h1\n', bound=q.bound)
        ran = host.ask(python=python)
        assert (ran.status, ran.out) == (0, b'restrict,command="id" alice@h1\n')
        service.reply = lambda q: answer(b'environment="A=b" alice@h1\n', bound=q.bound)
        ran = host.ask(python=python)
        assert (ran.status, ran.out) == (1, b"")


TRUTHS = {
    "one": YES,
    "two": b"yes 2\nalice@h1\nbob\n",
    "options": b'yes 1\nrestrict,from="10.0.0.0/8" alice@h1\n',
    "256": b"yes 256\n" + b"alice@h1\n" * 256,
}
LIES = {
    "nothing more": b"yes\n", "no lines": b"yes 0\n", "fewer lines": b"yes 2\nalice@h1\n", "more lines": b"yes 1\nalice@h1\nroot\n",
    "cut": b"yes 1\nalice@h1", "cut in the middle": b"yes 2\nalice@h1\n", "a blank line": b"yes 1\n\n", "an empty answer's line": b"\n",
    "257 lines": b"yes 257\n" + b"alice@h1\n" * 257, "a megabyte": b"yes 1\n" + b"a" * 1_000_000 + b"\n",
    "a comment": b"yes 1\nalice@h1#\n", "a star": b"yes 1\n*\n", "a comma": b"yes 1\nalice@h1,root\n", "a tab": b"yes 1\nalice\t@h1\n",
    "a carriage return": b"yes 1\r\nalice@h1\r\n", "nul": b"yes 1\nalice@h1\0\n", "not ascii": b"yes 1\n\xe4lice@h1\n",
    "another option": b"yes 1\ncert-authority alice@h1\n", "options out of order": b'yes 1\ncommand="id",restrict alice@h1\n',
    "a signed count": b"yes +1\nalice@h1\n", "a padded count": b"yes 01\nalice@h1\n", "a blank count": b"yes  1\nalice@h1\n",
    "another word": b"maybe 1\nalice@h1\n", "a yes in capitals": b"YES 1\nalice@h1\n", "json": b'{"principals":["alice@h1"]}\n',
    "http": b"HTTP/1.1 200 OK\r\n\r\nalice@h1\n", "only a line": b"alice@h1\n", "a no with lines": b"no expired\nalice@h1\n", "a bare no": b"no\n",
    "failed": b"failed whatever\n", "failed and lines": b"failed 1\nalice@h1\n", "garbage": bytes(range(256)) * 10,
}  # fmt: skip


@pytest.mark.parametrize("truth", TRUTHS)
def test_what_the_daemon_says_is_printed(host, url, truth):
    host.configure(url)
    with daemon_that_says(host, TRUTHS[truth]) as asked:
        ran = host.ask()
    assert (ran.status, ran.out) == (0, TRUTHS[truth].partition(b"\n")[2])
    assert asked == [host.question()]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.replace(" ", "-"))
def test_G_01_a_daemon_that_lies_lets_nobody_in(host, service, url, lie):
    host.configure(url)
    with daemon_that_says(host, LIES[lie]) as asked:
        ran = host.ask()
    assert (ran.status, ran.out, len(asked)) == (1, b"", 1)
    assert service.questions == [], "a lie is not a reason to ask elsewhere"


def _drip(connection):
    for at in range(len(YES)):
        connection.sendall(YES[at : at + 1])
        time.sleep(0.3)


def _late(connection, said=b""):
    """Say the rest of a yes after three seconds, when nobody may wait for it any more."""
    connection.sendall(said)
    if not select.select([connection], [], [], 3)[0]:
        connection.sendall(YES[len(said) :])


@pytest.mark.parametrize("way", [_late, _drip, lambda c: _late(c, YES)], ids=["silence", "drip", "open"])
def test_G_02_a_daemon_that_keeps_it_waiting(impatient, url, way):
    host = impatient
    host.configure(url, timeout_seconds=str(SECONDS))
    with daemon_that_says(host, way):
        ran = host.ask()
    assert (ran.status != 0, ran.out) == (True, b"")


def test_G_02_a_yes_that_comes_too_late_is_not_taken(host, url):
    """Where the kernel ends nobody, either; the twin comes in time."""
    for seconds, printed in ((str(SECONDS), b""), (LONGEST, b"alice@h1\n")):
        host.configure(url, timeout_seconds=seconds)
        with daemon_that_says(host, _late):
            assert host.ask().out == printed


def test_G_02_a_daemon_that_stands_still(host, url):
    host.configure(url, timeout_seconds=str(SECONDS))
    process = host.start()
    process.send_signal(signal.SIGSTOP)
    ran = host.ask()
    assert (ran.status, ran.out) == (1, b"")
    assert ran.seconds >= SECONDS
    process.send_signal(signal.SIGCONT)
    host.configure(url)
    assert host.ask().out == b"alice@h1\n"


def test_no_daemon_the_whole_way(host, service, url):
    host.configure(url)
    for prepare in (lambda: None, lambda: _leave_a_socket(host), lambda: (host.directory / "run").rmdir()):
        prepare()
        service.questions.clear()
        ran = host.ask()
        assert (ran.status, ran.out, len(service.questions)) == (0, b"alice@h1\n", 1)
        host.configure(url)
        with suppress(FileNotFoundError):
            host.ask_socket.unlink()


def _leave_a_socket(host):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(host.ask_socket))


def test_a_daemon_that_ends_before_it_answers_the_whole_way(host, service, url):
    """As when it is started anew in that moment."""
    host.configure(url)
    with daemon_that_says(host, b"") as asked:
        ran = host.ask()
    assert (ran.status, ran.out, len(asked), len(service.questions)) == (0, b"alice@h1\n", 1, 1)


def test_no_daemon_and_no_service(host, service, url):
    host.configure(url)
    service.__exit__()
    ran = host.ask()
    service.open(service.port)
    assert (ran.status, ran.out) == (1, b"")
    assert host.ask().out == b"alice@h1\n"


def test_G_02_both_ways_share_one_deadline(host, service, url):
    """A daemon that takes its time and ends, and then a service that tells the truth too late, but within the time."""

    def late(connection):
        time.sleep(SECONDS * 0.7)
        connection.close()

    def later(question):
        service.closing.wait(SECONDS * 0.7)
        return true_answer(question)

    service.reply = later
    host.configure(url, timeout_seconds=str(SECONDS))
    with daemon_that_says(host, late):
        ran = host.ask()
    assert (ran.status, ran.out) == (1, b"")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_G_04_somebody_else_s_socket_is_not_believed(host, service, url):
    """A run_dir that another user could write: who listens there is neither root nor the helper's user."""
    host.configure(url)
    os.chown(host.directory / "run", 12345, 12345)
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(5); print('up', flush=True);"
        " c, _ = s.accept(); c.recv(9999); c.sendall(b'yes 1\\nalice@h1\\n'); c.close()"
    )
    command = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", PYTHON, "-I", "-c", code, host.ask_socket]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as stranger:
        stranger.stdout.readline()
        ran = host.ask()
        stranger.kill()
    assert (ran.status, ran.out, service.questions) == (1, b"", [])
    host.ask_socket.unlink()
    with daemon_that_says(host, YES):
        assert host.ask().out == b"alice@h1\n"


@pytest.mark.parametrize("account", HOSTILE_ACCOUNTS)
def test_G_04_a_hostile_account_is_never_sent(host, service, url, account):
    host.configure(url)
    host.start()
    ran = host.ask(account)
    assert (ran.status, ran.out) == (1, b"")
    assert service.questions == []


def test_G_04_the_environment_does_not_matter(host, service, url, tmp_path):
    (tmp_path / "keycmd").mkdir()
    (tmp_path / "keycmd" / "__init__.py").write_text("raise SystemExit(0)")
    hostile = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONHOME": str(tmp_path),
        "http_proxy": "http://127.0.0.1:1",
        "LANG": "tr_TR.UTF-8",
    }
    host.configure(url)
    for start in (lambda: None, host.start):
        start()
        ran = host.ask(environment=hostile)
        assert (ran.status, ran.out) == (0, b"alice@h1\n")


BAD_FILES = {
    "others can write it": lambda path: path.chmod(0o666),
    "a group can write it": lambda path: path.chmod(0o664),
    "a bad time": lambda path: path.write_text(
        path.read_text().replace("timeout_seconds = 30", "timeout_seconds = soon")
    ),
    "no time": lambda path: path.write_text(path.read_text().replace("timeout_seconds = 30", "timeout_seconds = 0")),
    "not there": lambda path: path.unlink(),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path, 0o644)),
    "too long": lambda path: path.write_text(path.read_text() + "#" * 20_000),
}


@pytest.mark.parametrize("bad", BAD_FILES)
def test_G_04_a_configuration_that_is_not_good_lets_nobody_in(host, service, url, bad):
    host.configure(url)
    host.start()
    assert host.ask().out == b"alice@h1\n"
    service.questions.clear()
    BAD_FILES[bad](host.config)
    ran = host.ask()
    assert (ran.status, ran.out, service.questions) == (1, b"", [])


@pytest.mark.parametrize("output", ["full", "closed", "small"])
def test_an_output_that_is_not_taken_is_a_failure(host, url, output):
    host.configure(url)
    lines = b"".join(b"%0100d@h1\n" % n for n in range(256))
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    with daemon_that_says(host, b"yes 256\n" + lines), open("/dev/full", "wb") as full:
        command = host.arguments()
        if output == "closed":
            command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
        done = subprocess.run(command, stdout=full if output == "full" else writing, check=False, timeout=120)
    os.close(writing)
    os.close(reading)
    assert done.returncode == 1


@pytest.mark.parametrize(
    "arguments", [[], ["alice"], ["alice", "t"], ["alice", "t", "b", "more"], ["--config"], ["", "", ""]]
)
def test_wrong_arguments_are_refused(host, url, arguments):
    host.configure(url)
    host.start()
    command = [PYTHON, "-ISE", host.prefix / "libexec/tms/tms-principals", "--config", host.config, *arguments]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


@pytest.mark.parametrize(
    ("said", "reason"),
    [(b"failed no answer in time\n", "no answer in time"), (b"yes 1\n*\n", "the daemon's answer holds a line that may not be printed"),
     (lambda c: c.recv(1), "timed out")],
)  # fmt: skip
def test_a_failure_is_explained_in_syslog(host, url, tmp_path, said, reason):
    host.configure(url, timeout_seconds=str(SECONDS) if callable(said) else LONGEST)
    with syslog(tmp_path) as log, daemon_that_says(host, said):
        ran = host.ask(wrap=lambda command: log.wrap(*command))
        (line,) = log.lines()
    assert (ran.status, ran.out) == (1, b"")
    assert re.search(rf"<83>.* tms-principals\[\d+\]: failed account=alice reason=tms-hostd: {reason}$", line)


def test_the_whole_way_is_logged_by_the_helper(host, url, tmp_path):
    host.configure(url)
    with syslog(tmp_path) as log:
        assert host.ask(wrap=lambda command: log.wrap(*command)).status == 0
        (line,) = log.lines()
    assert re.search(
        r" tms-principals\[\d+\]: allowed host=h1 account=alice .* serial=7 .* user=alice client=portal ", line
    )


def test_the_quick_way_imports_next_to_nothing(host, url):
    """Every login waits for it: no os, no socket, no re."""
    host.configure(url)
    host.start()
    command = [PYTHON, "-X", "importtime", *host.arguments()[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "alice@h1\n"
    bare = subprocess.run(
        [PYTHON, "-X", "importtime", "-ISE", "-c", ""], capture_output=True, text=True, check=True, timeout=120
    )

    def names(text):
        return {line.rpartition("|")[2].strip() for line in text.splitlines()}

    assert names(done.stderr) - names(bare.stderr) <= {"_socket", "keycmd", "keycmd.quick", "posix", "time"}


def test_G_04_the_standard_library_alone_and_no_shell(staged):
    """What the helper is made of imports its own, or the interpreter's, and none of it starts a program."""
    library = staged / "lib/tms-host"
    names = [
        "keycmd/quick.py",
        "keycmd/lines.py",
        "keycmd/config.py",
        "keycmd/service.py",
        "keycmd/unverified.py",
        "principals_cmd/main.py",
    ]
    sources = {name: (library / name).read_text() for name in names}
    imported = set()
    for source in sources.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition(".")[0])
    assert imported - {"keycmd", "principals_cmd"} <= set(sys.stdlib_module_names)
    assert not imported & {"subprocess", "pty", "urllib", "http", "json", "logging", "argparse", "re", "configparser"}
    for word in ("os.system", "popen", "eval(", "exec(", "getenv", "environ["):
        assert not any(word in source for source in sources.values()), word


def test_G_04_no_state_is_needed_or_left(host, service, url):
    """Not one file is written: not even bytecode, although root may write there."""
    host.configure(url)
    for path in (host.prefix / "lib").rglob("*.pyc"):
        path.unlink()

    def tree():
        return {
            path: path.stat().st_mtime_ns
            for place in (host.directory, host.prefix)
            for path in sorted(Path(place).rglob("*.p*"))
        }

    before = tree()
    assert host.ask().out == b"alice@h1\n"
    assert tree() == before
    subprocess.run([PYTHON, "-I", "-m", "compileall", "-q", host.prefix / "lib/tms-host"], check=True)
    host.start()
    until(lambda: host.ask().out == b"alice@h1\n")
