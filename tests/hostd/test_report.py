"""What the daemon reports, when, and what it says of a report that nobody takes."""

import pytest

from keycmd.hostd.report import openssh_version
from keycmd.version import VERSION
from tests.hostd.machine import Machine, copied, wait_until
from tests.ssh.service import Service

A_KEY = "SHA256:" + "A" * 43


@pytest.fixture(scope="module")
def initialised(tmp_path_factory):
    made = Service(tmp_path_factory.mktemp("initialised") / "data")
    made.init()
    return made


@pytest.fixture
def joined(initialised, tmp_path):
    """A machine that has joined a running service; its daemon runs."""
    service = copied(initialised, tmp_path)
    with Machine() as machine:
        machine.join(service)
        machine.set(poll_seconds=5, report_seconds=3600, when_away="cached 7")
        machine.start()
        yield machine, service
    service.stop()


def node(service) -> dict:
    items = service.good("GET", "nodes", service.operator)["items"]
    return items[0] if items else {}


def test_the_service_knows_what_the_host_enforces(joined):
    machine, service = joined
    wait_until(lambda: node(service).get("reported_at"), why=lambda: machine.log)
    found, state = node(service), machine.status()
    assert (found["host"], found["node"]) == ("h1", "n1")
    assert found["krl_version"] == state["krl_version"]
    assert found["user_ca_fingerprints"] == state["user_ca_fingerprints"]
    assert abs(found["clock_offset_ms"]) < 3000
    assert found["openssh_version"] == openssh_version()
    assert found["openssh_version"].startswith("OpenSSH_")
    assert found["tms_host_version"] == VERSION
    assert found["when_away"] == "cached 7"


def test_a_new_krl_is_reported_at_once(joined):
    machine, service = joined
    wait_until(lambda: node(service).get("reported_at"), why=lambda: machine.log)
    before = node(service)["krl_version"]
    service.good("POST", "revocations", service.operator, {"public_key_fingerprint": A_KEY, "reason": "test"})
    # Well before the hour that report_seconds says.
    wait_until(lambda: node(service)["krl_version"] != before, 30, lambda: machine.log)
    assert node(service)["krl_version"] == machine.status()["krl_version"]


def test_a_credential_that_was_taken_back_is_said(joined):
    machine, service = joined
    wait_until(lambda: node(service).get("reported_at"), why=lambda: machine.log)
    wait_until(lambda: machine.said("report").get("sent_at"), why=lambda: machine.log)  # it has the answer, too
    assert machine.said("report")["problem"] is None
    assert service.call("DELETE", "hosts/h1/nodes/n1", service.operator).status == 204
    machine.stop()
    machine.start()
    wait_until(lambda: "run `tms-host join` again" in machine.log, why=lambda: machine.log)
    assert machine.tms_host("status").returncode == 1
    assert machine.token not in machine.log
