"""A host that never asks: sshd with the CA keys and the KRL alone, as behind a firewall (G-06)."""

import getpass
import os
import subprocess

import pytest

from deploy.sandbox_sshd import SandboxSshd
from tests.ssh.conftest import Site
from tests.ssh.service import People


@pytest.fixture
def offline(service, tmp_path):
    """A host whose principals are its accounts' names: sshd needs nothing else to match them."""
    account = "alice" if os.geteuid() == 0 else getpass.getuser()
    people = People(service, account)
    people.furnish()
    service.good("PATCH", "hosts/h1", service.operator, {"principal_format": "account"})
    krl = tmp_path / "installed.krl"
    site = Site(service, people, None, tmp_path)
    install_krl(site)
    ca = service.call("GET", "ca/user.pub").body.decode()
    with SandboxSshd(tmp_path / "sshd", ca, accounts=(account,), revoked_keys=krl) as sshd:
        site.sshd = sshd
        yield site


def install_krl(site: Site) -> None:
    """Fetch, verify, replace: as a host's cron job does."""
    new = site.directory / "new.krl"
    new.write_bytes(site.service.call("GET", "krl").body)
    subprocess.run(["ssh-keygen", "-Q", "-l", "-f", new], check=True, capture_output=True)
    new.replace(site.directory / "installed.krl")


def test_G_06_an_offline_host_refuses_exactly_the_revoked(offline):
    made = [offline.certified() for _ in range(6)]
    assert all(offline.login(key, certificate) for key, certificate, _ in made), "an empty KRL bars nobody"
    by_serial, by_key_id, by_key = made[0][2], made[2][2], made[4][2]
    for body in (
        {"serial": by_serial["serial"]},
        {"key_id": by_key_id["key_id"]},
        {"public_key_fingerprint": by_key["public_key_fingerprint"]},
    ):
        offline.service.good("POST", "revocations", offline.service.operator, {**body, "reason": "test"})
    assert offline.login(*made[0][:2]), "this host only knows the KRL that it has"
    install_krl(offline)
    assert [offline.login(key, certificate) for key, certificate, _ in made] == [False, True, False, True, False, True]
    assert "revoked" in offline.sshd.log
    assert offline.login(*offline.certified()[:2]), "a new certificate is not on the list"


def test_G_06_an_offline_host_refuses_all_of_a_revoked_user_and_the_old_ones_even_when_lifted(offline):
    key, certificate, _ = offline.certified()
    made = offline.service.good("POST", "revocations", offline.service.operator, {"user": "alice", "reason": "test"})
    install_krl(offline)
    assert not offline.login(key, certificate)
    offline.service.good("POST", f"revocations/{made['id']}/lift", offline.service.operator)
    install_krl(offline)
    assert not offline.login(key, certificate)
    assert offline.login(*offline.certified()[:2])


def test_G_06_an_offline_host_refuses_everything_of_a_revoked_ca_key(offline):
    made = [offline.certified() for _ in range(2)]
    fingerprint = made[0][2]["ca_fingerprint"]
    body = {"ca_fingerprint": fingerprint, "reason": "stolen"}
    offline.service.good("POST", "revocations", offline.service.operator, body)
    install_krl(offline)
    assert not any(offline.login(key, certificate) for key, certificate, _ in made)
