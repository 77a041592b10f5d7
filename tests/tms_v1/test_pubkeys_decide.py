"""decide_key_mode: a yes or no for the same reasons as an escrow, lengths of time apart."""

from dataclasses import replace

import pytest
from hypothesis import given, settings

from tests.unit.dice import dices
from tests.unit.facts import DAY, DELEGATION, FACTS, HOUR, NOW, REQUEST, changed
from tms_ca.core.facts import Denial, DenialReason, Grant, LimitedBy, Limits
from tms_ca.core.keylogin import decide_escrow
from tms_ca.core.keymode import decide_key_mode, ended_at, key_type_and_bits, lifetime
from tms_ca.core.model import Constraints, DelegationStatus
from tms_ca.core.publickey import parse_public_key
from tms_ca.core.times import LAST_SECOND
from tms_ca.keypairs import KeyKind, make_pair


@given(dices)
@settings(max_examples=150, deadline=None)
def test_only_lengths_are_not_asked_about(dice):
    request, facts, limits = replace(dice.request(), ttl_seconds=None, reservation_id=None), dice.facts(), dice.limits()
    escrow, mode = decide_escrow(request, facts, limits, NOW), decide_key_mode(request, facts, limits, NOW)
    if isinstance(escrow, Grant):
        assert isinstance(mode, Grant)
    elif escrow.reason is not DenialReason.LIFETIME_TOO_SHORT:
        assert isinstance(mode, Denial)
        assert mode.reason is escrow.reason


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("link.expires_at", NOW + 1),
        ("delegations.expires_at", NOW + 1),
        ("user.mfa_verified_at", NOW + 1 - 12 * HOUR),
        ("client.expires_at", NOW + 1),
        ("client.max_ttl_seconds", 1),
        ("delegations.constraints", Constraints(max_ttl_seconds=60)),
        ("tenant.max_ttl_seconds", 60),
    ],
)
def test_the_last_second_is_enough_and_the_next_is_none(path, value):
    facts = changed(FACTS, path, value)
    assert isinstance(decide_key_mode(REQUEST, facts, Limits(), NOW), Grant)
    assert decide_escrow(REQUEST, facts, Limits(), NOW).reason is DenialReason.LIFETIME_TOO_SHORT
    later = decide_key_mode(REQUEST, facts, Limits(), NOW + 1)
    assert isinstance(later, Denial) is (not path.endswith(("max_ttl_seconds", "constraints")))


def test_of_two_delegations_it_rests_on_the_longer():
    for ends in (NOW + 20, NOW + 400 * DAY):
        other = replace(DELEGATION, delegation_id="dlg_2", expires_at=ends)
        for both in ((DELEGATION, other), (other, DELEGATION)):
            verdict = decide_key_mode(REQUEST, replace(FACTS, delegations=both), Limits(), NOW)
            assert verdict.delegation_id == ("dlg_2" if ends > DELEGATION.expires_at else "dlg_1")


def test_the_end_that_is_named_is_that_of_the_reason():
    window = 12 * HOUR
    for path, value, reason, ended in (
        ("link.expires_at", NOW - 5, DenialReason.LINK_EXPIRED, NOW - 5),
        ("delegations.expires_at", NOW - 6, DenialReason.DELEGATION_EXPIRED, NOW - 6),
        ("user.mfa_verified_at", NOW - window - 7, DenialReason.MFA_EXPIRED, NOW - 7),
        ("user.enabled", False, DenialReason.USER_DISABLED, None),
        ("delegations.status", DelegationStatus.REVOKED, DenialReason.DELEGATION_REVOKED, None),
    ):
        facts = changed(FACTS, path, value)
        verdict = decide_key_mode(REQUEST, facts, Limits(), NOW)
        assert (verdict.reason, ended_at(verdict, facts)) == (reason, ended)


@pytest.mark.parametrize(
    ("asked", "delegation", "client", "expected"),
    [
        (600, None, None, (NOW + 600, LimitedBy.REQUESTED)),
        (600, Constraints(max_ttl_seconds=60), 300, (NOW + 60, LimitedBy.DELEGATION)),
        (600, Constraints(), 300, (NOW + 300, LimitedBy.CLIENT)),
        (600, Constraints(max_ttl_seconds=700), 700, (NOW + 600, LimitedBy.REQUESTED)),
        (LAST_SECOND, Constraints(), None, (LAST_SECOND, LimitedBy.REQUESTED)),
        (0, Constraints(), None, (NOW, LimitedBy.REQUESTED)),
    ],
)
def test_a_key_lasts_as_long_as_asked_and_as_delegation_and_client_say(asked, delegation, client, expected):
    assert lifetime(NOW, asked, delegation, client) == expected


def test_sizes_are_told_by_the_key_itself(tmp_path):
    for kind in (KeyKind.ED25519, KeyKind.ECDSA, KeyKind.RSA):
        key = parse_public_key(make_pair(kind).public_key)
        assert key_type_and_bits(key.algorithm, key.blob) == (kind, kind.bits)
