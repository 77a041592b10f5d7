"""A reservation stands in for the end of the MFA window: in every decision, and for nothing else."""

from dataclasses import replace

import pytest

from tests.keys.test_decide_key import ASKED, FINGERPRINT, KEY_FACTS
from tests.unit.facts import DAY, FACTS, HOUR, LOGIN, LOGIN_FACTS, NOW, REQUEST, RESERVATION, changed
from tms_ca.core.explain import rests_on
from tms_ca.core.facts import Denial, Grant, LimitedBy, Limits, LoginGrant, UserFacts
from tms_ca.core.facts import DenialReason as R
from tms_ca.core.keylogin import KeyGrant, decide_key
from tms_ca.core.model import DelegationStatus
from tms_ca.core.policy import decide, decide_login, login_ends
from tms_ca.core.sessions import why_ended

NAMED = replace(REQUEST, reservation_id="r1")
LAPSED = UserFacts(enabled=True, revoked=False, mfa_verified_at=NOW - 12 * HOUR)
RESERVED = replace(FACTS, user=LAPSED, reservation=RESERVATION)
ISSUED = replace(LOGIN_FACTS.issued, reservation_id="r1")
LOGIN_RESERVED = replace(LOGIN_FACTS, user=LAPSED, issued=ISSUED, reservation=RESERVATION)
KEY_RESERVED = replace(KEY_FACTS, around=replace(KEY_FACTS.around, user=LAPSED), reserved_until=NOW + HOUR)

# What refuses in spite of a reservation; the names are those of both kinds of facts.
IN_SPITE = [
    ("tenant.enabled", False, R.TENANT_DISABLED),
    ("client", None, R.CLIENT_UNKNOWN),
    ("client.enabled", False, R.CLIENT_DISABLED),
    ("client.revoked", True, R.CLIENT_REVOKED),
    ("client.expires_at", NOW, R.CLIENT_EXPIRED),
    ("user", None, R.USER_UNKNOWN),
    ("user.enabled", False, R.USER_DISABLED),
    ("user.revoked", True, R.USER_REVOKED),
    ("user.mfa_verified_at", None, R.MFA_NEVER),
    ("host", None, R.HOST_UNKNOWN),
    ("host.enabled", False, R.HOST_DISABLED),
    ("host.revoked", True, R.HOST_REVOKED),
    ("link", None, R.LINK_MISSING),
    ("link.expires_at", NOW, R.LINK_EXPIRED),
]
AT_ISSUE = [
    *IN_SPITE,
    ("delegations", (), R.DELEGATION_MISSING),
    ("delegations.status", DelegationStatus.REVOKED, R.DELEGATION_REVOKED),
    ("delegations.expires_at", NOW, R.DELEGATION_EXPIRED),
    ("delegations.uses_left", 0, R.USES_EXHAUSTED),
    ("ca_key", None, R.CA_KEY_MISSING),
    ("reservation", None, R.RESERVATION_UNKNOWN),
    ("reservation.user", "bob", R.RESERVATION_OTHER),
    ("reservation.host", "h2", R.RESERVATION_OTHER),
    ("reservation.account", "bob", R.RESERVATION_OTHER),
    ("reservation.public_key_fingerprint", "SHA256:key", R.RESERVATION_OTHER),
    ("reservation.expires_at", NOW, R.RESERVATION_EXPIRED),
]
AT_LOGIN = [
    *IN_SPITE,
    ("delegation", None, R.DELEGATION_MISSING),
    ("delegation.status", DelegationStatus.REVOKED, R.DELEGATION_REVOKED),
    ("delegation.expires_at", NOW, R.DELEGATION_EXPIRED),
    ("issued.revoked", True, R.CERTIFICATE_REVOKED),
    ("issued.valid_before", NOW, R.CERTIFICATE_EXPIRED),
    ("ca_key_revoked", True, R.CA_KEY_NOT_TRUSTED),
    ("issued.reservation_id", None, R.MFA_EXPIRED),
    ("reservation", None, R.RESERVATION_UNKNOWN),
    ("reservation.user", "bob", R.RESERVATION_UNKNOWN),
    ("reservation.host", "h2", R.RESERVATION_UNKNOWN),
    ("reservation.account", "bob", R.RESERVATION_UNKNOWN),
    ("reservation.public_key_fingerprint", "SHA256:other", R.RESERVATION_UNKNOWN),
    ("reservation.expires_at", NOW, R.RESERVATION_EXPIRED),
]


def test_past_the_window_it_is_yes_with_a_reservation_and_no_without():
    granted = decide(NAMED, RESERVED, Limits(), NOW)
    assert isinstance(granted, Grant)
    assert decide(REQUEST, RESERVED, Limits(), NOW).reason is R.MFA_EXPIRED  # it is there, and not named
    assert decide(REQUEST, replace(RESERVED, reservation=None), Limits(), NOW).reason is R.MFA_EXPIRED
    assert granted.valid_after == NOW - 60
    assert isinstance(decide_login(LOGIN, LOGIN_RESERVED, Limits(), NOW), LoginGrant)


@pytest.mark.parametrize(("path", "value", "reason"), AT_ISSUE)
def test_it_stands_in_for_nothing_else_at_an_issue(path, value, reason):
    verdict = decide(NAMED, changed(RESERVED, path, value), Limits(), NOW)
    assert isinstance(verdict, Denial)
    assert verdict.reason is reason


@pytest.mark.parametrize(("path", "value", "reason"), AT_LOGIN)
def test_it_stands_in_for_nothing_else_at_a_login(path, value, reason):
    verdict = decide_login(LOGIN, changed(LOGIN_RESERVED, path, value), Limits(), NOW)
    assert isinstance(verdict, Denial)
    assert verdict.reason is reason


@pytest.mark.parametrize("value", [None, replace(RESERVATION, expires_at=NOW)])
def test_within_the_window_a_login_asks_nothing_of_it(value):
    facts = replace(LOGIN_RESERVED, user=LOGIN_FACTS.user, reservation=value)
    assert isinstance(decide_login(LOGIN, facts, Limits(), NOW), LoginGrant)
    # An issue that names it does: what is named must be good.
    assert isinstance(decide(NAMED, replace(FACTS, reservation=value), Limits(), NOW), Denial)


ENDS = [
    # the user, the end of the reservation; the certificate's end and what it is limited by
    (LAPSED, NOW + HOUR, NOW + HOUR, LimitedBy.RESERVATION),
    (FACTS.user, NOW + 600, NOW + 8 * HOUR - 60, LimitedBy.TENANT),  # the window is the later end
    (replace(LAPSED, mfa_verified_at=NOW - 12 * HOUR + 600), NOW + HOUR, NOW + HOUR, LimitedBy.RESERVATION),
    (replace(LAPSED, mfa_verified_at=NOW - 11 * HOUR), NOW + 600, NOW + HOUR, LimitedBy.MFA),
    (replace(LAPSED, mfa_until=NOW + HOUR), NOW + 600, NOW + HOUR, LimitedBy.MFA),
    (LAPSED, NOW + DAY, NOW + 8 * HOUR - 60, LimitedBy.TENANT),
]


@pytest.mark.parametrize(("user", "until", "ends", "limited_by"), ENDS)
def test_the_later_end_of_window_and_reservation_counts(user, until, ends, limited_by):
    facts = replace(RESERVED, user=user, reservation=replace(RESERVATION, expires_at=until))
    verdict = decide(replace(NAMED, ttl_seconds=DAY), facts, Limits(), NOW)
    assert (verdict.valid_before, verdict.limited_by) == (ends, limited_by)


def test_sshd_is_told_of_the_end_of_the_reservation():
    facts = replace(LOGIN_RESERVED, reservation=replace(RESERVATION, expires_at=NOW + 600))
    assert login_ends(facts) == NOW + 600
    assert login_ends(replace(facts, issued=LOGIN_FACTS.issued)) == NOW  # the window's, where none is named


def test_a_plain_key_goes_on_while_one_of_its_reservations_lasts():
    verdict = decide_key(ASKED, KEY_RESERVED, Limits(), NOW)
    assert isinstance(verdict, KeyGrant)
    assert decide_key(ASKED, replace(KEY_RESERVED, reserved_until=None), Limits(), NOW).reason is R.MFA_EXPIRED
    assert decide_key(ASKED, replace(KEY_RESERVED, reserved_until=NOW), Limits(), NOW).reason is R.RESERVATION_EXPIRED
    for path, value, reason in [(f"around.{path}", value, reason) for path, value, reason in IN_SPITE]:
        refused = decide_key(ASKED, changed(KEY_RESERVED, path, value), Limits(), NOW)
        assert isinstance(refused, Denial), path
        assert refused.reason is reason, path
    revoked = decide_key(ASKED, changed(KEY_RESERVED, "key.revoked", True), Limits(), NOW)
    assert revoked.reason is R.KEY_REVOKED
    assert decide_key(replace(ASKED, fingerprint=FINGERPRINT), KEY_RESERVED, Limits(), NOW) == verdict


def test_an_open_session_that_rests_on_it_ends_as_with_the_window():
    gone = replace(LOGIN_RESERVED, reservation=None)
    over = replace(LOGIN_RESERVED, reservation=replace(RESERVATION, expires_at=NOW))
    for facts, reason in ((gone, R.RESERVATION_UNKNOWN), (over, R.RESERVATION_EXPIRED)):
        ended = why_ended("h1", "alice", facts, NOW, at_expiry=True)
        assert ended is not None
        assert ended.reason is reason
        assert why_ended("h1", "alice", facts, NOW, at_expiry=False) is None
    assert why_ended("h1", "alice", LOGIN_RESERVED, NOW, at_expiry=True) is None


def test_it_is_explained():
    def said(facts):
        return [
            (one.name, one.state, one.ends_at) for one in rests_on(facts, NOW, same=True) if one.thing == "reservation"
        ]

    assert said(LOGIN_RESERVED) == [("r1", "good", RESERVATION.expires_at)]
    assert said(changed(LOGIN_RESERVED, "reservation.expires_at", NOW)) == [("r1", "ended", NOW)]
    assert said(replace(LOGIN_RESERVED, reservation=None)) == [("r1", "not there", None)]
    assert said(LOGIN_FACTS) == []
