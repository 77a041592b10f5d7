"""Each selector of a revocation, at a real sshd: yes before, no at the very next login."""

import subprocess

import pytest

SELECTORS = {
    "serial": lambda site, issued: issued["serial"],
    "key_id": lambda site, issued: issued["key_id"],
    "public_key_fingerprint": lambda site, issued: issued["public_key_fingerprint"],
    "user": lambda site, issued: "alice",
    "client_id": lambda site, issued: "portal",
    "delegation_id": lambda site, issued: issued["delegation_id"],
    "host": lambda site, issued: "h1",
    "ca_fingerprint": lambda site, issued: issued["ca_fingerprint"],
}

OWN = ("serial", "key_id", "public_key_fingerprint", "delegation_id")  # beside the client or the user itself


def revoked_in(site, certificate) -> bool:
    """Tell what the KRL says, by the real ssh-keygen."""
    krl = site.directory / "krl"
    krl.write_bytes(site.service.call("GET", "krl").body)
    return (
        subprocess.run(["ssh-keygen", "-Q", "-f", krl, certificate], check=False, capture_output=True).returncode == 1
    )


@pytest.mark.parametrize("selector", SELECTORS)
def test_G_09_a_revocation_is_refused_at_the_next_login(site, selector):
    key, certificate, issued = site.certified()
    assert site.login(key, certificate)
    assert not revoked_in(site, certificate)
    body = {selector: SELECTORS[selector](site, issued), "reason": "test"}
    made = site.service.good("POST", "revocations", site.service.operator, body)
    assert not site.login(key, certificate)
    assert made["certificates"] == 1
    assert revoked_in(site, certificate)


def test_another_certificate_of_the_same_user_goes_on(site):
    key, certificate, issued = site.certified()
    other_key, other, _ = site.certified()
    site.service.good("POST", "revocations", site.service.operator, {"serial": issued["serial"], "reason": "test"})
    assert not site.login(key, certificate)
    assert site.login(other_key, other)


def test_a_lifted_revocation_lets_new_certificates_in_and_the_old_one_never(site):
    key, certificate, _ = site.certified()
    made = site.service.good("POST", "revocations", site.service.operator, {"user": "alice", "reason": "test"})
    assert not site.login(key, certificate)
    site.service.good("POST", f"revocations/{made['id']}/lift", site.service.operator)
    new_key, new_certificate, _ = site.certified()
    assert site.login(new_key, new_certificate)
    assert not site.login(key, certificate)


@pytest.mark.parametrize(("who", "itself"), [("client", "client_id"), ("session", "user")])
def test_clients_and_users_revoke_their_own_and_nothing_else(site, who, itself):
    caller = getattr(site.people, who)
    key, certificate, issued = site.certified()
    for selector in sorted(set(SELECTORS) - {*OWN, itself}):
        body = {selector: SELECTORS[selector](site, issued), "reason": "not mine"}
        assert site.service.call("POST", "revocations", caller, body).status == 403, selector
    assert site.login(key, certificate), "nothing that was refused had an effect"
    for selector in (*OWN, itself):
        key, certificate, issued = site.certified()
        assert site.login(key, certificate)
        body = {selector: SELECTORS[selector](site, issued), "reason": "mine"}
        site.service.good("POST", "revocations", caller, body)
        assert not site.login(key, certificate), selector
        if selector == "delegation_id":
            site.people.delegate()


def test_the_users_revoke_button_closes_the_door(site):
    key, certificate, issued = site.certified()
    assert site.login(key, certificate)
    site.service.good("POST", f"delegations/{issued['delegation_id']}/revoke", site.people.session)
    assert not site.login(key, certificate)
