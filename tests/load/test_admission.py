"""What is let in when more is asked than can be answered."""

from dataclasses import dataclass

import pytest

from tests.load.storm import Probe, asks, cpu_seconds, press, recovery
from tms_ca.http import admission as admissions
from tms_ca.http.admission import MOST_FOR_COMMIT, Admission
from tms_ca.http.glance import endpoint_of
from tms_ca.store.hot import GroupCommit


@dataclass
class Seconds:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Commits:
    """As long a queue as a test says, of a GroupCommit's shape."""

    entries: int = 0
    waiting: int = 0


def burst(admission: Admission, clock: Seconds, number: int, each: float) -> None:
    admission.came(number)
    for _ in range(number):
        admission.begun()
        clock.now += each


def test_H_11_nobody_is_refused_while_nobody_waits():
    admission = Admission(None, Seconds())
    assert [admission.admit(name) for name in ("issue_certificate", "check_login", "other")] == [None] * 3
    assert admission.waiting < admission.gate


@pytest.mark.parametrize(("each", "others", "checks"), [(100e-6, 250, 500), (250e-6, 100, 200)])
def test_H_11_as_many_wait_as_can_begin_in_time_and_logins_go_first(each, others, checks):
    clock = Seconds()
    admission = Admission(None, clock)
    for _ in range(40):
        burst(admission, clock, 50, each)
        clock.now += 1  # a pause between two bursts is nobody's time
    admission.came(int(others * 1.1))
    assert admission.waiting >= admission.gate
    assert admission.admit("issue_certificate") == 1.0
    assert admission.admit("check_login") is None
    assert admission.admit("readyz") is None
    admission.came(int(checks * 1.1) - int(others * 1.1))
    assert admission.admit("check_login") == 1.0
    assert admission.admit("readyz") is None
    admission.lost(int(checks * 1.1) - int(others * 0.8))
    assert admission.admit("issue_certificate") is None  # the twin


def test_H_11_one_long_pause_does_not_close_the_door():
    clock = Seconds()
    admission = Admission(None, clock)
    admission.came(2)
    admission.begun()
    clock.now += 30
    admission.begun()
    admission.came(50)
    assert admission.admit("issue_certificate") is None


def test_H_11_what_was_slow_is_forgotten_when_nobody_waits():
    clock = Seconds()
    admission = Admission(None, clock)
    for _ in range(20):
        burst(admission, clock, 50, 0.01)
    admission.tick()
    assert admission.gate < 25
    for _ in range(40):
        clock.now += 0.05
        admission.tick()
    assert admission.gate > 50


def test_H_11_a_disk_that_stands_still_refuses_certificates_and_no_logins():
    clock, commits = Seconds(), Commits()
    admission = Admission(commits, clock)
    commits.waiting = 5
    for _ in range(39):
        clock.now += 0.05
        admission.tick()
    assert admission.admit("issue_certificate") is None
    for _ in range(5):
        clock.now += 0.05
        admission.tick()
    assert admission.admit("issue_certificate") == 1.0
    assert admission.waiting >= admission.gate  # so everybody is asked
    assert admission.admit("check_login") is None
    commits.entries, commits.waiting = 5, 0
    clock.now += 0.05
    admission.tick()
    assert admission.admit("issue_certificate") is None


def test_H_11_certificates_are_refused_while_as_many_wait_for_their_commit_as_may():
    clock, commits = Seconds(), Commits(waiting=MOST_FOR_COMMIT - 1)
    admission = Admission(commits, clock)
    admission.took(100e-6)
    assert admission.admit("issue_certificate") is None
    assert admission.waiting < admission.gate - 1
    commits.waiting += 1
    admission.took(100e-6)  # at once, not with the next tick: until then thousands could come
    assert admission.gate == 0
    assert admission.admit("issue_certificate") == 1.0
    assert admission.admit("check_login") is None
    commits.waiting -= 1
    assert admission.admit("issue_certificate") is None  # at once, too: the queue must not run dry
    admission.tick()
    assert admission.gate > 0


def test_H_11_there_is_time_for_so_many_refusals_and_again_after_the_next_tick():
    clock = Seconds()
    admission = Admission(None, clock)
    for _ in range(2):
        clock.now += 0.05
        admission.tick()
        in_time = 0
        while admission.refused(10e-6):
            in_time += 1
        assert admissions.REFUSING_SHARE * 0.05 / 30e-6 < in_time < admissions.REFUSING_SHARE * 0.05 / 10e-6
        assert not admission.refused(0.0)


def test_the_real_group_commit_has_what_is_looked_at(tmp_path):
    commits = GroupCommit(None, None, None)
    assert (commits.entries, commits.waiting) == (0, 0)
    Admission(commits).tick()


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"POST /api/v1/tenants/default/certificates HTTP/1.1\r\n", "issue_certificate"),
        (b"POST /api/v1/tenants/default/hosts/h1/principals HTTP/1.1\r\n", "check_login"),
        (b"POST /api/v1/tenants/default/hosts/h1/principals?x=/certificates HTTP/1.1\r\n", "check_login"),
        (b"GET /readyz?verbose HTTP/1.1\r\n", "readyz"),
        (b"POST /readyz HTTP/1.1\r\n", "other"),
        (b"GET /api/v1/tenants/default/certificates HTTP/1.1\r\n", "other"),
        (b"", "other"),
    ],
)
def test_the_first_line_says_what_is_asked(line, name):
    assert endpoint_of(line) == name


def test_H_11_a_thousand_who_do_not_wait_are_refused_politely(own_process, tmp_path):
    """The short form; `make storms` measures."""
    _, check = asks(own_process, tmp_path)
    pid = own_process.process.pid
    spent = [cpu_seconds(pid)]
    peak = press(check, tmp_path, connections=32, seconds=2)
    spent.append(cpu_seconds(pid))
    assert (peak.refused, peak.lost) == (0, 0)
    probe, watcher = Probe(), []
    with probe.beside(check):
        storm = press(check, tmp_path, connections=1500, seconds=4)
        watcher.append(own_process.call("GET", "/readyz").status)
    spent.append(cpu_seconds(pid))
    assert storm.lost == 0
    assert storm.refused > 100
    # By the CPU time that the service had: what else the machine does is not its fault.
    assert storm.successes / (spent[2] - spent[1]) > peak.successes / (spent[1] - spent[0]) / 3
    assert set(probe.statuses) <= {200, 503}
    assert probe.retry_after <= {"1"}
    assert watcher == [200]
    assert recovery(check) <= 5
    own_process.stop()
    log = (own_process.data / "serve.log").read_text()
    assert '"code":"overloaded","shed":' in log
    assert log.count('"status":503') < storm.refused / 100
