"""Traces: what arrives at a receiver, what does not stand in them, and that nobody waits for them."""

import contextlib
import json
import select
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.ssh.service import People, Service
from tests.watch.conftest import copied
from tests.watch.prometheus import wait
from tests.watch.receiver import receiver
from tests.world import ssh_keygen
from tms_ca.tracing import MOST_WAITING, endpoint_of, open_tracing

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Shop:
    """A service with people in it."""

    def __init__(self, service: Service, directory: Path) -> None:
        self.service = service
        service.start()
        self.people = People(service, "alice")
        self.people.furnish()
        self.key = ssh_keygen(directory, "id").public

    def post(self, path: str, auth: str, body: dict, **headers: str) -> dict:
        url = f"{self.service.url}/api/v1/tenants/default/{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
        request.add_header("Authorization", auth)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def issue(self, **headers: str) -> dict:
        return self.post("certificates", self.people.client, self.people.body(self.key), **headers)

    def check(self, certificate: str, **headers: str) -> dict:
        body = {"account": "alice", "certificate": certificate, "nonce": "00"}
        return self.post("hosts/h1/principals", f"Bearer {self.people.host}", body, **headers)

    def log(self) -> list[dict]:
        whole, _, _ = (self.service.data / "serve.log").read_text().rpartition("\n")  # the last may be being written
        return [json.loads(line) for line in whole.splitlines()]


@pytest.fixture(scope="module")
def traced(initialised, tmp_path_factory):
    """A service of two workers that is told by its settings where traces go."""
    directory = tmp_path_factory.mktemp("traced")
    with receiver() as running:
        service = copied(initialised, directory, workers=2)
        settings = service.data / "settings.toml"
        settings.write_text(settings.read_text().replace('# endpoint = ""', f'endpoint = "{running.url}"'))
        yield Shop(service, directory), running
        service.stop()


def of_trace(running, trace: str, names: set[str]) -> dict:
    """Wait until spans of these names have arrived; return them by name."""
    return wait(
        lambda: {s.name: s for s in running.trace(trace)} if names <= {s.name for s in running.trace(trace)} else {}
    )


def test_a_certificate_is_one_trace_that_continues_the_callers(traced):
    shop, running = traced
    shop.issue()  # whose credential it is, is remembered from here on
    time.sleep(1.1)  # in the same second the verdict would be given again, and no rule asked
    shop.issue(traceparent=f"00-{TRACE}-{PARENT}-01")
    spans = of_trace(running, TRACE, {"issue_certificate", "facts", "decide", "sign", "commit"})
    request = spans["issue_certificate"]
    assert request.parent_span_id.hex() == PARENT
    for step in ("facts", "decide", "sign", "commit"):
        span = spans[step]
        assert span.parent_span_id == request.span_id
        assert request.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= request.end_time_unix_nano
    order = sorted(("facts", "decide", "sign", "commit"), key=lambda name: spans[name].start_time_unix_nano)
    assert order == ["facts", "decide", "sign", "commit"]
    said = {each.key: each.value.string_value or each.value.int_value for each in request.attributes}
    assert said["http.request.method"] == "POST"
    assert said["http.response.status_code"] == 201
    assert running.paths == {"/v1/traces"}
    assert running.resource["service.name"] == "tms-ca"
    line = wait(lambda: [line for line in shop.log() if line.get("trace_id") == TRACE])[0]
    assert line["request_id"] == said["tms.request_id"]


def test_a_login_check_has_its_steps_too_and_a_trace_of_its_own_without_a_caller(traced):
    shop, running = traced
    certificate = shop.issue()["certificate"]
    shop.check(certificate)
    roots = wait(lambda: [span for span in running.spans if (span.name, span.parent_span_id) == ("check_login", b"")])
    request = roots[0]
    spans = of_trace(running, request.trace_id.hex(), {"check_login", "facts", "decide"})
    assert {"commit", "sign"}.isdisjoint(spans)


@pytest.mark.parametrize("hostile", ["x" * 4000, "00-0-0-00", f"00-{'0' * 32}-{PARENT}-01", "00-\xff-\xfe-01"])
def test_what_is_no_traceparent_is_ignored(traced, hostile):
    shop, _ = traced
    assert shop.issue(traceparent=hostile, tracestate="a=b," * 500)["serial"]


def test_F_03_no_secret_no_key_and_no_person_is_in_a_trace(traced):
    shop, running = traced
    trace = TRACE[::-1]
    issued = shop.issue(traceparent=f"00-{trace}-{PARENT}-01")
    shop.check(issued["certificate"], traceparent=f"00-{trace}-{PARENT}-01")
    of_trace(running, trace, {"check_login", "commit", "issue_certificate"})
    secrets = [shop.people.client, shop.people.host, shop.people.session, shop.people.seed, shop.service.operator]
    things = [shop.key.split()[1], issued["certificate"].split()[1][:60], issued["serial"], "alice", "portal"]
    for secret in [*(each.split()[-1] for each in secrets), *things]:
        assert secret.encode() not in running.raw
    assert b"issue_certificate" in running.raw


def test_a_receiver_that_hangs_keeps_no_request_waiting_and_no_stop(initialised, passing_path):
    """It accepts and never answers: while the first attempt to send is still waiting, certificates are issued."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        # In memory: it counts what is issued in two seconds, for which a disk may stand still.
        shop = Shop(copied(initialised, passing_path, environment=environment), passing_path)
        shop.issue()
        silent.settimeout(60)
        meanwhile = 0
        for _ in range(20):  # attempts, of which the service makes one after the other
            sending, _ = silent.accept()
            with sending:
                while not gave_up(sending):
                    shop.issue()
                    meanwhile += not gave_up(sending)
            if meanwhile > 5:
                break
            shop.issue()  # so that there is something to send
        assert meanwhile > 5
        assert shop.service.end() == 0
        words = [line.get("message") for line in shop.log()]
        assert "stopping" in words
        assert "ended with requests unfinished" not in words


def gave_up(connection: socket.socket) -> bool:
    """Tell whether the other side has closed; what it sends is read and not answered."""
    if not select.select([connection], [], [], 0)[0]:
        return False
    return connection.recv(1 << 16) == b""


def test_without_an_endpoint_nothing_of_it_is_imported():
    code = "import sys, tms_ca.app, tms_ca.serving.worker; print([m for m in sys.modules if 'opentelemetry' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_the_libraries_the_service_says_what_to_install(initialised, tmp_path):
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    service = copied(initialised, tmp_path, environment=environment, fresh=True)
    blocker = tmp_path / "blocked" / "opentelemetry"
    blocker.mkdir(parents=True)
    (blocker / "__init__.py").write_text("raise ModuleNotFoundError('gone', name='opentelemetry')")
    service.environment["PYTHONPATH"] = str(blocker.parent)
    done = service.tms_ca("serve", "--port", "0", check=False)
    assert done.returncode != 0
    assert "pip install 'tms-ca[tracing]'" in done.stderr


@pytest.mark.parametrize(
    ("setting", "base", "whole", "expected"),
    [
        ("", "", "", ""),
        ("http://a:1", "", "", "http://a:1/v1/traces"),
        ("http://a:1/", "http://b", "http://c", "http://a:1/v1/traces"),
        ("http://a:1/v1/traces", "", "", "http://a:1/v1/traces"),
        ("", "http://b", "", "http://b/v1/traces"),
        ("", "http://b", "http://c/x", "http://c/x"),
    ],
)
def test_where_traces_go(monkeypatch, setting, base, whole, expected):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", base)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", whole)
    assert endpoint_of(setting) == expected


async def test_what_waits_to_be_sent_is_given_up_when_the_receiver_hangs():
    """A full queue takes eight attempts of SEND_SECONDS each; the end of the service has time for one."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        async with open_tracing(f"http://127.0.0.1:{silent.getsockname()[1]}") as tracing:
            for _ in range(MOST_WAITING):
                tracing.tracer.start_span("waits").end()
        attempts = 0
        silent.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                silent.accept()[0].close()
                attempts += 1
        assert 1 <= attempts <= 3
