"""/metrics: what docs/monitoring.md says is there, with numbers that are right, in one process and in several."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.serve.load import workers
from tests.watch.prometheus import wait
from tms_ca.registry import forget
from tms_ca.tallies import Spread, Tally

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"
ROW = re.compile(r"^\| `(\w+)` \| (counter|gauge|histogram) \| (.*?) \|", re.MULTILINE)


def families(text: str) -> dict[str, tuple[str, set[str]]]:
    """Return kind and label names of each metric."""
    found = {}
    for family in text_string_to_metric_families(text):
        labels = {label for sample in family.samples for label in sample.labels if label != "le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = family.type, labels
    return found


def documented() -> dict[str, tuple[str, set[str]]]:
    rows = ROW.findall(PAGE.read_text())
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def values(text: str) -> dict[str, float]:
    """Return each sample, named as in the text."""
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


async def scrape(world) -> str:
    return (await world.call("GET", "/metrics")).body.decode()


async def test_page_and_service_name_the_same_metrics_with_the_same_labels(world):
    await world.issue()
    assert documented() == families(await scrape(world))


async def test_every_metric_is_written_as_prometheus_wants_it(world):
    await world.issue()
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=await scrape(world), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


async def test_what_happens_is_counted_once_and_nothing_else_is(world):
    before = values(await scrape(world))
    certificate = (await world.issue()).json["certificate"]
    assert (await world.check(certificate)).status == 200
    assert (await world.check(certificate, account="root")).status == 403
    assert (await world.call("GET", "certificates", auth="nobody")).status == 401
    await world.good("POST", "revocations", auth=world.operator, json={"user": "alice", "reason": "x"})
    assert (await world.issue()).code == "user_revoked"
    after = values(await scrape(world))
    grown = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    counts = {name: by for name, by in grown.items() if "_total" in name and not name.startswith("process_")}
    assert counts == {
        "tms_certificates_issued_total": 1,
        "tms_logins_allowed_total": 1,
        'tms_denied_total{action="logins.check",code="certificate_other_account"}': 1,
        'tms_denied_total{action="certificates.issue",code="user_revoked"}': 1,
        'tms_revocations_total{selector="user"}': 1,
        'tms_problems_total{code="certificate_other_account"}': 1,
        'tms_problems_total{code="credential_not_good"}': 1,
        'tms_problems_total{code="user_revoked"}': 1,
        'tms_http_requests_total{endpoint="check_login",status="200"}': 1,
        'tms_http_requests_total{endpoint="check_login",status="403"}': 1,
        'tms_http_requests_total{endpoint="get_metrics",status="200"}': 1,
        'tms_http_requests_total{endpoint="issue_certificate",status="201"}': 1,
        'tms_http_requests_total{endpoint="issue_certificate",status="403"}': 1,
        'tms_http_requests_total{endpoint="list_certificates",status="401"}': 1,
        'tms_http_requests_total{endpoint="revoke",status="201"}': 1,
    }
    assert grown["tms_sign_seconds_count"] == 2, "what the second rested on had just been revoked: it was void"
    assert grown['tms_http_request_seconds_count{endpoint="issue_certificate",status_class="4xx"}'] == 1
    assert after["tms_http_in_flight"] == 1  # the scrape itself


async def test_a_scrape_holds_no_secret_and_no_name_of_a_person(world):
    """Labels are words of the code, tenants and numbers; nothing that a caller sent."""
    await world.issue(user="mallory-the-canary")
    await world.call("GET", "/canary-path")
    text = await scrape(world)
    for secret in ("canary", "alice", *world.clients.values(), *world.hosts.values(), *world.seeds.values()):
        assert secret not in text
    assert 'status="404"' in text


@given(st.lists(st.floats(0, 20)), st.lists(st.floats(0, 20)))
def test_a_spread_counts_as_prometheus_own_histogram_does(first, second):
    bounds = (0.001, 1.0, 5.0)
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    spread = Spread(Histogram("a", "a", buckets=bounds, registry=ours), bounds)
    plain = Histogram("a", "a", buckets=bounds, registry=theirs)
    for some in (first, second):
        for one in some:
            spread.observe(one)
            plain.observe(one)
        spread.fold()
        spread.fold()
    got, expected = (values(generate_latest(each).decode()) for each in (ours, theirs))
    assert got.pop("a_sum") == pytest.approx(expected.pop("a_sum"))
    assert {k: v for k, v in got.items() if "created" not in k} == {
        k: v for k, v in expected.items() if "created" not in k
    }


def test_a_tally_hands_over_each_count_once():
    registry = CollectorRegistry()
    tally = Tally(Counter("a", "a", registry=registry))
    for _ in range(3):
        tally.inc()
    tally.fold()
    tally.fold()
    tally.inc()
    tally.fold()
    assert registry.get_sample_value("a_total") == 4


def metrics_of(service) -> dict[str, float]:
    return values(service.call("GET", "/metrics").body.decode())


def test_workers_answer_with_the_sum_and_keep_what_a_dead_one_counted(loads):
    load = loads[2]
    for _ in range(6):
        load.round()

    def counted() -> list[set[float]]:
        """Return what several scrapes say; both workers answer some of them."""
        seen = [metrics_of(load.service) for _ in range(6)]
        return [
            {one["tms_certificates_issued_total"] for one in seen},
            {one["tms_logins_allowed_total"] for one in seen},
            {one['tms_denied_total{action="logins.check",code="certificate_revoked"}'] for one in seen},
            {one["tms_workers"] for one in seen},
        ]

    expected = [{load.issued}, {load.allowed}, {load.refused}, {2}]
    wait(lambda: counted() == expected)
    both = sorted(workers(load.service))
    assert len(both) == 2
    starts = metrics_of(load.service)["tms_process_starts_total"]
    os.kill(both[0], signal.SIGKILL)
    wait(lambda: len(workers(load.service) - {both[0]}) == 2)
    wait(lambda: counted() == expected)
    wait(lambda: metrics_of(load.service)["tms_process_starts_total"] == starts + 1)
    (folder,) = load.service.data.glob("run-*/metrics")
    files = [file.name for file in folder.iterdir()]
    assert not [name for name in files if f"_{both[0]}." in name]
    assert "counter_ended.db" in files
    assert folder.stat().st_mode & 0o077 == 0


def test_several_workers_name_no_metric_that_the_page_does_not(loads):
    found = families(loads[2].service.call("GET", "/metrics").body.decode())
    page = documented()
    assert {name: page.get(name) for name in found} == found
    assert set(page) == set(found)


def test_a_dead_workers_torn_file_is_dropped_and_the_scrape_goes_on(tmp_path):
    code = "from tms_ca.metrics import Metrics; m = Metrics(); m.issued.inc(); m.fold(); import os; print(os.getpid())"
    environment = {**os.environ, "TMS_CA_RUN_DIR": str(tmp_path)}

    def run() -> int:
        return int(
            subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout
        )

    whole, torn = run(), run()
    file = tmp_path / "metrics" / f"counter_{torn}.db"
    raw = bytearray(file.read_bytes())
    raw[8:12] = (1 << 20).to_bytes(4, "little")  # the first key is longer than the file
    file.write_bytes(raw)
    forget(torn, tmp_path)
    forget(whole, tmp_path)
    forget(whole, tmp_path)  # it may be told twice
    show = "from tms_ca.metrics import Metrics; print(Metrics().text().decode())"
    shown = subprocess.run([sys.executable, "-c", show], env=environment, capture_output=True, text=True, check=True)
    assert values(shown.stdout.strip())["tms_certificates_issued_total"] == 1


def test_without_a_run_directory_there_is_nothing_to_forget(monkeypatch, tmp_path):
    monkeypatch.delenv("TMS_CA_RUN_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    forget(1)
    forget(1, tmp_path)
    assert list(tmp_path.iterdir()) == []
