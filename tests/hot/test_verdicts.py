"""A verdict is given again only for the very same facts in the same second; whatever is another is decided anew."""

from dataclasses import replace

import pytest

from tests.unit.facts import FACTS, HOUR, NOW, REQUEST, changed
from tests.unit.test_decide import FACT_ROWS
from tms_ca.core.facts import Denial, Grant, Limits
from tms_ca.core.policy import decide
from tms_ca.services.issuance import MOST_VERDICTS, Verdicts


class Asked:
    """The rules themselves, and how often they were asked."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, *args):
        self.times += 1
        return decide(*args)


@pytest.fixture
def rules():
    return Asked()


@pytest.fixture
def verdicts(rules):
    return Verdicts(rules, Limits())


def test_the_same_facts_in_the_same_second_are_decided_on_once(verdicts, rules):
    first = verdicts.on(REQUEST, FACTS, NOW)
    assert isinstance(first, Grant)
    assert first == decide(REQUEST, FACTS, Limits(), NOW)
    assert verdicts.on(replace(REQUEST), FACTS, NOW) is first
    assert rules.times == 1


@pytest.mark.parametrize(("path", "value", "reason"), FACT_ROWS)
def test_other_facts_are_refused_right_after_a_yes(verdicts, path, value, reason):
    assert isinstance(verdicts.on(REQUEST, FACTS, NOW), Grant)
    denied = verdicts.on(REQUEST, changed(FACTS, path, value), NOW)
    assert isinstance(denied, Denial)
    assert denied.reason is reason
    assert isinstance(verdicts.on(REQUEST, FACTS, NOW), Grant)


def test_facts_that_only_look_the_same_are_decided_on(verdicts, rules):
    verdicts.on(REQUEST, FACTS, NOW)
    verdicts.on(REQUEST, replace(FACTS), NOW)
    assert rules.times == 2


@pytest.mark.parametrize(
    "wish", [{"user": "bob"}, {"host": "h2"}, {"account": "bob"}, {"ttl_seconds": 30}, {"extensions": ("permit-pty",)},
             {"source_address": ("10.0.0.0/8",)}, {"force_command": "id"}, {"reservation_id": "r"}]
)  # fmt: skip
def test_another_wish_has_a_verdict_of_its_own(verdicts, rules, wish):
    verdicts.on(REQUEST, FACTS, NOW)
    other = replace(REQUEST, **wish)
    assert verdicts.on(other, FACTS, NOW) == decide(other, FACTS, Limits(), NOW)
    assert rules.times == 2


def test_the_next_second_is_decided_on_and_the_end_is_seen(verdicts):
    end = FACTS.user.mfa_verified_at + FACTS.tenant.mfa_window_seconds
    granted = verdicts.on(REQUEST, FACTS, end - HOUR)
    assert verdicts.on(REQUEST, FACTS, end - HOUR + 1).valid_after == granted.valid_after + 1
    assert isinstance(verdicts.on(REQUEST, FACTS, end), Denial)
    assert isinstance(verdicts.on(REQUEST, FACTS, end - HOUR), Grant)


def test_there_is_an_end_to_what_is_kept(verdicts, rules):
    for number in range(2 * MOST_VERDICTS + 1):
        verdicts.on(replace(REQUEST, user=f"u{number}"), FACTS, NOW)
    assert len(verdicts._last) <= MOST_VERDICTS
    assert rules.times == 2 * MOST_VERDICTS + 1
