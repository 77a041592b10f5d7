"""A disk that is full ends no process: logins are answered, what dies is replaced, and it goes on once there is room."""

import contextlib
import os
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.serve.load import until, workers
from tests.ssh.conftest import new_key
from tests.ssh.service import People, Service

SIZE = 48 * 1024 * 1024


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a disk takes root")
def test_E_04_a_full_disk_ends_neither_the_supervisor_nor_its_workers(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", disk], check=True)
    try:
        service = Service(disk / "data", workers=2)
        service.init()
        service.start()
        try:
            _fill_and_go_on(service, tmp_path, disk / "filler")
        finally:
            assert service.end() == 0
    finally:
        subprocess.run(["umount", disk], check=True)


def _fill_and_go_on(service: Service, tmp_path: Path, filler: Path) -> None:
    people = People(service, "alice")
    people.furnish()
    key = new_key(tmp_path, "id").public
    made = people.issue(key).json
    supervisor = service.process.pid
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):  # no space left
        while True:
            file.write(bytes(4096))
    until(lambda: people.issue(key).status == 503, what="certificates are still issued")
    for _ in range(20):  # both workers
        assert _check(people, made) == 200
        assert _status(service, "/metrics") == 200
        assert _status(service, "/readyz") == 503
        assert _status(service, "/nowhere") == 404
        _status(service, "/api/v1/tenants/default/krl")
    dead = min(workers(service))
    os.kill(dead, signal.SIGKILL)
    until(lambda: len(workers(service) - {dead}) == 2, what="the worker is not replaced")
    until(lambda: _check(people, made) == 200, what="nobody can log in")
    assert service.process.poll() is None
    assert service.process.pid == supervisor
    filler.unlink()
    until(lambda: people.issue(key).status == 201, what="no certificate although there is room again")


def _check(people: People, made: dict) -> int:
    body = {"account": "alice", "certificate": made["certificate"].strip(), "nonce": "00"}
    return people.service.call("POST", "hosts/h1/principals", f"Bearer {people.host}", body).status


def _status(service: Service, path: str) -> int:
    try:
        with urllib.request.urlopen(service.url + path, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
