"""Sessions that the service wants ended, and traps around the hook, under a real sshd."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.hostd.session_host import DAEMON_UID
from tests.hostd.session_service import refusal, scripted
from tests.hostd.test_session_pam import Place, wait_for
from tests.hostd.test_session_wrapper import furnished

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="PAM and namespaces need root")
WARNING_SECONDS = 6
SENTENCE = "This session ends now: it was revoked"


@pytest.fixture(scope="module", params=["pam", "wrapper"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with scripted() as service, furnished(service, mode=request.param) as place:
        yield place


@pytest.fixture(autouse=True)
def anew(request: pytest.FixtureRequest) -> None:
    if "place" in request.fixturenames:
        request.getfixturevalue("place").service.forget()


@contextmanager
def session(place: Place, *command: str, flags: tuple[str, ...] = ()) -> Iterator["subprocess.Popen[str]"]:
    """Open a session and wait until the service was told of it."""
    before = len(place.service.opened)
    started = subprocess.Popen(
        place.host.ssh_command(*place.alice, *command, flags=flags),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        wait_for(lambda: len(place.service.opened) > before)
        yield started
    finally:
        started.kill()
        started.communicate()


def now(place: Place) -> None:
    """Have the daemon report at once."""
    place.host.signal_daemon(signal.SIGHUP)


def ending(login_id: str, seconds: int) -> list[dict]:
    return [{"login_id": login_id, "reason": "certificate_revoked", "message": SENTENCE, "after_seconds": seconds}]


def test_a_session_ends_and_says_so(place):
    with session(place, "echo in; exec sleep 300", flags=("-tt",)) as doomed, session(place, "exec sleep 300") as other:
        name = place.service.opened[0]["login_id"]
        place.service.end = ending(name, 1)
        now(place)
        text = doomed.communicate(timeout=120)[0]
        assert SENTENCE in text
        wait_for(lambda: dict(place.service.ended).get(name, {}).get("reason") == "ended")
        assert other.poll() is None
    left = place.service.opened[1]["login_id"]
    wait_for(lambda: left in dict(place.service.ended))
    assert dict(place.service.ended)[left]["reason"] == "closed"


def test_an_end_can_be_taken_back_while_the_warning_runs(place):
    with session(place, "exec sleep 300") as doomed:
        place.service.end = ending(place.service.opened[0]["login_id"], WARNING_SECONDS)
        before = place.host.daemon_log.count("need not end any more")
        now(place)
        wait_for(lambda: "ending account=alice login=" + place.service.opened[0]["login_id"] in place.host.daemon_log)
        place.service.end = []
        now(place)
        wait_for(lambda: place.host.daemon_log.count("need not end any more") > before)
        time.sleep(WARNING_SECONDS + 1)
        assert doomed.poll() is None


def test_a_terminal_that_is_stopped_or_closed_to_messages_holds_up_nothing(place):
    with session(place, "stty ixon; mesg n; echo in; exec sleep 300", flags=("-tt",)) as doomed:
        assert "in" in doomed.stdout.readline()
        doomed.stdin.write("\x13")  # ^S
        doomed.stdin.flush()
        name = place.service.opened[0]["login_id"]
        place.service.end = ending(name, 0)
        now(place)
        wait_for(lambda: dict(place.service.ended).get(name, {}).get("reason") == "ended")


def test_a_session_that_its_user_has_stopped_ends_all_the_same(place):
    """SIGSTOP to one's own sshd keeps it from SIGHUP and SIGTERM."""
    command = "echo in; p=$PPID; while [ \"$(cat /proc/$p/comm)\" != sshd ]; do p=$(awk '{print $4}' /proc/$p/stat); done; kill -STOP $p"
    with session(place, command):
        name = place.service.opened[0]["login_id"]
        wait_for(
            lambda: any(
                line.split()[0] == "T" for line in place.host.run("ps", "-eo", "s,comm").splitlines() if "sshd" in line
            )
        )
        place.service.end = ending(name, 0)
        now(place)
        wait_for(lambda: dict(place.service.ended).get(name, {}).get("reason") == "ended")
        wait_for(lambda: "sshd: alice@" not in place.host.run("ps", "-eo", "args"))


def test_what_stands_before_the_hook_in_pam_can_lie_to_it():
    """Debian reads ~/.pam_environment by pam_env: behind it, the user says what SSH_AUTH_INFO_0 is."""
    lie = 'echo "SSH_AUTH_INFO_0 DEFAULT=password" >/run/home/alice/.pam_environment; chown alice /run/home/alice/.pam_environment'
    trap = "session required pam_env.so user_readenv=1"
    for before, after, opened in (((), (trap,), ""), ((trap,), (), "in\n")):
        with (
            scripted() as service,
            furnished(service, mode="pam", pam_lines=before, pam_lines_after=after) as place,
        ):
            service.verdict = refusal()
            place.host.run("sh", "-c", lie)
            assert place.host.ssh(*place.alice, "echo in").stdout == opened, (before, place.host.daemon_log)


def test_two_certificates_of_our_ca_in_one_login_are_a_doubt():
    lines = ("AuthenticationMethods publickey,publickey",)
    with scripted() as service, furnished(service, mode="pam", sshd_lines=lines) as place:
        second = place.authority.issue("third", "alice@h1", serial=9)
        options = (f"IdentityFile={second[0]}", f"CertificateFile={second[1]}")
        done = place.host.ssh(*place.alice, "echo in", options=options)
        assert (done.stdout, service.opened) == ("", [])
        assert "PAM: pam_open_session()" in place.host.log


def test_a_proc_that_hides_processes_refuses_unless_the_daemon_may_see_them():
    with scripted() as service, furnished(service, mode="pam") as place:
        assert place.host.ssh(*place.alice, "echo in").stdout == "in\n"
        for options, opened in (("hidepid=2", ""), (f"hidepid=2,gid={DAEMON_UID}", "in\n")):
            place.host.run("mount", "-o", f"remount,{options}", "/proc")
            assert place.host.ssh(*place.alice, "echo in").stdout == opened, options


def test_exec_before_the_wrapper_keeps_the_signal_that_ended_a_command():
    with scripted() as service, furnished(service, before="exec ") as place:
        assert place.host.ssh(*place.alice, "kill -9 $$").returncode == 255
        assert place.host.ssh(*place.alice, "exit 7").returncode == 7


def test_a_disk_that_takes_nothing_refuses_nobody_and_is_tried_again():
    with scripted() as service, furnished(service, mode="pam") as place:
        place.host.run(
            "sh",
            "-c",
            f"chown 0 {place.host.state}/spool/sessions/open; chmod 700 {place.host.state}/spool/sessions/open",
        )
        kept = place.host.state / "spool/sessions/open"
        with session(place, "exec sleep 300"):
            wait_for(lambda: "would forget login=" in place.host.daemon_log)
            assert list(kept.iterdir()) == []
            os.chown(kept, DAEMON_UID, DAEMON_UID)
            wait_for(lambda: [path.name for path in kept.iterdir()] == [service.opened[0]["login_id"]])
        wait_for(lambda: service.ended)
        wait_for(lambda: list(kept.iterdir()) == [])
