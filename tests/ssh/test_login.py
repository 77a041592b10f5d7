"""Real logins at a real sshd: one way in, and every way that must not be one."""

import signal
import subprocess

from tests.ssh.conftest import new_key
from tms_ca.settings import load_settings
from tms_ca.vault import load_vault


def test_a_certificate_opens_its_account_and_no_other(site):
    key, certificate, _ = site.certified()
    assert site.login(key, certificate)
    if site.sshd.root:
        assert not site.login(key, certificate, account="bob")


def test_a_certificate_needs_its_key(site):
    _, certificate, _ = site.certified()
    other = new_key(site.directory, "other")
    assert not site.login(other.path, certificate)


def test_G_10_a_service_that_is_gone_lets_nobody_in_and_one_that_is_back_does(site):
    key, certificate, _ = site.certified()
    assert site.login(key, certificate)
    with site.impatient():
        site.service.signal(signal.SIGSTOP)
        try:
            assert not site.login(key, certificate)
            # Each question ended with the helper's own deadline, not with sshd's.
            assert "Timeout before authentication" not in site.sshd.log
            assert " failed, status 1" in site.sshd.log or " exited on signal" in site.sshd.log
        finally:
            site.service.signal(signal.SIGCONT)
    assert site.login(key, certificate)
    site.service.stop()
    assert not site.login(key, certificate)


def test_a_certificate_that_the_real_ca_signed_but_never_issued_is_refused(site):
    """A thief of the CA key makes a perfect certificate; the live check has never heard of its serial."""
    settings = load_settings(site.service.data)
    vault = load_vault(settings.master_key)
    fingerprint, private = _stolen_ca_key(site.service.data / "tms.db", vault)
    ca = site.directory / "stolen"
    ca.touch(0o600)
    ca.write_bytes(private)
    pair = new_key(site.directory, "thief")
    command = [
        "ssh-keygen",
        "-q",
        "-s",
        ca,
        "-I",
        "v1",
        "-n",
        f"{site.people.account}@h1",
        "-z",
        "4711",
        "-V",
        "-1m:+1h",
    ]
    subprocess.run([*command, f"{pair.path}.pub"], check=True)
    assert not site.login(pair.path, site.directory / "thief-cert.pub")
    events = site.service.good("GET", "audit-events?outcome=certificate_unknown", site.service.operator)["items"]
    assert events, fingerprint
    assert "serial:4711" in events[0]["target"]
    (alarm,) = site.service.good("GET", "audit-events?action=certificates.unissued", site.service.operator)["items"]
    assert fingerprint in alarm["detail"]
    key, certificate, _ = site.certified()
    assert site.login(key, certificate)


def _stolen_ca_key(database, vault):
    import sqlite3

    from cryptography.hazmat.primitives import serialization

    connection = sqlite3.connect(database)
    query = "SELECT fingerprint, sealed_private_key FROM ca_keys WHERE purpose = 'user'"
    fingerprint, sealed = connection.execute(query).fetchone()
    connection.close()
    der = vault.unseal(f"ca-key:default:{fingerprint}", sealed)
    key = serialization.load_der_private_key(der, None)
    return fingerprint, key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def test_a_changed_host_credential_asks_in_vain(site):
    key, certificate, _ = site.certified()
    assert site.login(key, certificate)
    secret = site.service.good("GET", "hosts/h1/secrets", site.service.operator)["items"][0]["credential_id"]
    site.service.good("DELETE", f"hosts/h1/secrets/{secret}", site.service.operator)
    assert not site.login(key, certificate)


def test_disabled_and_enabled_again(site):
    key, certificate, _ = site.certified()
    for path in ("users/alice", "clients/portal", "hosts/h1"):
        site.service.good("PATCH", path, site.service.operator, {"enabled": False})
        assert not site.login(key, certificate), path
        site.service.good("PATCH", path, site.service.operator, {"enabled": True})
        assert site.login(key, certificate), path
