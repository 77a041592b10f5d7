"""B-01: whatever the grants, a certificate lies inside every one of them; and what is worse is never better."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.facts import FACTS, LOGIN, LOGIN_FACTS, NOW, REQUEST
from tms_ca.core.facts import HARD_MAX_SECONDS, MIN_LIFETIME_SECONDS, Denial, Grant, KeyStanding, Limits
from tms_ca.core.model import Constraints, DelegationStatus
from tms_ca.core.policy import decide, decide_login

moment = st.integers(NOW - 200_000, NOW + 200_000)
length = st.integers(60, 200_000)
maybe = st.one_of(st.none(), moment)
flag = st.sampled_from([True, True, True, False])

delegations = st.builds(
    lambda base, status, starts, ends, most: replace(
        base, status=status, starts_at=starts, expires_at=ends, constraints=Constraints(max_ttl_seconds=most)
    ),
    st.just(FACTS.delegations[0]),
    st.sampled_from([DelegationStatus.APPROVED] * 5 + list(DelegationStatus)),
    maybe, maybe, st.one_of(st.none(), st.integers(60, HARD_MAX_SECONDS)),
)  # fmt: skip

facts_of = st.builds(
    lambda *f: replace(
        FACTS,
        tenant=replace(FACTS.tenant, enabled=f[0], mfa_window_seconds=f[1], default_ttl_seconds=f[2], max_ttl_seconds=f[3]),
        client=replace(FACTS.client, enabled=f[4], expires_at=f[5], max_ttl_seconds=f[6]),
        user=replace(FACTS.user, enabled=f[7], mfa_verified_at=f[8]),
        link=replace(FACTS.link, starts_at=f[9], expires_at=f[10]),
        delegations=tuple(f[11]),
        ca_key=replace(FACTS.ca_key, retire_at=f[12]),
        key_standing=f[13],
    ),
    flag, length, length, length, flag, maybe, st.one_of(st.none(), length), flag, maybe, moment, moment,
    st.lists(delegations, max_size=3), maybe, st.sampled_from([None] * 5 + list(KeyStanding)),
)  # fmt: skip
limits_of = st.builds(Limits, st.integers(0, 900), st.integers(60, HARD_MAX_SECONDS))
requests = st.builds(lambda ttl: replace(REQUEST, ttl_seconds=ttl), st.one_of(st.none(), length))


@settings(max_examples=2000)
@given(requests, facts_of, limits_of)
def test_B_01_a_certificate_lies_inside_every_grant(request, facts, limits):
    verdict = decide(request, facts, limits, NOW)
    if isinstance(verdict, Denial):
        return
    found = next(d for d in facts.delegations if d.expires_at == max(
        d.expires_at or 0 for d in facts.delegations if d.status is DelegationStatus.APPROVED and (d.expires_at or 0) > NOW
    ))  # fmt: skip
    starts = [NOW - limits.backdate, facts.link.starts_at, facts.user.mfa_verified_at, found.starts_at or 0]
    ends = [
        NOW + (request.ttl_seconds or facts.tenant.default_ttl_seconds),
        facts.link.expires_at,
        facts.user.mfa_verified_at + facts.tenant.mfa_window_seconds,
        found.expires_at,
        *([facts.client.expires_at] if facts.client.expires_at else []),
        *([facts.ca_key.retire_at] if facts.ca_key.retire_at else []),
    ]
    spans = [facts.tenant.max_ttl_seconds, limits.max_ttl, HARD_MAX_SECONDS, facts.client.max_ttl_seconds]
    assert verdict.valid_after >= max(start for start in starts)
    assert verdict.valid_before <= min(ends)
    assert verdict.valid_before - verdict.valid_after <= min(span for span in spans if span is not None)
    assert verdict.valid_before - NOW >= MIN_LIFETIME_SECONDS
    assert verdict.principals == ("alice@h1",)


WORSE = [
    lambda f: replace(f, tenant=replace(f.tenant, enabled=False)),
    lambda f: replace(f, client=None),
    lambda f: replace(f, client=replace(f.client, revoked=True)),
    lambda f: replace(f, client=replace(f.client, max_ttl_seconds=60)),
    lambda f: replace(f, user=replace(f.user, revoked=True)),
    lambda f: replace(f, user=replace(f.user, mfa_verified_at=None)),
    lambda f: replace(f, host=replace(f.host, enabled=False)),
    lambda f: replace(f, link=None),
    lambda f: replace(f, link=replace(f.link, expires_at=f.link.expires_at - 1000)),
    lambda f: replace(f, tenant=replace(f.tenant, max_ttl_seconds=f.tenant.max_ttl_seconds // 2)),
    lambda f: replace(f, delegations=()),
    lambda f: replace(f, delegations=tuple(replace(d, status=DelegationStatus.REVOKED) for d in f.delegations)),
    lambda f: replace(f, ca_key=None),
    lambda f: replace(f, key_standing=KeyStanding.REVOKED),
]


@settings(max_examples=1000)
@given(requests, facts_of, limits_of, st.sampled_from(WORSE))
def test_B_01_what_is_worse_never_gives_more(request, facts, limits, worsen):
    before, after = decide(request, facts, limits, NOW), decide(request, worsen(facts), limits, NOW)
    if isinstance(before, Denial):
        assert isinstance(after, Denial)
    elif isinstance(after, Grant):
        assert after.valid_before <= before.valid_before


LOGIN_WORSE = [
    lambda f: replace(f, issued=None),
    lambda f: replace(f, issued=replace(f.issued, revoked=True)) if f.issued else f,
    lambda f: replace(f, client=replace(f.client, revoked=True)) if f.client else f,
    lambda f: replace(f, user=None),
    lambda f: replace(f, delegation=replace(f.delegation, status=DelegationStatus.REVOKED)) if f.delegation else f,
    lambda f: replace(f, link=None),
    lambda f: replace(f, ca_key_revoked=True),
    lambda f: replace(f, host=None),
    lambda f: replace(f, key_standing=KeyStanding.REVOKED),
]


@given(st.lists(st.sampled_from(LOGIN_WORSE), max_size=4), st.sampled_from(LOGIN_WORSE))
def test_a_revoked_fact_never_opens_a_door(already, one_more):
    facts = LOGIN_FACTS
    for worsen in already:
        facts = worsen(facts)
    before, after = decide_login(LOGIN, facts, Limits(), NOW), decide_login(LOGIN, one_more(facts), Limits(), NOW)
    assert isinstance(after, Denial)
    assert already == [] or isinstance(before, Denial)
