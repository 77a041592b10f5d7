"""decide_login(), as a table: every rule again, on what is true at the login."""

from dataclasses import replace

import pytest

from tests.unit.facts import DELEGATION, DIGEST, HOUR, LOGIN, LOGIN_FACTS, NOW, changed
from tms_ca.core.facts import DenialReason, KeyStanding, Limits, LoginGrant, UserFacts
from tms_ca.core.model import DelegationStatus, KeyState, PrincipalFormat, Restrictions
from tms_ca.core.policy import decide_login, login_ends

R = DenialReason

ROWS = [
    ("tenant.enabled", False, R.TENANT_DISABLED),
    ("issued", None, R.CERTIFICATE_UNKNOWN),
    ("issued.sha256", b"\x02" * 32, R.CERTIFICATE_ALTERED),
    ("issued.revoked", True, R.CERTIFICATE_REVOKED),
    ("issued.host", "h2", R.CERTIFICATE_OTHER_HOST),
    ("issued.account", "bob", R.CERTIFICATE_OTHER_ACCOUNT),
    ("issued.valid_after", NOW + 61, R.CERTIFICATE_NOT_STARTED),
    ("issued.valid_before", NOW, R.CERTIFICATE_EXPIRED),
    ("ca_key_state", None, R.CA_KEY_NOT_TRUSTED),
    ("ca_key_state", KeyState.RETIRED, R.CA_KEY_NOT_TRUSTED),
    ("ca_key_revoked", True, R.CA_KEY_NOT_TRUSTED),
    ("key_standing", KeyStanding.REVOKED, R.KEY_REVOKED),
    ("key_standing", KeyStanding.HOST, R.KEY_IS_HOST_KEY),
    ("key_standing", KeyStanding.CA, R.KEY_IS_CA_KEY),
    ("client", None, R.CLIENT_UNKNOWN),
    ("client.enabled", False, R.CLIENT_DISABLED),
    ("client.revoked", True, R.CLIENT_REVOKED),
    ("client.expires_at", NOW, R.CLIENT_EXPIRED),
    ("user", None, R.USER_UNKNOWN),
    ("user.enabled", False, R.USER_DISABLED),
    ("user.revoked", True, R.USER_REVOKED),
    ("host", None, R.HOST_UNKNOWN),
    ("host.enabled", False, R.HOST_DISABLED),
    ("host.revoked", True, R.HOST_REVOKED),
    ("delegation", None, R.DELEGATION_MISSING),
    ("delegation.status", DelegationStatus.REVOKED, R.DELEGATION_REVOKED),
    ("delegation.status", DelegationStatus.DENIED, R.DELEGATION_DENIED),
    ("delegation", replace(DELEGATION, status=DelegationStatus.PENDING, pending_until=NOW + 1), R.DELEGATION_PENDING),
    ("delegation.expires_at", NOW, R.DELEGATION_EXPIRED),
    ("link", None, R.LINK_MISSING),
    ("link.expires_at", NOW, R.LINK_EXPIRED),
    ("link.starts_at", NOW + 1, R.LINK_NOT_STARTED),
    ("user.mfa_verified_at", None, R.MFA_NEVER),
    ("user.mfa_verified_at", NOW - 12 * HOUR, R.MFA_EXPIRED),
    ("user", UserFacts(True, False, NOW - 12 * HOUR, NOW), R.MFA_EXPIRED),
    ("user", UserFacts(True, False, None, NOW), R.MFA_EXPIRED),
    ("host.principal_format", PrincipalFormat.ACCOUNT, R.PRINCIPAL_NOT_ALLOWED),
    ("issued.principals", (), R.PRINCIPAL_NOT_ALLOWED),
    ("issued.principals", ("alice@h1 ", "*", ""), R.PRINCIPAL_NOT_ALLOWED),
    ("delegation.uses_left", 0, R.USES_EXHAUSTED),
    ("delegation.uses_left", -1, R.USES_EXHAUSTED),
]
# What a restriction must agree with, and does not; tests/logins/test_restrictions.py has the rest.
OWN = {"force-command": "true", "source-address": "10.0.0.0/8"}
RESTRICTED_ROWS = [
    (Restrictions(source_address=("192.0.2.0/24",)), R.SOURCES_DISJOINT),
    (Restrictions(force_command="false"), R.COMMANDS_DIFFER),
    (Restrictions(permit_open=("db:5432",)), R.DESTINATIONS_DISJOINT),
    (Restrictions(source_address=tuple(f"10.{n}.{n}.{n}/32" for n in range(100, 255))), R.RESTRICTIONS_TOO_LONG),
]


def test_the_baseline_is_granted():
    assert decide_login(LOGIN, LOGIN_FACTS, Limits(), NOW) == LoginGrant(("alice@h1",))


@pytest.mark.parametrize(("path", "value", "reason"), ROWS)
def test_one_bad_fact_denies(path, value, reason):
    verdict = decide_login(LOGIN, changed(LOGIN_FACTS, path, value), Limits(), NOW)
    assert getattr(verdict, "reason", None) is reason


@pytest.mark.parametrize(("rule", "reason"), RESTRICTED_ROWS)
def test_a_restriction_that_cannot_be_kept_denies(rule, reason):
    facts = changed(LOGIN_FACTS, "issued.critical_options", tuple(OWN.items()))
    facts = changed(facts, "host.restrictions", Restrictions(permit_open=("web:443",)))
    assert isinstance(decide_login(LOGIN, facts, Limits(), NOW), LoginGrant)
    assert decide_login(LOGIN, changed(facts, "delegation.restrictions", rule), Limits(), NOW).reason is reason


@pytest.mark.parametrize(("field", "value", "reason"), [
    ("host", "h2", R.CERTIFICATE_OTHER_HOST), ("account", "root", R.CERTIFICATE_OTHER_ACCOUNT),
    ("sha256", DIGEST[:-1] + b"\0", R.CERTIFICATE_ALTERED), ("sha256", b"", R.CERTIFICATE_ALTERED),
])  # fmt: skip
def test_another_question_gets_another_answer(field, value, reason):
    assert decide_login(changed(LOGIN, field, value), LOGIN_FACTS, Limits(), NOW).reason is reason


@pytest.mark.parametrize("state", [KeyState.NEXT, KeyState.ACTIVE, KeyState.RETIRING])
def test_what_a_trusted_key_signed_stands(state):
    assert isinstance(decide_login(LOGIN, changed(LOGIN_FACTS, "ca_key_state", state), Limits(), NOW), LoginGrant)


@pytest.mark.parametrize("verified", [None, NOW - 13 * HOUR])
def test_an_admins_word_keeps_a_certificate_good_until_it_ends(verified):
    facts = changed(LOGIN_FACTS, "user", UserFacts(True, False, verified, NOW + 1))
    assert isinstance(decide_login(LOGIN, facts, Limits(), NOW), LoginGrant)
    assert login_ends(facts) == NOW + 1
    assert decide_login(LOGIN, facts, Limits(), NOW + 1).reason is R.MFA_EXPIRED


def test_every_reason_of_a_login_has_a_row():
    issue_only = {
        R.DELEGATION_OTHER_HOST, R.DELEGATION_OTHER_ACCOUNT, R.RESERVATION_OTHER, R.SOURCE_ADDRESS_NOT_ALLOWED,
        R.FORCE_COMMAND_NOT_ALLOWED, R.EXTENSION_NOT_ALLOWED, R.CA_KEY_MISSING, R.LIFETIME_TOO_SHORT,
    }  # fmt: skip
    of_plain_keys = {reason for reason in R if reason.startswith("public_key_")}
    of_plain_keys |= {R.LOGINS_NOT_COUNTED, R.COMMAND_NOT_WRITABLE}
    covered = {row[2] for row in ROWS} | {row[1] for row in RESTRICTED_ROWS}
    covered |= {R.RESERVATION_UNKNOWN, R.RESERVATION_EXPIRED}  # tests/reservations
    assert covered == set(R) - issue_only - of_plain_keys


def test_an_early_host_may_be_behind_by_the_backdating_and_no_more():
    early = changed(LOGIN_FACTS, "issued.valid_after", NOW + 60)
    assert isinstance(decide_login(LOGIN, early, Limits(backdate=60), NOW), LoginGrant)
    assert decide_login(LOGIN, early, Limits(backdate=59), NOW).reason is R.CERTIFICATE_NOT_STARTED


def test_a_host_that_names_accounts_alone_gets_the_account_alone():
    facts = changed(
        changed(LOGIN_FACTS, "host.principal_format", PrincipalFormat.ACCOUNT), "issued.principals", ("alice",)
    )
    assert decide_login(LOGIN, facts, Limits(), NOW) == LoginGrant(("alice",))
