"""A real sshd, the installed helper and the daemon, while the service or the daemon fails in each way.

Nobody is let in who should not be, the helper's deadline ends a wait and not sshd's, and syslog says why.
"""

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.host.liar import answer
from tests.host.namespaces import syslog
from tests.host.sshd import Authority
from tests.host.test_faults import LIES, SILENT, true_answer
from tests.host.test_tls import _context, pki  # noqa: F401 - a fixture
from tests.hostd.conftest import Host, Service, directory_for_all, until
from tests.hostd.sandbox import HELPER_UID, LoggedSshd, furnished, need_root
from tests.hostd.test_quick import LIES as DAEMON_LIES
from tests.hostd.test_quick import daemon_that_says
from tests.patient import FOR_A_CROWD, LONGEST

pytestmark = pytest.mark.skipif(need_root(), reason="the helper's account exists in a namespace of root's")

DEADLINE = "1.5"  # seconds: the helper's, where somebody is silent
NO = answer(b'{"code":"certificate_revoked"}', status="403 Forbidden", kind="application/problem+json")

LOGINS_IN_A_ROW = int(os.environ.get("TMS_CA_LOGINS_IN_A_ROW", "50"))  # `make test-all` takes 200


@pytest.fixture(scope="module")
def made_host(staged, made_certificate):
    with directory_for_all("sshd") as directory:
        host = Host(staged, directory, made_certificate, uid=HELPER_UID)
        yield host
        host.stop()


@pytest.fixture(scope="module")
def world(made_host, tmp_path_factory):
    """The service, the host, its sshd and its syslog; each test leaves them as it found them."""
    with Service(true_answer) as service, syslog(tmp_path_factory.mktemp("syslog")) as log:
        made_host.configure(f"http://127.0.0.1:{service.port}")
        with furnished(made_host, log) as place:
            place.service, place.log = service, log
            place.url = f"http://127.0.0.1:{service.port}"
            yield place


@pytest.fixture
def place(world):
    """The world with a daemon that runs; a login goes well before and after each test."""
    world.service.reply = true_answer
    world.host.configure(f"http://127.0.0.1:{world.service.port}")
    world.host.start(wrap=lambda command: world.log.wrap(*command))
    world.log.lines()
    assert world.login().stdout == "in\n", world.sshd.log[-3000:]
    world.service.questions.clear()
    world.log.lines()
    world.said = []
    yield world
    world.host.stop()
    world.service.reply = true_answer


@contextmanager
def impatiently(place, url):
    """Let daemon and helper ask this address and wait for no longer than DEADLINE for as long as the block lasts."""
    for seconds in (DEADLINE, LONGEST):
        place.host.configure(url, timeout_seconds=seconds)
        before = sum("read again" in line for line in place.said)
        place.host.processes[-1].send_signal(signal.SIGHUP)
        until(lambda before=before: sum("read again" in line for line in heard(place)) > before)
        if seconds == DEADLINE:
            yield


def heard(place):
    """Return all that syslog has been told in this test."""
    place.said += place.log.lines()
    return place.said


def refused(place, principals=(), says=None):
    """Try to log in; check that it is refused, not given up by sshd or ssh, and that syslog explains it."""
    place.log.lines()
    done = place.login(*principals)
    assert (done.returncode, done.stdout) == (255, ""), place.sshd.log[-3000:]
    assert "Timeout before authentication" not in place.sshd.log
    lines = [line.split(": ", 1)[1] for line in place.log.lines()]
    assert any(line.startswith(("failed", "refused")) and (says or "") in line for line in lines), lines
    return lines


def test_G_01_the_service_says_no(place):
    place.service.reply = lambda _: NO
    lines = refused(place, says="code=certificate_revoked")
    assert len(place.service.questions) == 1
    assert any("user=? client=?" in line or "user=- client=-" in line for line in lines)


def test_G_01_another_principal(place):
    """The twin of a yes: its principal is not this certificate's."""
    done = place.login("bob@h1")
    assert (done.returncode, done.stdout) == (255, "")
    assert place.login("bob@h1", "alice@h1").stdout == "in\n"


def test_options_of_an_answer_bind(place):
    place.service.reply = lambda q: answer(b'restrict,command="echo forced" alice@h1\n', bound=q.bound)
    assert place.login(command="echo in").stdout == "forced\n"
    place.service.reply = lambda q: answer(b'from="10.99.99.99" alice@h1\n', bound=q.bound)
    assert place.login().returncode == 255
    place.service.reply = lambda q: answer(b'from="127.0.0.1" alice@h1\n', bound=q.bound)
    assert place.login().stdout == "in\n"


@pytest.mark.parametrize("lie", ["garbage", "another account", "redirect", "server error", "options", "silence", "a byte at a time", "nothing", "star"])  # fmt: skip
def test_G_01_a_service_that_lies(place, lie):
    place.service.reply = LIES.get(lie, lambda q: answer(b'environment="A=b" alice@h1\n', bound=q.bound))
    with impatiently(place, place.url) if lie in SILENT else nullcontext():
        refused(place)
    place.service.reply = true_answer
    assert place.login().stdout == "in\n"


def test_G_10_a_service_that_is_down(place):
    place.service.__exit__()
    try:
        refused(place, says="connecting to 127.0.0.1")
    finally:
        place.service.open(place.service.port)
    assert place.login().stdout == "in\n"


def test_G_10_a_service_that_is_slow_but_in_time(place):
    """The twin of silence: lateness refuses, not waiting."""

    def slow(question):
        place.service.closing.wait(0.4)
        return true_answer(question)

    place.service.reply = slow
    assert place.login().stdout == "in\n"


def test_G_10_a_service_that_was_stopped(place, made_host):
    """A process of its own gets SIGSTOP: the kernel still takes connections for it."""
    code = """
    import socket, sys
    from tests.host.test_faults import true_answer
    from tests.hostd.conftest import Service
    with Service(true_answer) as service:
        print(service.port, flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            url = f"http://127.0.0.1:{int(process.stdout.readline())}"
            made_host.configure(url)
            made_host.stop()
            made_host.start(wrap=lambda words: place.log.wrap(*words))
            assert place.login().stdout == "in\n"
            with impatiently(place, url):
                process.send_signal(signal.SIGSTOP)
                refused(place, says="no answer in time")
                process.send_signal(signal.SIGCONT)
            assert place.login().stdout == "in\n"
        finally:
            process.kill()


def test_G_01_another_certificate_on_tls(place, pki, made_host):  # noqa: F811
    (made_host.directory / "ca.pem").write_bytes((pki / "ca.pem").read_bytes())
    for certificate in ("wrong", "good"):
        with Service(true_answer, _context(pki, certificate)) as secure:
            made_host.configure(
                f"https://127.0.0.1:{secure.port}",
                ca_file=str(made_host.directory / "ca.pem"),
            )
            made_host.stop()
            made_host.start(wrap=lambda words: place.log.wrap(*words))
            if certificate == "wrong":
                refused(place, says="certificate verify failed")
                assert secure.questions == []
            else:
                assert place.login().stdout == "in\n"


def test_the_daemon_is_killed(place):
    """The helper takes the whole way: who may get in does, and nobody else."""
    place.host.processes[-1].kill()
    until(lambda: not place.host.listens())
    assert place.login().stdout == "in\n"
    assert len(place.service.questions) == 2
    place.service.reply = lambda _: NO
    refused(place, says="code=certificate_revoked")


def test_G_10_the_daemon_is_killed_and_the_service_is_down(place):
    place.host.processes[-1].kill()
    until(lambda: not place.host.listens())
    place.service.__exit__()
    try:
        refused(place, says="connecting to 127.0.0.1")
    finally:
        place.service.open(place.service.port)


def test_G_02_the_daemon_stands_still(place):
    with impatiently(place, place.url):
        place.host.processes[-1].send_signal(signal.SIGSTOP)
        try:
            refused(place, says="timed out")
        finally:
            place.host.processes[-1].send_signal(signal.SIGCONT)
    assert place.login().stdout == "in\n"


@pytest.mark.parametrize("lie", ["garbage", "a star", "more lines", "http", "failed"])
def test_G_01_something_else_on_the_daemon_s_socket(place, lie):
    place.host.stop()
    with daemon_that_says(place.host, DAEMON_LIES[lie]):
        refused(place, says="reason=tms-hostd: ")
    assert place.service.questions == []


def test_G_10_a_remembered_yes_while_the_service_is_away(place):
    """Only for the same certificate and account, and only where the configuration says so."""
    place.host.stop()
    place.host.configure(f"http://127.0.0.1:{place.service.port}", when_away="cached 5")
    place.host.start(wrap=lambda words: place.log.wrap(*words))
    assert place.login().stdout == "in\n"
    place.service.__exit__()
    try:
        place.log.lines()
        assert place.login().stdout == "in\n"
        assert any("from=memory age=" in line for line in place.log.lines())
        refused(place, ("never-seen", "alice@h1"))
    finally:
        place.service.open(place.service.port)
    place.service.reply = lambda _: NO
    refused(place, says="certificate_revoked")
    place.service.reply = lambda _: b""
    refused(place)


def test_G_10_a_way_that_asks_nobody_is_open_while_the_service_is_away(place):
    """The lines of docs/hosts.md: keys of root's for one account, also where the KRL has become one that refuses all."""
    where = place.host.directory / "rescue"
    where.mkdir()
    rescue = Authority(where, "rescue_ca")
    plain, certified = rescue.issue("plain", "nobody"), rescue.issue("certified", "rescue")
    stranger = rescue.issue("stranger", "alice@h1")
    keys = where / "rescue_keys"
    keys.write_text(f'{Path(f"{plain[0]}.pub").read_text()}cert-authority,principals="rescue" {rescue.lines}')
    keys.chmod(0o644)  # sshd reads it as that account, and wants it in a directory of root's
    (where / "rescue_krl").touch()
    (where / "stale_krl").write_text("stale\n")
    match = ["Match User rescue", "RevokedKeys /run/tms/rescue_krl", "AuthorizedKeysFile /run/tms/rescue_keys"]
    extra = "\n".join([place.sshd.extra, *match, ""])
    place.service.__exit__()
    try:
        refused(place)
        copies = (keys, where / "rescue_krl")
        sshd = LoggedSshd(
            where / "sshd", place.authority.lines, accounts=("alice", "rescue"), extra=extra, copies=copies,
            revoked_keys=where / "stale_krl",
        )  # fmt: skip
        with sshd:

            def login(key, certificate, account):
                return sshd.ssh(key, certificate, "echo in", account=account).stdout

            assert login(plain[0], None, "rescue") == "in\n", sshd.log[-3000:]
            assert login(*certified, "rescue") == "in\n", sshd.log[-3000:]
            # The twins: another account, another principal, and a certificate that must be asked about.
            assert login(plain[0], None, "alice") == ""
            assert login(*certified, "alice") == ""
            assert login(*stranger, "rescue") == ""
            assert login(*place.made["alice@h1",], "rescue") == ""
    finally:
        place.service.open(place.service.port)


@pytest.fixture
def patient(place):
    """The place with a deadline for a crowd on a busy machine."""
    place.host.configure(f"http://127.0.0.1:{place.service.port}", timeout_seconds=FOR_A_CROWD)
    place.host.stop()
    place.host.start(wrap=lambda words: place.log.wrap(*words))
    return place


def test_two_logins_in_parallel(patient):
    place = patient
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: place.login(), range(2)))
    assert [one.stdout for one in done] == ["in\n"] * 2
    assert len(place.service.questions) == 4


def test_many_logins_in_a_row(patient):
    """In two rows, because the machine has two cores; one that failed would be the daemon's or the helper's doing."""

    place, half = patient, LOGINS_IN_A_ROW // 2

    def row(_):
        return [number for number in range(half) if place.login().stdout != "in\n"]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(row, range(2))) == [[], []]
    assert len(place.service.questions) == 4 * half
    assert place.host.status()["service_failures"] == 0


def test_G_02_sixty_logins_at_once(patient):
    """MaxStartups is 300; the service is asked live for each of them, twice."""
    place = patient
    with ThreadPoolExecutor(60) as pool:
        done = list(pool.map(lambda _: place.login(), range(60)))
    assert [one.stdout for one in done] == ["in\n"] * 60, [one.stderr for one in done]
    assert len(place.service.questions) == 120
