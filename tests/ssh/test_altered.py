"""Certificates that are nearly right, at a real sshd: each refused, and for its own reason."""

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deploy.sandbox_sshd import HelperFiles, SandboxSshd
from tests.ssh.conftest import new_key
from tests.ssh.test_login import _stolen_ca_key
from tms_ca.settings import load_settings
from tms_ca.vault import load_vault


@dataclass(frozen=True)
class Forgery:
    """A certificate to sign: by default the same in every field as the one that was issued."""

    ca: Path
    key: Path
    serial: str
    key_id: str
    principals: str
    validity: str = "-1m:+1h"

    def sign(self) -> Path:
        command = ["ssh-keygen", "-q", "-s", self.ca, "-I", self.key_id, "-n", self.principals, "-z", self.serial]
        subprocess.run([*command, "-V", self.validity, f"{self.key}.pub"], check=True)
        return self.key.with_name(self.key.name + "-cert.pub")


@pytest.fixture
def forgery(site) -> Forgery:
    """What a thief of the CA key would make of a certificate that stands (its own file is untouched)."""
    vault = load_vault(load_settings(site.service.data).master_key)
    ca = site.directory / "stolen"
    ca.touch(0o600)
    ca.write_bytes(_stolen_ca_key(site.service.data / "tms.db", vault)[1])
    issued = site.certified()[2]
    key = new_key(site.directory, "forger").path
    return Forgery(ca, key, issued["serial"], issued["key_id"], f"{site.people.account}@h1")


def refusals(site) -> set[str]:
    """Tell why the service refused logins."""
    events = site.service.good("GET", "audit-events?action=logins.check", site.service.operator)["items"]
    return {event["outcome"] for event in events}


@pytest.mark.parametrize(
    "change",
    [
        {},  # the same fields, another key
        {"principals": "{account}@h1,root@h1,{account}"},
        {"validity": "-1m:+520w"},
        {"validity": "-2h:-1h"},
        {"key_id": "t=default;c=portal;u=root;r=0"},
    ],
    ids=["key", "principals", "for-ever", "in-the-past", "key-id"],
)
def test_the_real_ca_and_a_real_serial_do_not_make_another_certificate(site, forgery, change):
    """sshd itself trusts the signature on each of these: only the live check can know."""
    change = {name: text.format(account=site.people.account) for name, text in change.items()}
    assert not site.login(forgery.key, replace(forgery, **change).sign())
    assert refusals(site) == {"certificate_altered"}


def test_the_fields_of_a_real_certificate_under_another_ca_are_refused(site, forgery):
    other = new_key(site.directory, "other-ca")
    assert not site.login(forgery.key, replace(forgery, ca=other.path).sign())
    fingerprint = subprocess.run(["ssh-keygen", "-lf", other.path], capture_output=True, text=True, check=True)
    refused = [line for line in site.sshd.log.splitlines() if fingerprint.stdout.split()[1] in line]
    assert refused, "ssh did not even offer it"
    assert all(line.startswith("Failed publickey") for line in refused)
    assert not refusals(site), "sshd itself knows better than to ask"


def test_a_certificate_for_one_host_opens_no_other(site):
    """The second host asks about its own logins, with its own credential, at the same service."""
    secret = site.service.good("POST", "hosts", site.service.operator, {"host": "h2"})["secret"]
    key, certificate, _ = site.certified()
    ca = site.service.call("GET", "ca/user.pub").body.decode()
    helper = HelperFiles(None, site.service.url, "default", "h2", secret, timeout_seconds=30)
    with SandboxSshd(site.directory / "sshd2", ca, helper, accounts=(site.people.account,)) as other:
        assert not replace(site, sshd=other).login(key, certificate)
    assert refusals(site) == {"certificate_other_host"}
    assert site.login(key, certificate)


def test_one_hosts_credential_does_not_answer_for_another(site):
    """h2's operator cannot pretend to be h1: the credential belongs to a host, not to whoever holds it."""
    secret = site.service.good("POST", "hosts", site.service.operator, {"host": "h2"})["secret"]
    key, certificate, _ = site.certified()
    ca = site.service.call("GET", "ca/user.pub").body.decode()
    helper = HelperFiles(None, site.service.url, "default", "h1", secret, timeout_seconds=30)
    with SandboxSshd(site.directory / "sshd2", ca, helper, accounts=(site.people.account,)) as other:
        assert not replace(site, sshd=other).login(key, certificate)
