"""B-01: whatever the grants, a certificate lies inside every one of them; test_monotone.py: worse is never better."""

from hypothesis import given, settings

from tests.unit.dice import dices
from tests.unit.facts import NOW
from tms_ca.core.facts import HARD_MAX_SECONDS, MIN_LIFETIME_SECONDS, Denial
from tms_ca.core.policy import decide


@settings(max_examples=2000)
@given(dices)
def test_B_01_a_certificate_lies_inside_every_grant(dice):
    request, facts, limits = dice.request(), dice.facts(), dice.limits()
    verdict = decide(request, facts, limits, NOW)
    if isinstance(verdict, Denial):
        return
    (found,) = [one for one in facts.delegations if one.delegation_id == verdict.delegation_id]
    verified, window = facts.user.mfa_verified_at or 0, facts.tenant.mfa_window_seconds
    reserved = facts.reservation.expires_at if request.reservation_id else 0
    starts = [NOW - limits.backdate, facts.link.starts_at, found.starts_at or 0]
    starts += [verified] if NOW < verified + window else []
    ends = [
        NOW + (request.ttl_seconds or facts.tenant.default_ttl_seconds),
        facts.link.expires_at,
        max(verified + window if verified else 0, facts.user.mfa_until or 0, reserved),
        found.expires_at,
        *([facts.client.expires_at] if facts.client.expires_at else []),
        *([facts.ca_key.retire_at] if facts.ca_key.retire_at else []),
    ]
    spans = [
        facts.tenant.max_ttl_seconds,
        limits.max_ttl,
        HARD_MAX_SECONDS,
        facts.client.max_ttl_seconds,
        found.constraints.max_ttl_seconds,
    ]
    assert verdict.valid_after >= max(start for start in starts)
    assert verdict.valid_before <= min(ends)
    assert verdict.valid_before - verdict.valid_after <= min(span for span in spans if span is not None)
    assert verdict.valid_before - max(NOW, verdict.valid_after) >= MIN_LIFETIME_SECONDS
    assert verdict.principals == (facts.host.principal_format.principal(request.account, "h1"),)
