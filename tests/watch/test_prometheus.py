"""The dashboard and the alerts of deploy/, asked of a real Prometheus that scrapes the service at work."""

import json
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from tests.watch.conftest import copied
from tests.watch.load import Load
from tests.watch.prometheus import RULES, prometheus, wait

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "tms-ca.json"


def dashboard_queries() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def alert_rules() -> dict[str, dict]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def for_prometheus(query: str) -> str:
    """Fill in what Grafana would."""
    return query.replace("$__rate_interval", "8s").replace("$instance", ".*")


def without_threshold(expression: str) -> str:
    """Return the same expression with an answer on both sides of its threshold."""
    return re.sub(r" (==|>) ", r" \1 bool ", re.sub(r"\[\d+[mh]\]", "[8s]", expression))


def test_every_query_and_every_alert_answers_with_data(loads, watching):
    """With both services at work: one process, and two workers."""
    wanted = {for_prometheus(query) for query in dashboard_queries()}
    wanted |= {without_threshold(rule["expr"]) for rule in alert_rules().values()}
    assert len(wanted) > 40
    silent = wanted
    with ExitStack() as stack:
        for workers in (1, 2):
            stack.enter_context(loads[workers])

        def all_answer() -> bool:
            nonlocal silent
            silent = {query for query in silent if not watching.ask(query)}
            return not silent

        try:
            wait(all_answer)
        except AssertionError:
            pytest.fail(f"no data for {silent}")

        def rules() -> dict[str, str]:
            return {rule["name"]: rule["health"] for rule in watching.api("rules")["groups"][0]["rules"]}

        wait(lambda: rules() == dict.fromkeys(alert_rules(), "ok"))  # each has been asked by now, or will be soon


def test_what_does_not_exist_has_no_data(watching):
    assert not watching.ask("tms_no_such_metric")


@pytest.fixture
def lost(initialised, tmp_path):
    """A service that no other test needs any more, and a Prometheus that scrapes nothing else."""
    with copied(initialised, tmp_path) as service:
        service.start()
        with prometheus(tmp_path, [service.url]) as watching:
            yield Load(service, tmp_path), watching


def test_an_altered_certificate_raises_its_alert_and_a_lost_key_another(lost):
    load, watching = lost
    service = load.service
    made = load.people.issue(load.key).json
    # An increase is seen only from a count that was scraped before it.
    wait(lambda: watching.ask('tms_denied_total{action="logins.check",code="certificate_altered"}'))
    assert "TmsForgedCertificates" not in watching.alerts()
    kind, body = made["certificate"].split()[:2]
    altered = f"{kind} {body[:-8]}{'A' if body[-8] != 'A' else 'B'}{body[-7:]}"
    assert load.check(altered) == 403
    wait(lambda: watching.alerts().get("TmsForgedCertificates") == "firing")
    wait(lambda: "TmsNotReady" not in watching.alerts())  # it may be pending where the machine stands still
    body = {"ca_fingerprint": made["ca_fingerprint"], "reason": "test"}
    service.good("POST", "revocations", service.operator, body)
    raised = {"TmsNotReady", "TmsCheckFails"}  # pending; firing after a minute, which a machine may well take
    wait(lambda: raised <= watching.alerts().keys())
    wait(lambda: [one["metric"]["check"] for one in watching.ask("tms_check_ok == 0")] == ["ca_key:default"])
    service.stop()
    wait(lambda: "TmsDown" in watching.alerts())


def test_every_alert_fires_when_it_should_and_not_before():
    """promtool runs the rules on invented series: tests/watch/tms-ca.test.yml."""
    cases = yaml.safe_load((Path(__file__).parent / "tms-ca.test.yml").read_text())
    fires = {test["alertname"] for case in cases["tests"] for test in case["alert_rule_test"] if test.get("exp_alerts")}
    quiet = {
        test["alertname"] for case in cases["tests"] for test in case["alert_rule_test"] if not test.get("exp_alerts")
    }
    assert fires == quiet == set(alert_rules())
    command = ["promtool", "test", "rules", Path(__file__).parent / "tms-ca.test.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_in_deploy_is_one():
    command = ["promtool", "check", "config", ROOT / "deploy" / "prometheus" / "prometheus.yml"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_every_alert_has_a_runbook():
    page = (ROOT / "docs" / "monitoring.md").read_text()
    headings = set(re.findall(r"^### (Tms\w+)$", page, flags=re.MULTILINE))
    assert headings == set(alert_rules())
    for name, rule in alert_rules().items():
        assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{name.lower()}"
        assert rule["labels"]["severity"] in {"page", "ticket"}
