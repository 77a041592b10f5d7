"""What the service manager is told, as sd_notify(3) has it."""

import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path

import pytest

from tests.ssh.service import Service


class Manager:
    """Listens as systemd does."""

    def __init__(self, path: Path) -> None:
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.line.bind(str(path))
        self.line.settimeout(60)

    def hear(self) -> dict[str, str]:
        return dict(part.split("=", 1) for part in self.line.recv(4096).decode().splitlines())


@pytest.mark.parametrize("workers", [1, 2])
def test_the_service_manager_hears_of_start_restart_and_stop(initialised, request, workers):
    with tempfile.TemporaryDirectory(prefix="tms-n-") as directory:
        manager = Manager(Path(directory) / "notify")
        request.addfinalizer(manager.line.close)
        environment = {"NOTIFY_SOCKET": str(Path(directory) / "notify")}
        shutil.copytree(initialised.data, Path(directory) / "data")
        service = Service(Path(directory) / "data", workers=workers, environment=environment)
        request.addfinalizer(service.stop)
        service.start()
        assert manager.hear() == {"READY": "1"}
        service.process.send_signal(signal.SIGHUP)
        reloading = manager.hear()
        assert reloading["RELOADING"] == "1"
        assert 0 <= time.clock_gettime(time.CLOCK_MONOTONIC) - int(reloading["MONOTONIC_USEC"]) / 1e6 < 30
        assert manager.hear() == {"READY": "1"}
        assert service.end() == 0
        assert manager.hear() == {"STOPPING": "1"}


def test_a_service_manager_that_does_not_listen_does_no_harm(initialised, request, tmp_path):
    shutil.copytree(initialised.data, tmp_path / "data")
    service = Service(tmp_path / "data", environment={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    request.addfinalizer(service.stop)
    service.start()
    assert service.call("GET", "/healthz").status == 200
