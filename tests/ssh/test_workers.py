"""Several workers on one port: they share the work, a dead one is replaced, SIGTERM ends them all."""

import os
import signal
import subprocess
import time
from pathlib import Path

from tests.ssh.conftest import new_key
from tests.ssh.service import People, Service


def _children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(word) for word in found.split()]


def test_workers_serve_are_replaced_and_end(tmp_path, request):
    service = Service(tmp_path / "data", workers=2)
    request.addfinalizer(service.stop)
    service.init()
    service.start()
    people = People(service, "alice")
    people.furnish()
    key = new_key(tmp_path, "id").public
    first = _children(service.process.pid)
    assert len(first) == 2
    os.kill(first[0], signal.SIGKILL)
    until = time.monotonic() + 20
    while len(set(_children(service.process.pid)) - {first[0]}) < 2:
        assert time.monotonic() < until, "the dead worker was not replaced"
        time.sleep(0.05)
    assert people.issue(key).status == 201
    everyone = [service.process.pid, *_children(service.process.pid)]
    assert service.stop() == 0
    for pid in everyone:
        assert not Path(f"/proc/{pid}").exists()


def test_sigterm_ends_a_single_process_with_0(tmp_path, request):
    service = Service(tmp_path / "data")
    request.addfinalizer(service.stop)
    service.init()
    service.start()
    assert service.call("GET", "/healthz").status == 200
    assert service.stop() == 0
