"""decide(), as a table: one valid baseline, each row changes one thing and names the reason."""

import pytest

from tests.unit.facts import DAY, DELEGATION, FACTS, HOUR, NOW, REQUEST, changed
from tms_ca.core.facts import Denial, DenialReason, Grant, KeyStanding, LimitedBy, Limits, UserFacts
from tms_ca.core.model import Constraints, DelegationStatus, PrincipalFormat
from tms_ca.core.policy import decide

R = DenialReason

FACT_ROWS = [
    ("tenant.enabled", False, R.TENANT_DISABLED),
    ("client", None, R.CLIENT_UNKNOWN),
    ("client.enabled", False, R.CLIENT_DISABLED),
    ("client.revoked", True, R.CLIENT_REVOKED),
    ("client.expires_at", NOW, R.CLIENT_EXPIRED),
    ("delegations", (), R.DELEGATION_MISSING),
    ("delegations.host", "h2", R.DELEGATION_OTHER_HOST),
    ("delegations.host", "h", R.DELEGATION_OTHER_HOST),
    ("delegations.host", "h1*x", R.DELEGATION_OTHER_HOST),
    ("delegations.account", "bob", R.DELEGATION_OTHER_ACCOUNT),
    ("delegations.account", "alic", R.DELEGATION_OTHER_ACCOUNT),
    ("delegations.status", DelegationStatus.DENIED, R.DELEGATION_DENIED),
    ("delegations.status", DelegationStatus.REVOKED, R.DELEGATION_REVOKED),
    ("delegations.expires_at", NOW, R.DELEGATION_EXPIRED),
    ("delegations.expires_at", None, R.DELEGATION_EXPIRED),
    ("user", None, R.USER_UNKNOWN),
    ("user.enabled", False, R.USER_DISABLED),
    ("user.revoked", True, R.USER_REVOKED),
    ("host", None, R.HOST_UNKNOWN),
    ("host.enabled", False, R.HOST_DISABLED),
    ("host.revoked", True, R.HOST_REVOKED),
    ("link", None, R.LINK_MISSING),
    ("link.starts_at", NOW + 1, R.LINK_NOT_STARTED),
    ("link.expires_at", NOW, R.LINK_EXPIRED),
    ("user.mfa_verified_at", None, R.MFA_NEVER),
    ("user.mfa_verified_at", NOW - 12 * HOUR, R.MFA_EXPIRED),
    ("tenant.mfa_window_seconds", HOUR, R.MFA_EXPIRED),
    ("user", UserFacts(True, False, NOW - 12 * HOUR, NOW), R.MFA_EXPIRED),
    ("user", UserFacts(True, False, None, NOW), R.MFA_EXPIRED),
    ("key_standing", KeyStanding.CA, R.KEY_IS_CA_KEY),
    ("key_standing", KeyStanding.HOST, R.KEY_IS_HOST_KEY),
    ("key_standing", KeyStanding.REVOKED, R.KEY_REVOKED),
    ("ca_key", None, R.CA_KEY_MISSING),
    ("link.expires_at", NOW + 59, R.LIFETIME_TOO_SHORT),
    ("delegations.uses_left", 0, R.USES_EXHAUSTED),
]


def test_the_baseline_is_granted():
    granted = decide(REQUEST, FACTS, Limits(), NOW)
    assert granted == Grant(
        principals=("alice@h1",),
        valid_after=NOW - 60,
        valid_before=NOW + HOUR,
        limited_by=LimitedBy.DEFAULT,
        critical_options=(),
        extensions=(),
        delegation_id="dlg_1",
        ca_fingerprint="SHA256:ca",
    )


@pytest.mark.parametrize(("path", "value", "reason"), FACT_ROWS)
def test_one_bad_fact_denies(path, value, reason):
    verdict = decide(REQUEST, changed(FACTS, path, value), Limits(), NOW)
    assert isinstance(verdict, Denial)
    assert verdict.reason is reason
    assert verdict.detail


def test_pending_is_said_until_nobody_answers():
    asked = changed(
        changed(FACTS, "delegations.status", DelegationStatus.PENDING), "delegations.pending_until", NOW + 1
    )
    assert decide(REQUEST, asked, Limits(), NOW).reason is R.DELEGATION_PENDING
    assert decide(REQUEST, asked, Limits(), NOW + 1).reason is R.DELEGATION_EXPIRED


REQUEST_ROWS = [
    ("reservation_id", "r1", R.RESERVATION_UNKNOWN),
    ("host", "h2", R.DELEGATION_OTHER_HOST),
    ("account", "bob", R.DELEGATION_OTHER_ACCOUNT),
    ("extensions", ("permit-pty",), R.EXTENSION_NOT_ALLOWED),
]


@pytest.mark.parametrize(("field", "value", "reason"), REQUEST_ROWS)
def test_one_wish_too_many_denies(field, value, reason):
    assert decide(changed(REQUEST, field, value), FACTS, Limits(), NOW).reason is reason


def test_a_principal_that_cannot_be_one_is_refused():
    facts = changed(changed(FACTS, "delegations.account", "*"), "host.principal_format", PrincipalFormat.ACCOUNT)
    assert decide(changed(REQUEST, "account", "a,b"), facts, Limits(), NOW).reason is R.PRINCIPAL_NOT_ALLOWED


def test_every_reason_of_an_issue_has_a_row():
    covered = {row[2] for row in FACT_ROWS + REQUEST_ROWS}
    covered |= {
        R.DELEGATION_PENDING,
        R.PRINCIPAL_NOT_ALLOWED,
        R.SOURCE_ADDRESS_NOT_ALLOWED,
        R.FORCE_COMMAND_NOT_ALLOWED,
    }
    covered |= {R.RESERVATION_OTHER, R.RESERVATION_EXPIRED}  # tests/reservations
    login_only = {reason for reason in R if reason.startswith("certificate_")} | {
        R.CA_KEY_NOT_TRUSTED, R.SOURCES_DISJOINT, R.COMMANDS_DIFFER, R.DESTINATIONS_DISJOINT,
        R.RESTRICTIONS_TOO_LONG,
        R.LOGINS_NOT_COUNTED, R.COMMAND_NOT_WRITABLE,
    }  # fmt: skip
    login_only |= {reason for reason in R if reason.startswith("public_key_")}
    assert covered == set(R) - login_only


LIMIT_ROWS = [
    ("delegations.expires_at", NOW + 600, LimitedBy.DELEGATION),
    ("delegations.constraints", Constraints(max_ttl_seconds=600), LimitedBy.DELEGATION),
    ("link.expires_at", NOW + 600, LimitedBy.ACCOUNT_LINK),
    ("user.mfa_verified_at", NOW - 12 * HOUR + 600, LimitedBy.MFA),
    ("user", UserFacts(True, False, None, NOW + 600), LimitedBy.MFA),
    ("user", UserFacts(True, False, NOW - 12 * HOUR, NOW + 600), LimitedBy.MFA),
    ("client.max_ttl_seconds", 600, LimitedBy.CLIENT),
    ("client.expires_at", NOW + 600, LimitedBy.CLIENT),
    ("tenant.max_ttl_seconds", 600, LimitedBy.TENANT),
    ("ca_key.retire_at", NOW + 600, LimitedBy.CA_KEY),
]


@pytest.mark.parametrize(("path", "value", "limit"), LIMIT_ROWS)
def test_the_tightest_bound_is_named(path, value, limit):
    verdict = decide(changed(REQUEST, "ttl_seconds", 4 * HOUR), changed(FACTS, path, value), Limits(), NOW)
    assert verdict.limited_by is limit
    assert verdict.valid_before <= NOW + 600


def test_a_wish_is_kept_within_the_bounds_and_named():
    assert decide(changed(REQUEST, "ttl_seconds", 1200), FACTS, Limits(), NOW).limited_by is LimitedBy.REQUESTED
    wide = changed(changed(FACTS, "tenant.max_ttl_seconds", 90 * DAY), "tenant.mfa_window_seconds", 90 * DAY)
    longest = decide(changed(REQUEST, "ttl_seconds", 90 * DAY), wide, Limits(), NOW)
    assert longest.limited_by is LimitedBy.INSTALLATION
    assert longest.valid_before - longest.valid_after == DAY


def test_backdating_lengthens_nothing():
    """The whole span counts, and nothing begins before what it rests on."""
    longest = decide(changed(REQUEST, "ttl_seconds", 8 * HOUR), FACTS, Limits(backdate=900), NOW)
    assert longest.valid_before - longest.valid_after == 8 * HOUR
    assert longest.valid_after == NOW - 900
    fresh = decide(REQUEST, changed(FACTS, "delegations.starts_at", NOW - 5), Limits(), NOW)
    assert fresh.valid_after == NOW - 5


MFA_ROWS = [
    # verified, an admin's word until; the certificate begins and ends
    (NOW - 5, None, NOW - 5, NOW + 8 * HOUR - 5),
    (NOW - 5, NOW + HOUR, NOW - 5, NOW + 8 * HOUR - 5),  # the window is the later end
    (NOW - 5, NOW + DAY, NOW - 5, NOW + 8 * HOUR - 5),
    (NOW - 11 * HOUR, NOW + 2 * HOUR, NOW - 60, NOW + 2 * HOUR),  # the word is
    (NOW - 13 * HOUR, NOW + 2 * HOUR, NOW - 60, NOW + 2 * HOUR),
    (None, NOW + 2 * HOUR, NOW - 60, NOW + 2 * HOUR),
    (None, NOW + DAY, NOW - 60, NOW + 8 * HOUR - 60),
]


@pytest.mark.parametrize(("verified", "word", "after", "before"), MFA_ROWS)
def test_the_later_of_window_and_an_admins_word_counts(verified, word, after, before):
    facts = changed(FACTS, "user", UserFacts(True, False, verified, word))
    verdict = decide(changed(REQUEST, "ttl_seconds", DAY), facts, Limits(), NOW)
    assert (verdict.valid_after, verdict.valid_before) == (after, before)


OPTION_ROWS = [
    (("10.0.0.0/8",), ("10.1.0.0/16",), "10.1.0.0/16"),
    (("10.0.0.0/8",), (), "10.0.0.0/8"),
    ((), ("10.1.0.0/16",), "10.1.0.0/16"),
    (("10.0.0.0/8", "2001:db8::/32"), ("2001:db8:1::/48",), "2001:db8:1::/48"),
    (("10.0.0.0/8",), ("11.0.0.0/8",), R.SOURCE_ADDRESS_NOT_ALLOWED),
    (("10.0.0.0/8",), ("10.0.0.0/7",), R.SOURCE_ADDRESS_NOT_ALLOWED),
    (("10.0.0.0/8",), ("2001:db8::/32",), R.SOURCE_ADDRESS_NOT_ALLOWED),
    (("10.0.0.0/8",), ("10.1.0.0/16", "0.0.0.0/0"), R.SOURCE_ADDRESS_NOT_ALLOWED),
]


@pytest.mark.parametrize(("allowed", "wished", "expected"), OPTION_ROWS)
def test_source_addresses_only_narrow(allowed, wished, expected):
    facts = changed(FACTS, "delegations.constraints", Constraints(source_address=allowed))
    verdict = decide(changed(REQUEST, "source_address", wished), facts, Limits(), NOW)
    if isinstance(expected, DenialReason):
        assert verdict.reason is expected
    else:
        assert verdict.critical_options == (("source-address", expected),)


def test_a_forced_command_stays_what_it_is():
    facts = changed(FACTS, "delegations.constraints", Constraints(force_command="squeue"))
    assert decide(REQUEST, facts, Limits(), NOW).critical_options == (("force-command", "squeue"),)
    assert decide(changed(REQUEST, "force_command", "squeue"), facts, Limits(), NOW).critical_options
    assert decide(changed(REQUEST, "force_command", "sh"), facts, Limits(), NOW).reason is R.FORCE_COMMAND_NOT_ALLOWED
    assert decide(changed(REQUEST, "force_command", ""), facts, Limits(), NOW).reason is R.FORCE_COMMAND_NOT_ALLOWED
    assert decide(changed(REQUEST, "force_command", "sh"), FACTS, Limits(), NOW).critical_options == (
        ("force-command", "sh"),
    )


def test_extensions_are_none_unless_delegated():
    facts = changed(FACTS, "delegations.constraints", Constraints(extensions=("permit-port-forwarding", "permit-pty")))
    assert decide(REQUEST, facts, Limits(), NOW).extensions == ("permit-port-forwarding", "permit-pty")
    assert decide(changed(REQUEST, "extensions", ("permit-pty",)), facts, Limits(), NOW).extensions == ("permit-pty",)
    assert decide(changed(REQUEST, "extensions", ()), facts, Limits(), NOW).extensions == ()


def test_of_several_delegations_one_that_allows_and_lasts_longest():
    bare = changed(DELEGATION, "delegation_id", "bare")
    pty = changed(changed(DELEGATION, "delegation_id", "pty"), "constraints", Constraints(extensions=("permit-pty",)))
    short = changed(changed(pty, "delegation_id", "short"), "expires_at", NOW + 2 * HOUR)
    facts = changed(FACTS, "delegations", (bare, short, pty))
    assert decide(changed(REQUEST, "extensions", ("permit-pty",)), facts, Limits(), NOW).delegation_id == "pty"
    gone = changed(FACTS, "delegations", (changed(bare, "status", DelegationStatus.REVOKED), short))
    assert decide(REQUEST, gone, Limits(), NOW).delegation_id == "short"


def test_the_delegation_that_gives_the_longest_life_is_taken():
    """One more delegation never gives less: not one that lasts longer, but allows only short certificates."""
    brief = changed(changed(DELEGATION, "delegation_id", "brief"), "constraints", Constraints(max_ttl_seconds=60))
    other = changed(changed(DELEGATION, "delegation_id", "other"), "expires_at", NOW + DAY)
    for offered in ((brief, other), (other, brief)):
        assert decide(REQUEST, changed(FACTS, "delegations", offered), Limits(), NOW).delegation_id == "other"
    alone = changed(FACTS, "delegations", (brief,))
    assert decide(REQUEST, alone, Limits(), NOW).reason is R.LIFETIME_TOO_SHORT  # back-dated by all of its 60 seconds
    assert decide(REQUEST, alone, Limits(backdate=0), NOW).valid_before == NOW + 60
