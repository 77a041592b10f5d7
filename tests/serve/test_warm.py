"""A service that is forked from what has imported it is a process like one that is executed."""

import contextlib
import itertools
import os
import re
import shutil
import signal
import time
import urllib.request
from pathlib import Path

import pytest

from tests import warm
from tests.ssh.service import Service
from tms_ca.http import middleware

SAME = ("Umask", "Seccomp", "Threads", "SigBlk", "SigIgn", "SigCgt", "CapEff", "NoNewPrivs")


def look(pid: int) -> dict[str, object]:
    """Return what the system tells of a process, without the numbers of the day."""
    status = Path(f"/proc/{pid}/status").read_text()
    opened = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return {
        "status": {name: re.search(rf"^{name}:\s*(.*)$", status, re.MULTILINE)[1] for name in SAME},
        "leads": (os.getsid(pid), os.getpgid(pid)) == (pid, pid),
        "open": sorted(re.sub(r"\[\d+\]|/data\d/", "", name) for name in opened),
        "directory": os.readlink(f"/proc/{pid}/cwd"),
        "limits": Path(f"/proc/{pid}/limits").read_text(),
    }


def test_a_warm_service_is_as_a_fresh_one(initialised, tmp_path, request):
    made = []
    for number, fresh in enumerate((False, True)):
        shutil.copytree(initialised.data, tmp_path / f"data{number}")
        made.append(Service(tmp_path / f"data{number}", operator=initialised.operator, fresh=fresh))
        request.addfinalizer(made[-1].stop)
        made[-1].start()
    until = time.monotonic() + 60  # what is open for a moment only is closed by then
    warm_one, fresh_one = {}, None
    while warm_one != fresh_one:
        assert time.monotonic() < until, (warm_one, fresh_one)
        time.sleep(0.1)
        with contextlib.suppress(FileNotFoundError):  # it was closed while it was looked at
            warm_one, fresh_one = (look(one.process.pid) for one in made)
    assert warm_one["leads"]


def test_warm_services_draw_numbers_of_their_own(initialised, tmp_path, request):
    ids = []
    for number in range(2):
        shutil.copytree(initialised.data, tmp_path / f"data{number}")
        service = Service(tmp_path / f"data{number}")
        request.addfinalizer(service.stop)
        service.start()
        for _ in range(20):
            with urllib.request.urlopen(service.url + "/healthz", timeout=60) as answer:
                ids.append(answer.headers["X-Request-ID"])
    assert {len(one) for one in ids} == {13}
    assert len(set(ids)) == len(ids)
    assert len({one[:7] for one in ids}) == 2, "what tells processes apart"


def test_no_request_id_comes_again_when_the_count_is_at_its_end():
    ids = list(itertools.islice(middleware._drawn_ids(end=512), 3000))
    assert len(set(ids)) == len(ids)
    assert len({one[:7] for one in ids}) == 6  # of 510 to 512 each
    assert all(re.fullmatch("[0-9a-f]{13}", one) for one in ids)


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PYTHONHASHSEED", "TZ"])
def test_an_environment_that_comes_too_late_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=rf"\['{name}'\]: read when Python is executed"):
        warm.run("settings", "check", environment={**os.environ, name: "1"}, directory=tmp_path)
    assert warm.run("settings", "--help", environment=os.environ, directory=tmp_path).returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 0), (signal.SIGINT, 0)])
def test_a_warm_service_ends_by_a_signal_as_any_process(initialised, tmp_path, number, code):
    shutil.copytree(initialised.data, tmp_path / "data")
    service = Service(tmp_path / "data", operator=initialised.operator)
    service.start()
    process = service.process
    process.send_signal(number)
    assert process.wait(60) == code == process.poll()
    assert not Path(f"/proc/{process.pid}").exists()
    process.stdout.close()


def test_a_warm_command_has_the_words_the_environment_and_the_directory_of_its_own(tmp_path):
    environment = {**os.environ, "TMS_CA_DATA": "nowhere"}
    done = warm.run("settings", "check", environment=environment, directory=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nowhere/settings.toml is not there" in done.stderr
    (tmp_path / "nowhere").mkdir()
    (tmp_path / "nowhere" / "settings.toml").write_text("[listen]\nport = 'a'\n")
    assert "listen.port" in warm.run("settings", "check", environment=environment, directory=tmp_path).stderr
