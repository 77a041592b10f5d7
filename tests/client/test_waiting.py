"""`tms delegation --wait` asks again no sooner than the service says."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tms_ca.client import application
from tms_ca.client.cli import main


def answers(status, body, **fields):
    return status, {name.replace("_", "-"): value for name, value in fields.items()}, json.dumps(body).encode()


BUSY = {"code": "overloaded", "detail": "the service is overloaded"}
APPROVED = answers(200, {"id": "dlg_a", "status": "approved"})


@pytest.fixture
def service(monkeypatch, tmp_path):
    """Return what serves these answers in turn, at the address that `tms` is told."""
    running = []
    (tmp_path / "config.toml").touch()
    monkeypatch.setenv("TMS_CONFIG", str(tmp_path / "config.toml"))

    def serve(*said):
        left = list(said)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                status, fields, body = left.pop(0)
                self.send_response(status)
                for name, value in {**fields, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        running.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        monkeypatch.setenv("TMS_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("TMS_CLIENT_ID", "portal")
        monkeypatch.setenv("TMS_CLIENT_SECRET", "secret")

    yield serve
    for server in running:
        server.shutdown()
        server.server_close()


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
