"""Real logins: a real sshd with PAM, the installed tree, the real daemon and the real service."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.host.sshd import keygen
from tests.hostd.session_host import SessionHost
from tests.hostd.test_session_pam import wait_for
from tests.patient import FOR_A_CROWD
from tests.ssh.service import People, Service

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="PAM and namespaces need root")


@dataclass
class Site:
    """A service, a host that asks it, and alice."""

    service: Service
    people: People
    host: SessionHost
    directory: Path
    keys: int = 0

    def delegate(self, **constraints: Any) -> str:
        """Let alice's delegation be one with these constraints; those before it are revoked."""
        s = self.service
        if self.people.delegation:
            s.good("POST", f"delegations/{self.people.delegation}/revoke", self.people.session, {})
        wish = {"user": "alice", "host": "h1", "account": "alice", "lifetime_seconds": 86400, "purpose": "test"}
        asked = s.good("POST", "delegations", self.people.client, {**wish, "constraints": constraints})
        s.good("POST", f"delegations/{asked['id']}/approve", self.people.session, {})
        self.people.delegation = asked["id"]
        return asked["id"]

    def certified(self) -> tuple[tuple[Path, Path], dict[str, Any]]:
        """Make a key, have it certified; return key and certificate, and the service's answer."""
        self.keys += 1
        key = self.directory / f"id{self.keys}"
        keygen("-t", "ed25519", "-N", "", "-f", key)
        issued = self.people.issue(Path(f"{key}.pub").read_text().strip())
        assert issued.status == 201, issued
        certificate = Path(f"{key}-cert.pub")
        certificate.write_text(issued.json["certificate"] + "\n")
        return (key, certificate), issued.json

    def logins(self, serial: str) -> list[dict[str, Any]]:
        """Return the records of a certificate's logins, newest first."""
        items = self.service.good("GET", "logins?limit=100", self.service.operator)["items"]
        return [item for item in items if item["serial"] == serial]

    def tenant(self, **settings: Any) -> None:
        self.service.good("PATCH", "/api/v1/tenants/default", self.service.operator, settings)

    def set_host(self, **settings: str) -> None:
        self.host.configure(**settings)
        before = self.host.daemon_log.count("read again")
        self.host.signal_daemon(signal.SIGHUP)
        wait_for(lambda: self.host.daemon_log.count("read again") > before)

    def revoke(self, serial: str) -> None:
        self.service.good("POST", "revocations", self.service.operator, {"serial": serial, "reason": "test"})

    def session(self, pair: tuple[Path, Path], *command: str, flags: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
        """Open a session that stays; its first line has been read."""
        started = subprocess.Popen(
            self.host.ssh_command(*pair, *command, flags=flags),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert started.stdout is not None
        line = started.stdout.readline()
        assert "in" in line, (line, self.host.daemon_log[-2000:])
        return started


@contextmanager
def ended(*sessions: "subprocess.Popen[str]") -> Iterator[None]:
    """End what a test leaves open."""
    try:
        yield
    finally:
        for session in sessions:
            session.kill()
            session.communicate()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    directory = Path(tempfile.mkdtemp(prefix="tms-real-"))
    directory.chmod(0o755)
    service = Service(directory / "data")
    service.init()
    service.start()
    try:
        people = People(service, "alice")
        people.furnish()
        user_ca = service.call("GET", "ca/user.pub").body.decode()
        host_ca = service.call("GET", "ca/host.pub").body.decode()
        with SessionHost(
            directory / "host", service.url, people.host, user_ca, host_ca=host_ca, helper=True,
            settings={"poll_seconds": "5", "report_seconds": "5", "timeout_seconds": FOR_A_CROWD},
        ) as host:  # fmt: skip
            yield Site(service, people, host, directory)
    finally:
        service.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(autouse=True)
def as_it_was(site: Site) -> Iterator[None]:
    """Each test begins with a delegation without constraints, with the settings as they come and without a session."""
    site.delegate()
    yield
    site.tenant(on_revocation="leave")
    wait_for(lambda: not sessions_of_sshd(site.host))
    wait_for(lambda: list((site.host.state / "spool/sessions/open").iterdir()) == [])


def sessions_of_sshd(host: SessionHost) -> list[str]:
    """Return the processes of sshd's that hold a session of alice's, or are about to end it."""
    lines = host.run("ps", "-eo", "args").splitlines()
    return [line for line in lines if line.startswith(("sshd: alice", "sshd-session: alice"))]


def test_T1_12_max_uses_of_ten_and_sixty_logins_at_once_give_ten_shells(site):
    site.delegate(max_uses=10)
    pair, issued = site.certified()
    with ThreadPoolExecutor(60) as pool:
        done = list(pool.map(lambda _: site.host.ssh(*pair, "echo in; sleep 1"), range(60)))
    assert [one.stdout for one in done].count("in\n") == 10, [(one.returncode, one.stderr) for one in done]
    assert site.host.ssh(*pair, "echo in").stdout == ""
    assert "code=uses_exhausted" in site.host.daemon_log
    records = site.logins(issued["serial"])
    assert len(records) == 10
    assert sorted(record["uses_left"] for record in records) == list(range(10))
    # A report may name a session no more before its end is told: until then it is "lost".
    wait_for(lambda: {record["end_reason"] for record in site.logins(issued["serial"])} == {"closed"})
    site.delegate()
    assert site.host.ssh(*site.certified()[0], "echo in").stdout == "in\n"


def test_a_login_has_a_record_of_who_what_whence_and_until_when(site):
    pair, issued = site.certified()
    begun = time.time()
    assert site.host.ssh(*pair, "sleep 1.5; echo in").stdout == "in\n"
    # Not `ended_at`: a report that overtakes the word of the end has it closed as "lost" meanwhile.
    wait_for(lambda: site.logins(issued["serial"])[0]["end_reason"] == "closed")
    (record,) = site.logins(issued["serial"])
    wanted = {"user": "alice", "client_id": "portal", "host": "h1", "node": "n1", "account": "alice",
              "remote_address": "127.0.0.1", "end_reason": "closed", "late": False, "key_id": issued["key_id"],
              "delegation_id": site.people.delegation}  # fmt: skip
    assert {name: record[name] for name in wanted} == wanted
    assert record["ended_at"] > record["started_at"]
    assert abs(_seconds(record["started_at"]) - begun) < 60


def test_offers_and_failed_logins_count_nothing(site):
    delegation = site.delegate(max_uses=1)
    pair, issued = site.certified()
    keygen("-t", "ed25519", "-N", "", "-f", site.directory / "wrong")
    for _ in range(3):
        assert site.host.ssh(site.directory / "wrong", pair[1], "echo in").returncode == 255
        assert site.host.ssh(*pair, "echo in", account="bob").returncode == 255
    assert site.logins(issued["serial"]) == []
    assert site.service.good("GET", f"delegations/{delegation}", site.service.operator)["uses_left"] == 1
    assert site.host.ssh(*pair, "echo in").stdout == "in\n"
    assert site.host.ssh(*pair, "echo in").stdout == ""


def test_T1_11_a_revocation_warns_and_ends_its_session_and_no_other(site):
    site.delegate(extensions=["permit-pty"])
    site.tenant(on_revocation="end", warning_seconds=3)
    (revoked, serial), (other, _) = (site.certified(), site.certified())
    serial = serial["serial"]
    at_terminal = site.session(revoked, "echo in; exec sleep 300", flags=("-tt",))
    without = site.session(revoked, "echo in; trap 'echo hung up; exit 1' HUP; while :; do sleep 0.1; done")
    untouched = site.session(other, "echo in; read line; echo [$line]")
    with ended(at_terminal, without, untouched):
        wait_for(lambda: len(site.logins(serial)) == 2)
        assert site.host.run("pgrep", "-cf", "while :", check=False).strip() != "0"
        begun = time.monotonic()  # the daemon may have heard of it before we have the answer
        site.revoke(serial)
        seen = _read_all(at_terminal, 120)
        assert "*** This session ends in" in seen, (seen, site.host.daemon_log[-3000:])
        assert without.wait(120) != 0
        assert time.monotonic() - begun >= 2, "nobody had time to read the warning"
        wait_for(lambda: {record["end_reason"] for record in site.logins(serial)} == {"ended"})
        untouched.stdin.write("still here\n")
        untouched.stdin.flush()
        assert untouched.stdout.readline() == "[still here]\n"
        # What a command without a terminal had started is gone as well.
        wait_for(lambda: site.host.run("pgrep", "-cf", "hung up; exit", check=False).strip() == "0")


def test_T1_11_where_the_tenant_leaves_sessions_alone_they_go_on(site):
    pair, issued = site.certified()
    session = site.session(pair, "echo in; read line; echo [$line]")
    with ended(session):
        wait_for(lambda: site.logins(issued["serial"]))
        site.revoke(issued["serial"])
        assert site.host.ssh(*pair, "echo in").stdout == ""
        before = site.host.daemon_log.count("ending")
        for _ in range(2):
            site.set_host()  # reports at once
            time.sleep(1)
        assert site.host.daemon_log.count("ending") == before
        session.stdin.write("still here\n")
        session.stdin.flush()
        assert session.stdout.readline() == "[still here]\n"


def test_a_daemon_that_is_killed_takes_no_session_with_it_and_the_next_one_knows_them(site):
    pair, issued = site.certified()
    session = site.session(pair, "echo in; read line; echo [$line]")
    with ended(session):
        wait_for(lambda: site.logins(issued["serial"]))
        site.host.kill_daemon()
        assert site.host.ssh(*pair, "echo in").stdout == ""
        site.host.start_daemon()
        assert len(list((site.host.state / "spool/sessions/open").iterdir())) == 1
        session.stdin.write("still here\n")
        session.stdin.flush()
        assert session.stdout.readline() == "[still here]\n"
        session.wait(120)
    wait_for(lambda: site.logins(issued["serial"])[0]["end_reason"] == "closed")


def test_a_session_that_ends_while_no_daemon_runs_is_closed_by_the_next_one(site):
    pair, issued = site.certified()
    session = site.session(pair, "echo in; read line")
    with ended(session):
        wait_for(lambda: site.logins(issued["serial"]))
        site.host.kill_daemon()
    wait_for(lambda: not sessions_of_sshd(site.host))  # else the hook of a session that ends late finds a daemon
    site.host.start_daemon()
    wait_for(lambda: site.logins(issued["serial"])[0]["end_reason"] == "lost")
    wait_for(lambda: list((site.host.state / "spool/sessions/open").iterdir()) == [])


@pytest.mark.parametrize("gone", ["paused", "stopped"])
def test_when_the_service_is_away_closed_refuses(site, gone):
    pair, issued = site.certified()
    assert site.host.ssh(*pair, "echo in").stdout == "in\n"
    with {"paused": paused, "stopped": stopped}[gone](site):
        assert site.host.ssh(*pair, "echo in").stdout == ""
    assert site.host.ssh(*pair, "echo in").stdout == "in\n"
    assert not any(record["late"] for record in site.logins(issued["serial"]))


@pytest.mark.parametrize("gone", ["paused", "stopped"])
def test_when_the_service_is_away_cached_lets_in_whom_it_let_in_and_tells_later(site, gone):
    (known, issued), (fresh, _) = site.certified(), site.certified()
    site.set_host(when_away="cached 5")
    try:
        assert site.host.ssh(*known, "echo in").stdout == "in\n"
        wait_for(lambda: all(record["ended_at"] for record in site.logins(issued["serial"])))
        with {"paused": paused, "stopped": stopped}[gone](site):
            assert site.host.ssh(*known, "echo in").stdout == "in\n", site.host.daemon_log[-2000:]
            assert site.host.ssh(*fresh, "echo in").stdout == ""
        wait_for(lambda: len(site.logins(issued["serial"])) == 2)
        wait_for(lambda: site.logins(issued["serial"])[0]["end_reason"] == "closed")
        second = site.logins(issued["serial"])[0]
        assert second["remote_address"] == "127.0.0.1"
        # A service that was only paused still finds the question that nobody waits for any more.
        assert second["late"] or gone == "paused"
    finally:
        site.set_host(when_away="closed")


def test_uses_are_never_taken_from_memory(site):
    site.delegate(max_uses=5)
    pair, issued = site.certified()
    site.set_host(when_away="cached 5")
    try:
        assert site.host.ssh(*pair, "echo in").stdout == "in\n"
        with stopped(site):
            assert site.host.ssh(*pair, "echo in").stdout == ""
        assert site.host.ssh(*pair, "echo in").stdout == "in\n"
        assert len(site.logins(issued["serial"])) == 2
    finally:
        site.set_host(when_away="closed")


@pytest.mark.parametrize("mode", ["pam", "wrapper"])
def test_a_restriction_forces_its_command_under_pam_and_under_the_wrapper(site, mode):
    """Set after the certificate was issued; sshd ignores the helper's command= where it has a ForceCommand."""
    pair, _ = site.certified()
    user_ca = site.service.call("GET", "ca/user.pub").body.decode()
    settings = {"node": f"other-{mode}"}
    with SessionHost(
        site.directory / mode, site.service.url, site.people.host, user_ca, mode=mode, helper=True, settings=settings
    ) as host:
        assert host.ssh(*pair, "echo in").stdout == "in\n"
        path = f"delegations/{site.people.delegation}/restrictions"
        site.service.good("PATCH", path, site.people.session, {"force_command": "echo only $SSH_ORIGINAL_COMMAND"})
        assert host.ssh(*pair, "echo in").stdout == "only echo in\n"
        assert host.ssh(*pair).stdout == "only\n"


@contextmanager
def paused(site: Site) -> Iterator[None]:
    """Let the service take connections, and say nothing; the daemon waits for two seconds then, the helper for longer."""
    site.set_host(timeout_seconds="2")
    site.host.configure(timeout_seconds=FOR_A_CROWD)
    site.service.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        site.service.signal(signal.SIGCONT)
        site.set_host()


@contextmanager
def stopped(site: Site) -> Iterator[None]:
    """Let the service be gone; it comes back at another port."""
    site.service.stop()
    try:
        yield
    finally:
        site.service.start()
        site.host.url = site.service.url
        site.set_host()


def _read_all(session: "subprocess.Popen[str]", seconds: float) -> str:
    """Return all that a session still says until it ends."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(session.stdout.read).result(seconds)


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()
