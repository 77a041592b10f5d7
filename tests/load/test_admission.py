"""What is let in when more is asked than can be answered."""

import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.load.storm import Probe, asks, press, recovery
from tests.replicas.conftest import our_times  # noqa: F401 - a fixture
from tests.serve.load import MEASURED, in_time, until
from tms_ca.http import admission as admissions
from tms_ca.http.admission import MOST_FOR_COMMIT, Admission
from tms_ca.http.glance import endpoint_of
from tms_ca.store.hot import GroupCommit

MANY = 100  # of 1,500 who ask again at once: so many are held back together now and then
MOST_STORMS = 15  # of four seconds; one is enough on a machine that has nothing else to do


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


def looks(admission, clock, number, seconds):
    """Let it look so many times, each so long after the one before."""
    for _ in range(number):
        clock.now += seconds
        admission.tick()


def burst(admission: Admission, clock: Seconds, number: int, each: float) -> None:
    admission.came(number)
    for _ in range(number):
        admission.begun()
        clock.now += each


def test_H_11_nobody_is_refused_while_nobody_waits():
    admission = Admission(None, Seconds())
    assert [admission.admit(name) for name in ("issue_certificate", "check_login", "other")] == [True] * 3
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
    assert not admission.admit("issue_certificate")
    assert admission.admit("check_login")
    assert admission.admit("readyz")
    admission.came(int(checks * 1.1) - int(others * 1.1))
    assert not admission.admit("check_login")
    assert admission.admit("readyz")
    admission.lost(int(checks * 1.1) - int(others * 0.8))
    assert admission.admit("issue_certificate")  # the twin


def test_H_11_one_long_pause_does_not_close_the_door():
    clock = Seconds()
    admission = Admission(None, clock)
    admission.came(2)
    admission.begun()
    clock.now += 30
    admission.begun()
    admission.came(50)
    assert admission.admit("issue_certificate")


def test_H_11_what_was_slow_is_forgotten_when_nobody_waits():
    clock = Seconds()
    admission = Admission(None, clock)
    for _ in range(20):
        burst(admission, clock, 50, 0.01)
    admission.tick()
    assert admission.gate < 25
    looks(admission, clock, 40, 0.05)
    assert admission.gate > 50


@pytest.mark.usefixtures("our_times")
def test_H_11_a_disk_that_stands_still_refuses_certificates_and_no_logins():
    clock, commits = Seconds(), Commits()
    admission = Admission(commits, clock)
    commits.waiting = 5
    looks(admission, clock, 39, 0.05)
    assert admission.admit("issue_certificate")
    looks(admission, clock, 5, 0.05)
    assert not admission.admit("issue_certificate")
    assert admission.waiting >= admission.gate  # so everybody is asked
    assert admission.admit("check_login")
    commits.entries, commits.waiting = 5, 0
    looks(admission, clock, 1, 0.05)
    assert admission.admit("issue_certificate")


@pytest.mark.usefixtures("our_times")
def test_H_11_a_process_that_stood_still_itself_does_not_take_the_disk_for_one_that_does():
    clock, commits = Seconds(), Commits(waiting=5)
    admission = Admission(commits, clock)
    for _ in range(2):
        clock.now += 6
        admission.tick()
        assert admission.admit("issue_certificate")


@pytest.mark.usefixtures("our_times")
def test_H_11_a_disk_that_stands_still_is_seen_by_a_process_whose_turns_are_long():
    clock, commits = Seconds(), Commits(waiting=5)
    admission = Admission(commits, clock)
    looks(admission, clock, 4, 0.9)
    assert not admission.admit("issue_certificate")


def test_H_11_certificates_are_refused_while_as_many_wait_for_their_commit_as_may():
    clock, commits = Seconds(), Commits(waiting=MOST_FOR_COMMIT - 1)
    admission = Admission(commits, clock)
    admission.took(100e-6)
    assert admission.admit("issue_certificate")
    assert admission.waiting < admission.gate - 1
    commits.waiting += 1
    admission.took(100e-6)  # at once, not with the next tick: until then thousands could come
    assert admission.gate == 0
    assert not admission.admit("issue_certificate")
    assert admission.admit("check_login")
    commits.waiting -= 1
    assert admission.admit("issue_certificate")  # at once, too: the queue must not run dry
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


def test_H_11_retry_after_says_when_each_of_those_who_are_held_back_can_have_been_refused_once_more():
    admission = Admission(None, Seconds())
    told = []
    for crowd in (0, 1, 1000, 10_000, 1_000_000):
        admission.hold_back(crowd)
        told.append(admission.retry_after)
    each = 2 * 10e-6 / admissions.REFUSING_SHARE
    assert told == [1, 1, max(1, math.ceil(1000 * each)), math.ceil(10_000 * each), admissions.RETRY_MOST]
    assert told == sorted(told)
    assert told[3] > 1


def test_H_11_what_takes_longer_than_others_leaves_less_room_in_its_turn():
    admission = Admission(None, Seconds())
    each = admission.seconds_each
    admission.took(each)
    assert admission.turned() == admission.gate - 1
    assert admission.turned() == admission.gate  # nothing came in the second
    admission.took(3 * each)
    assert admission.turned() == admission.gate - 3


def test_H_11_one_long_pause_while_a_request_is_answered_refuses_nobody():
    admission = Admission(None, Seconds())
    admission.took(30.0)
    assert admission.waiting + admission.in_turn < admission.gate
    assert [admission.admit(name) for name in ("issue_certificate", "check_login")] == [True, True]


def test_H_11_there_is_room_again_as_soon_as_the_commits_are_not_late():
    commits = Commits(waiting=MOST_FOR_COMMIT)
    admission = Admission(commits, Seconds())
    admission.took(100e-6)
    assert (admission.gate, admission.turned()) == (0, 0)
    commits.waiting -= 1
    assert admission.turned() == admission.gate > 0


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


def crowd(service):
    """Return how many connections are held back, and the seconds of Retry-After, as /metrics has them."""
    families = text_string_to_metric_families(service.call("GET", "/metrics").body.decode())
    found = {one.name: one.samples[0].value for one in families if one.samples}
    return found["tms_http_held_back"], found["tms_http_retry_after_seconds"]


def overloads(service):
    """Return the lines about overload in the service's log; the last may be being written."""
    whole, _, _ = (service.data / "serve.log").read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines() if '"code":"overloaded","shed":' in line]


def most_told(crowds, lines):
    """Return the largest crowd that a scrape met, and the largest that a line of the log did."""
    return max((held for held, _ in crowds), default=0), max((line["held_back"] for line in lines), default=0)


def test_H_11_a_thousand_who_do_not_wait_are_refused_politely(own_process, tmp_path):
    """The short form; `make storms` measures."""
    _, check = asks(own_process, tmp_path)
    peak = press(check, tmp_path, connections=32, seconds=2)
    assert (peak.successes > peak.refused, peak.lost) == (True, 0)  # a busy machine has its moments
    in_time(peak.refused, peak.answers / 100)
    probe, crowds, storms = Probe(), [], []
    with probe.beside(check), ThreadPoolExecutor(1) as pool:
        # Who is held back comes and goes, and who looks waits for a turn: it goes on until both ways have told of many.
        while not storms or (min(most_told(crowds, overloads(own_process))) <= MANY and len(storms) < MOST_STORMS):
            pressing = pool.submit(press, check, tmp_path, connections=1500, seconds=4)
            while not pressing.done():
                crowds.append(crowd(own_process))
                time.sleep(0.1)
            storms.append(pressing.result())
        ready = own_process.call("GET", "/readyz").status
    refused = sum(storm.refused for storm in storms)
    assert sum(storm.lost for storm in storms) == 0
    assert refused > 100
    assert sum(storm.successes for storm in storms) > 100, "the work goes on"
    assert set(probe.statuses) <= {200, 503}
    assert {int(said) for said in probe.retry_after} <= set(range(1, admissions.RETRY_MOST + 1))
    assert ready == 200
    in_time(recovery(check, within=0.1 if MEASURED else 60), 5)
    until(lambda: crowd(own_process) == (0, 1), 60, "those who went are still counted")
    own_process.stop()
    lines = overloads(own_process)
    assert min(most_told(crowds, lines)) > MANY, "how many are held back is there to be scraped, and on record"
    assert {line["retry_after"] for line in lines} <= set(range(1, admissions.RETRY_MOST + 1))
    refusals = (own_process.data / "serve.log").read_text().count('"status":503')
    assert refusals < refused / 2
    in_time(refusals, refused / 100)
