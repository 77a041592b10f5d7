"""Several workers: each sees what another has changed, they share the connections, and one that dies is replaced."""

import http.client
import json
import os
import signal
import stat
import time
from contextlib import ExitStack, closing, contextmanager
from urllib.parse import urlsplit

import pytest

from tests.halting import halt
from tests.serve.load import (
    MEASURED,
    children,
    connections_of,
    fifty_a_second,
    in_time,
    nothing_is_lost,
    until,
    workers,
    writer,
)


class Line(http.client.HTTPConnection):
    """A kept connection, and which worker it leads to."""

    def __init__(self, service) -> None:
        address = urlsplit(service.url)
        super().__init__(address.hostname, address.port, timeout=60)
        self.connect()

    @property
    def near(self) -> int:
        return self.sock.getsockname()[1]

    def ask(self, method: str, path: str, authorization: str, body: dict) -> int:
        headers = {"Authorization": authorization, "Content-Type": "application/json"}
        self.request(method, f"/api/v1/tenants/default/{path}", json.dumps(body), headers)
        answer = self.getresponse()
        answer.read()
        return answer.status


@contextmanager
def _lines(service, count: int):
    """Open so many; yield them, and the worker of each by its port."""
    owners: dict[int, int] = {}

    def accepted() -> bool:
        owners.update(connections_of(service))
        return {line.near for line in lines} <= set(owners)

    with ExitStack() as stack:
        lines = [stack.enter_context(closing(Line(service))) for _ in range(count)]
        until(accepted, what="nobody accepts")
        yield lines, owners


@contextmanager
def _one_to_each(service):
    until = time.monotonic() + 60  # a worker that has just begun has all that came before
    while True:
        with _lines(service, 6) as (lines, owners):
            found = list({owners[line.near]: line for line in lines}.values())
            if len(found) == len(workers(service)):
                yield found
                return
        assert time.monotonic() < until, found


def _changes_are_seen(opened, one: Line, other: Line) -> float:
    """Change through one worker, ask another on its very next request; return the longest time between, in seconds."""
    people, slowest = opened.people, 0.0
    for enabled, expected in ((False, 403), (True, 201)) * 5:
        assert one.ask("PATCH", "users/alice", opened.service.operator, {"enabled": enabled}) == 200
        begun = time.monotonic()
        assert other.ask("POST", "certificates", people.client, people.body(opened.key)) == expected
        slowest = max(slowest, time.monotonic() - begun)
    return slowest


def test_A_06_what_one_worker_changes_the_other_obeys_on_its_next_request(two_workers):
    opened = two_workers
    with _one_to_each(opened.service) as (one, other):
        for asked, answering in ((one, other), (other, one)):
            answering.ask("POST", "certificates", opened.people.client, opened.people.body(opened.key))  # it remembers
            lag = _changes_are_seen(opened, asked, answering)
            in_time(lag, 1)
            print(f"seen by the other worker's next answer, {lag * 1000:.0f} ms later at most")


@pytest.mark.parametrize("count", [4, 30])
def test_a_few_long_connections_are_spread_evenly(two_workers, count):
    service = two_workers.service
    with _lines(service, count) as (lines, owners):
        split = [sum(owners[line.near] == pid for line in lines) for pid in workers(service)]
    print(f"{count} connections: {split}")
    assert sum(split) == count
    # Who gets no processor for a moment is passed over: tests/serve/test_acceptor.py has what does not depend on that.
    assert not MEASURED or max(split) - min(split) <= max(2, count // 5)


def test_a_worker_that_hangs_keeps_nobody_waiting(two_workers):
    opened = two_workers
    service = opened.service
    hanging, other = workers(service)
    halt(hanging)
    try:
        with _lines(service, 24) as (lines, owners):
            people, body = opened.people, opened.people.body(opened.key)
            assert {line.ask("POST", "certificates", people.client, body) for line in lines} == {201}
            assert {owners[line.near] for line in lines} == {other}
    finally:
        os.kill(hanging, signal.SIGCONT)


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(two_workers):
    opened = two_workers
    service = opened.service
    with fifty_a_second(opened.people, opened.key) as load:
        time.sleep(0.4)
        victim = min(workers(service))
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(workers(service)) == 2 and victim not in workers(service), what="it is not replaced")
        time.sleep(0.4)
    assert set(load.answers) == {200, 201}
    assert len(load.faults) <= len(load.clients), load.faults  # what was on its way to the victim
    nothing_is_lost(service, load.received)
    assert opened.people.issue(opened.key).status == 201


def test_a_writer_that_is_killed_is_replaced_and_nothing_is_lost(two_workers):
    opened = two_workers
    service = opened.service
    before = workers(service)
    with fifty_a_second(opened.people, opened.key) as load:
        for _ in range(3):
            time.sleep(0.4)
            victim = writer(service)
            os.kill(victim, signal.SIGKILL)
            until(lambda v=victim: v not in children(service) and len(children(service)) == 3, what="not replaced")
        time.sleep(1)
    assert load.faults == []
    assert set(load.answers) <= {200, 201, 503}
    assert workers(service) == before
    nothing_is_lost(service, load.received)
    print(f"3 writers killed: {dict(load.answers)}")


def test_a_writer_that_hangs_is_no_yes_and_is_replaced(two_workers):
    opened = two_workers
    service = opened.service
    victim = writer(service)
    halt(victim)
    begun = time.monotonic()
    assert opened.people.issue(opened.key).status == 503
    in_time(time.monotonic() - begun, 8)
    assert service.call("GET", "/healthz").status == 200
    until(lambda: opened.people.issue(opened.key).status == 201, what="it is not replaced")
    assert writer(service) != victim
    nothing_is_lost(service, [])


def test_workers_end_when_their_supervisor_is_killed(shop):
    service = shop(2).service
    below = set(children(service))
    assert len(below) == 3
    os.kill(service.process.pid, signal.SIGKILL)
    service.process.wait()
    service.process.stdout.close()
    service.process = None
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in below), what="they go on without it")


def test_the_run_directory_is_private_and_goes_with_the_service(shop):
    service = shop(2).service
    (directory,) = service.data.glob("run-*")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    left = service.data / "run-left-by-a-killed-one"
    left.mkdir()
    assert service.end() == 0
    assert not directory.exists()
    service.start()
    assert not left.exists(), "what a killed supervisor left is not removed"
    (other,) = service.data.glob("run-*")
    assert other != directory


def test_workers_on_postgresql_have_no_writer_and_see_each_other(shop, postgres_url):
    opened = shop(2, environment={"TMS_CA_DATABASE_URL": postgres_url})
    service = opened.service
    assert sorted(children(service).values()) == ["worker", "worker"]
    with _one_to_each(service) as (one, other):
        in_time(_changes_are_seen(opened, one, other), 1)
    with fifty_a_second(opened.people, opened.key) as load:
        time.sleep(0.3)
        victim = min(workers(service))
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(workers(service)) == 2 and victim not in workers(service), what="it is not replaced")
        before = workers(service)
        service.process.send_signal(signal.SIGHUP)
        until(lambda: not workers(service) & before and len(workers(service)) == 2, what="not restarted")
    assert set(load.answers) == {200, 201}
    nothing_is_lost(service, load.received)
    assert service.end() == 0
