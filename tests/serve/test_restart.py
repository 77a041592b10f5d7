"""SIGHUP: new processes take over and nobody notices; settings that do not load change nothing."""

import os
import signal
import socket
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from tests.halting import halt
from tests.serve.load import children, fifty_a_second, nothing_is_lost, until, workers

SECONDS = float(os.environ.get("TMS_CA_RESTART_SECONDS", "0"))  # make restarts: 60


class _Log:
    """What the service writes from now on."""

    def __init__(self, service) -> None:
        self._path = service.data / "serve.log"
        self._begin = len(self._path.read_text())

    def __contains__(self, text: str) -> bool:
        return self.count(text) > 0

    def count(self, text: str) -> int:
        return self._path.read_text()[self._begin :].count(text)


def _restarted(service, before: set[int], count: int) -> bool:
    now = set(children(service))
    return not now & before and len(workers(service)) == count


def test_E_08_workers_are_restarted_under_load_without_a_failed_request(two_workers):
    opened = two_workers
    service, restarts, log = opened.service, 0, _Log(two_workers.service)
    begun = time.monotonic()
    with fifty_a_second(opened.people, opened.key) as load:
        while restarts < 2 or time.monotonic() - begun < SECONDS:
            before = set(children(service))
            assert len(before) == 3
            time.sleep(0.5)
            service.process.send_signal(signal.SIGHUP)
            until(lambda before=before: _restarted(service, before, 2), what="the old processes do not end")
            assert service.call("GET", "/readyz").status == 200
            restarts += 1
        time.sleep(0.5)
    assert load.faults == []
    assert set(load.answers) == {200, 201}
    assert all(not client.refused.is_set() for client in load.clients)
    until(lambda: log.count("new workers answer") >= restarts, what="not all is on record")  # lines gather for a moment
    assert log.count("new workers answer") == restarts
    nothing_is_lost(service, load.received)
    print(f"{restarts} restarts in {time.monotonic() - begun:.0f} s, {sum(load.answers.values())} answers, 0 failed")


def test_one_process_restarts_in_its_place(shop):
    opened = shop(1)
    service, log = opened.service, _Log(opened.service)
    pid = service.process.pid
    with fifty_a_second(opened.people, opened.key) as load:
        time.sleep(0.5)
        service.process.send_signal(signal.SIGHUP)
        until(lambda: log.count('"serving"') == 1, what="the process does not begin anew")
        time.sleep(0.5)
    assert load.faults == []
    assert set(load.answers) == {200, 201}
    assert service.process.pid == pid
    assert service.process.poll() is None
    nothing_is_lost(service, load.received)


@pytest.mark.parametrize("workers_", [1, 2])
def test_settings_that_do_not_load_leave_everything_as_it_is(request, workers_):
    opened = request.getfixturevalue("two_workers") if workers_ == 2 else request.getfixturevalue("shop")(1)
    service, log = opened.service, _Log(opened.service)
    before = set(children(service))
    settings = service.data / "settings.toml"
    good = settings.read_text()
    settings.write_text(good + "\n[listening]\nport = 1\n")
    service.process.send_signal(signal.SIGHUP)
    until(lambda: "not restarted" in log, what="nobody says what is wrong")
    assert "listening: no such setting" in log
    assert set(children(service)) == before
    assert opened.people.issue(opened.key).status == 201
    settings.write_text(good)
    service.process.send_signal(signal.SIGHUP)
    until(lambda: log.count('"serving"') == workers_, what="good settings are not taken")
    until(lambda: _restarted(service, before, workers_) or workers_ == 1, what="the old ones do not end")
    assert opened.people.issue(opened.key).status == 201


def test_an_old_worker_that_was_told_to_end_by_itself_leaves_the_socket_to_the_new_ones(two_workers):
    """Its order is to stop, and RETIRE comes on top of that: it is not the whole service that ends."""
    opened = two_workers
    service, log, before = opened.service, _Log(two_workers.service), set(children(two_workers.service))
    old = min(workers(service))
    address = (urlsplit(service.url).hostname, urlsplit(service.url).port)
    with ExitStack() as stack:
        for _ in range(8):  # each of them has somebody to stay for
            stack.enter_context(socket.create_connection(address, 60))
        service.process.send_signal(signal.SIGHUP)
        until(lambda: len(set(workers(service)) - before) == 2, what="no new workers")
        halt(service.process.pid)  # else they retire before
        try:
            os.kill(old, signal.SIGTERM)
            until(lambda: '"stopping"' in log, what="it was not told")
        finally:
            service.process.send_signal(signal.SIGCONT)
        until(lambda: not set(children(service)) & before, what="the old ones do not end")
    for _ in range(4):
        assert service.call("GET", "/readyz").status == 200


def test_new_workers_that_cannot_start_leave_the_old_ones(two_workers):
    opened = two_workers
    service, log = opened.service, _Log(two_workers.service)
    before = set(children(service))
    key = service.data / "master.key"
    key.rename(key.with_name("elsewhere"))
    try:
        service.process.send_signal(signal.SIGHUP)
        until(lambda: "not restarted" in log, what="nobody says what is wrong")
        until(lambda: set(children(service)) == before, what="something of the new generation is left")
    finally:
        key.with_name("elsewhere").rename(key)
    assert opened.people.issue(opened.key).status == 201


def test_workers_that_cannot_start_end_the_service_in_words(shop):
    service = shop(1).service
    assert service.end() == 0
    (service.data / "master.key").unlink()
    done = service.tms_ca("serve", "--port", "0", "--workers", "2", check=False)
    assert done.returncode == 1
    assert "master.key" in done.stderr
    assert "tms-ca: the w" in done.stderr  # the worker, or the writer
    assert "tms-ca answers" not in done.stdout
    assert not list(service.data.glob("run-*"))
