"""Whatever is true: a decision never raises, and taking trust away never turns a no into a yes, nor lasts longer."""

from dataclasses import replace
from random import Random

from hypothesis import given, settings

from tests.unit.dice import WHAT, Dice, dices
from tests.unit.facts import LOGIN, NOW
from tms_ca.core.facts import HARD_MAX_SECONDS, Denial, Grant, KeyStanding, LoginGrant
from tms_ca.core.model import DelegationStatus
from tms_ca.core.policy import decide, decide_login


def lower(value, by):
    return None if value is None else value - by


def worse_delegation(one, how, by):
    match how:
        case "revoked" | "denied" | "pending":
            return replace(one, status=DelegationStatus(how))
        case "earlier end":
            return replace(one, expires_at=lower(one.expires_at, by))
        case "shorter":
            most = min(one.constraints.max_ttl_seconds or by, by)
            return replace(one, constraints=replace(one.constraints, max_ttl_seconds=most))
        case "no extensions":
            return replace(one, constraints=replace(one.constraints, extensions=()))
    return replace(one, host="h2")


def worsen(facts, what, how, by, at):
    """Take one thing of `facts` away, or make it end earlier."""
    if what == "delegations":
        kept = list(facts.delegations)
        if kept and how == "removed":
            del kept[at % len(kept)]
        elif kept:
            kept[at % len(kept)] = worse_delegation(kept[at % len(kept)], how, by)
        return replace(facts, delegations=tuple(kept))
    if what == "key_standing":
        return replace(facts, key_standing=facts.key_standing or KeyStanding.REVOKED)
    one = getattr(facts, what)
    if what != "tenant" and (one is None or how == "removed"):
        return replace(facts, **{what: None})
    fields = {name: getattr(one, name) for name in one.__slots__}
    if how == "revoked" and "revoked" in fields:
        return replace(facts, **{what: replace(one, revoked=True)})
    if how in {"denied", "pending"} and "enabled" in fields:
        return replace(facts, **{what: replace(one, enabled=False)})
    names = ("expires_at", "retire_at", "max_ttl_seconds", "mfa_window_seconds", "mfa_until")
    if what == "user" and how == "no extensions":
        return replace(facts, user=replace(one, mfa_until=None))
    ends = [name for name in names if fields.get(name)]
    if ends:
        name = ends[at % len(ends)]
        return replace(facts, **{what: replace(one, **{name: fields[name] - by})})
    return facts


@settings(max_examples=2000)
@given(dices)
def test_B_01_taking_one_thing_away_never_gives_more(dice):
    request, facts, limits = dice.request(), dice.facts(), dice.limits()
    what, how, by, at = dice.change(WHAT)
    before = decide(request, facts, limits, NOW)
    after = decide(request, worsen(facts, what, how, by, at), limits, NOW)
    assert isinstance(before, Grant | Denial)
    if isinstance(before, Denial):
        assert isinstance(after, Denial), after
        assert before.detail
    elif isinstance(after, Grant):
        assert after.valid_before <= before.valid_before
        assert after.principals == before.principals


@settings(max_examples=1000)
@given(dices)
def test_B_01_a_grant_says_nothing_that_its_delegation_does_not_allow(dice):
    request, facts, limits = dice.request(), dice.facts(), dice.limits()
    verdict = decide(request, facts, limits, NOW)
    if isinstance(verdict, Denial):
        return
    sources = [d for d in facts.delegations if d.delegation_id == verdict.delegation_id]
    critical = dict(verdict.critical_options)
    assert any(
        d.status is DelegationStatus.APPROVED
        and verdict.valid_before <= d.expires_at
        and verdict.valid_after >= (d.starts_at or 0)
        and verdict.valid_before - verdict.valid_after <= (d.constraints.max_ttl_seconds or HARD_MAX_SECONDS)
        and set(verdict.extensions) <= set(d.constraints.extensions)
        and (d.constraints.force_command is None or critical.get("force-command") == d.constraints.force_command)
        and (not d.constraints.source_address or "source-address" in critical)
        and not (d.account == "*" and request.account == "root")
        for d in sources
    )


def worsen_login(facts, what, how, by, at):
    if what == "delegations":
        one = facts.delegation
        gone = one is None or how == "removed"
        # What a delegation allows of a new certificate says nothing about one that was issued.
        return replace(facts, delegation=None if gone else worse_delegation(one, how, by))
    if what == "ca_key":
        return replace(facts, ca_key_revoked=True)
    if what == "issued":
        one = facts.issued
        return replace(facts, issued=None if one is None or how == "removed" else replace(one, revoked=True))
    return worsen(facts, what, how, by, at)


@settings(max_examples=2000)
@given(dices)
def test_taking_one_thing_away_never_opens_a_door(dice):
    facts, limits = dice.login_facts(), dice.limits()
    what, how, by, at = dice.change([*WHAT, "issued"])
    before = decide_login(LOGIN, facts, limits, NOW)
    after = decide_login(LOGIN, worsen_login(facts, what, how, by, at), limits, NOW)
    assert isinstance(before, LoginGrant | Denial)
    if isinstance(before, Denial):
        assert isinstance(after, Denial)


def test_these_dice_throw_enough_of_everything():
    dice = Dice(Random(1))
    issues = [decide(dice.request(), dice.facts(), dice.limits(), NOW) for _ in range(2000)]
    logins = [decide_login(LOGIN, dice.login_facts(), dice.limits(), NOW) for _ in range(2000)]
    assert sum(isinstance(verdict, Grant) for verdict in issues) > 300
    assert sum(isinstance(verdict, LoginGrant) for verdict in logins) > 300
    assert len({verdict.reason for verdict in issues if isinstance(verdict, Denial)}) > 20
