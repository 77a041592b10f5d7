"""`tms delegation --wait` asks again no sooner than the service says."""

import json

import pytest

from tests.standin import Said, standing_in
from tms_ca.client import application
from tms_ca.client.cli import main


def answers(status, body, **fields):
    return Said(status, json.dumps(body).encode(), {name.replace("_", "-"): value for name, value in fields.items()})


BUSY = {"code": "overloaded", "detail": "the service is overloaded"}
APPROVED = answers(200, {"id": "dlg_a", "status": "approved"})


@pytest.fixture
def service(monkeypatch, tmp_path):
    """Return what takes answers, which are served in turn at the address that `tms` is told."""
    (tmp_path / "config.toml").touch()
    monkeypatch.setenv("TMS_CONFIG", str(tmp_path / "config.toml"))
    left = []
    with standing_in(lambda _: left.pop(0)) as url:
        monkeypatch.setenv("TMS_URL", url)
        monkeypatch.setenv("TMS_CLIENT_ID", "portal")
        monkeypatch.setenv("TMS_CLIENT_SECRET", "secret")
        yield lambda *said: left.extend(said)


@pytest.mark.parametrize(
    ("said", "slept"),
    [
        (answers(503, BUSY, Retry_After="7"), 7),
        (answers(429, BUSY, Retry_After="1"), application.POLL_SECONDS),
        (answers(503, BUSY), application.POLL_SECONDS),
        (answers(200, {"id": "dlg_a", "status": "pending"}), application.POLL_SECONDS),
    ],
)
def test_the_next_look_comes_after_retry_after(service, monkeypatch, capsys, said, slept):
    pauses = []
    monkeypatch.setattr(application.time, "sleep", pauses.append)
    service(said, APPROVED)
    assert main(["delegation", "dlg_a", "--wait"]) == 0
    assert pauses == [slept]
    assert "approved" in capsys.readouterr().out


def test_no_pause_is_longer_than_what_is_left_of_the_time(service, monkeypatch, capsys):
    pauses = []
    monkeypatch.setattr(application.time, "sleep", pauses.append)
    service(answers(503, BUSY, Retry_After="999"), APPROVED)
    assert main(["delegation", "dlg_a", "--wait", "--timeout", "30"]) == 0
    (pause,) = pauses
    assert 0 < pause <= 30
    assert "approved" in capsys.readouterr().out
