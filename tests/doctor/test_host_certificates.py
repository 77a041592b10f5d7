"""Host certificates: their end, their names, their kind; and a bundle that has ended."""

import pytest

from tests.doctor.host import NAME, Host, keygen
from tests.doctor.test_well import NOTES

BOTH = f"{NAME},login1"


@pytest.mark.parametrize(
    ("validity", "names", "code", "said"),
    [
        ("-2d:-1d", BOTH, "host_certificate_ended", "ended at"),
        ("-20d:+3d", BOTH, "host_certificate_ends", "ends at"),
        ("+30d", "login1", "host_certificate_name", f"not for {NAME}"),
        ("+30d", NAME, "host_certificate_name", "not for login1"),
        ("+30d", "login2,login2.example.org", "host_certificate_name", f"not for login1, {NAME}"),
    ],
)
def test_a_certificate_that_clients_will_not_take(host: Host, validity, names, code, said):
    host.certify(validity, names)
    seen = host.doctor()
    assert seen.codes - NOTES == {code}
    assert said in seen.one(code)["found"]
    assert ("systemctl reload tms-hostd" in seen.one(code)["mend"]) == (code == "host_certificate_name")


@pytest.mark.parametrize(("validity", "names"), [("+8d", BOTH), ("+30d", f"{BOTH},alias"), ("+30d", "login1*")])
def test_a_certificate_that_clients_take(host: Host, validity, names):
    host.certify(validity, names)
    assert host.doctor().codes <= NOTES


def test_a_users_certificate_is_no_hosts(host: Host):
    host.certify("+30d", BOTH, "-C", "")
    seen = host.doctor()
    assert "not a host certificate" in seen.out or "sshd_refuses" in seen.codes, seen.out


def test_a_certificate_of_another_key_covers_none(host: Host):
    keygen("-t", "ed25519", "-N", "", "-C", "", "-f", host.directory / "second")
    seen = host.doctor("first HostKey /run/t/second")
    assert "/run/t/second" in seen.one("host_certificate_missing")["found"]
    assert "/run/t/host_key" not in seen.one("host_certificate_missing")["found"]


def test_a_bundle_that_ended_is_stale(host: Host):
    host.sign(ends=-60)
    seen = host.doctor("conf when_krl_stale = refuse")
    assert seen.codes - NOTES == {"bundle_stale"}
    assert "refuses every public key now" in seen.one("bundle_stale")["found"]
    host.sign(ends=60)
    assert host.doctor("conf when_krl_stale = refuse").codes <= NOTES
