"""strict = false: what has ended is forgiven, counted and on record; nothing else is."""

import json

import pytest

from tests.keys.test_decide_key import ASKED, BAD_FACTS, KEY_FACTS
from tests.tms_v1.retrieving import Asker
from tests.unit.facts import NOW, changed
from tms_ca.core.facts import Denial, Limits
from tms_ca.core.keylogin import KeyGrant, decide_key
from tms_ca.core.leniency import FORGIVEN, decide_leniently

ENDS = [
    ("key.expires_at", NOW),
    ("key.uses_left", 0),
    ("around.user.mfa_verified_at", NOW - 86400),
    ("around.link.expires_at", NOW),
    ("around.delegation.expires_at", NOW),
]


def judge(facts):
    return decide_leniently(ASKED, facts, Limits(), NOW)


def test_each_end_is_forgiven_and_named_alone_and_together():
    everything = KEY_FACTS
    for path, value in ENDS:
        ended = changed(KEY_FACTS, path, value)
        denial = decide_key(ASKED, ended, Limits(), NOW)
        verdict = judge(ended)
        assert isinstance(verdict, KeyGrant), path
        assert (verdict.forgiven, verdict.takes_use) == (denial.reason, False)
        everything = changed(everything, path, value)
    assert isinstance(judge(everything), KeyGrant)
    assert judge(KEY_FACTS) == decide_key(ASKED, KEY_FACTS, Limits(), NOW)
    assert judge(KEY_FACTS).forgiven is None


@pytest.mark.parametrize(("path", "value", "reason"), BAD_FACTS)
def test_nothing_else_is_forgiven_even_where_something_has_ended(path, value, reason):
    bad = changed(KEY_FACTS, path, value)
    if (path, value) in ENDS or (reason in FORGIVEN and not path.startswith("around.delegation.uses")):
        assert isinstance(judge(bad), KeyGrant)
        return
    assert isinstance(judge(bad), Denial)
    assert judge(bad) == decide_key(ASKED, bad, Limits(), NOW)
    for end, ended in ENDS:
        parts = end.split(".")[:-1]
        if path.startswith(".".join(parts)) and (value is None or path == end):
            continue  # what is not there cannot end
        assert isinstance(judge(changed(bad, end, ended)), Denial), (path, end)


def test_an_admins_word_and_a_reservation_that_ended_are_forgiven_too():
    facts = changed(changed(KEY_FACTS, "around.user.mfa_verified_at", None), "around.user.mfa_until", NOW)
    assert judge(facts).forgiven == "mfa_expired"
    assert judge(changed(facts, "around.user.mfa_until", NOW + 1)).forgiven is None
    assert judge(changed(facts, "reserved_until", NOW)).forgiven == "reservation_expired"
    assert judge(changed(facts, "reserved_until", NOW + 1)).forgiven is None
    assert judge(changed(facts, "around.user.mfa_until", None)).reason == "mfa_never"


def test_a_use_that_can_be_taken_is_taken():
    facts = changed(changed(KEY_FACTS, "key.uses_left", 3), "around.link.expires_at", NOW)
    verdict = judge(facts)
    assert (verdict.forgiven, verdict.takes_use) == ("account_link_expired", True)


async def test_a_lenient_yes_is_counted_and_on_record_and_a_revoked_key_gets_none(started):
    async with started(strict="false") as tms:
        asker, world = Asker(tms), tms.world
        await asker.furnish()
        path = "audit-events?action=logins.key"
        assert await asker.key() == asker.public
        assert (await world.good("GET", path, auth=world.operator))["items"] == []
        tms.clock.move(3601)
        assert await asker.key() == asker.public
        (event,) = (await world.good("GET", path, auth=world.operator))["items"]
        assert event["outcome"] == "ok"
        assert json.loads(event["detail"]) == {"lenient": "public_key_expired"}
        assert await asker.metric("tms_v1_lenient_total", code="public_key_expired") == 1
        await asker.escrow(max_uses=1)
        for _ in range(2):
            assert await asker.key() == asker.public
            tms.clock.move(30)
        assert await asker.metric("tms_v1_lenient_total", code="uses_exhausted") == 1
        # The strict API is strict whatever is set here.
        body = {"account": "alice", "fingerprint": asker.fingerprint, "key_type": "ssh-ed25519", "nonce": "0" * 32}
        reply = await world.call("POST", "hosts/h1/keys", auth=world.hosts["h1"], json=body)
        assert reply.code == "uses_exhausted"
        reason = {"public_key_fingerprint": asker.fingerprint, "reason": "leaked"}
        await world.good("POST", "revocations", auth=world.operator, json=reason)
        assert await asker.key() is None


async def test_where_the_service_is_strict_nothing_is_forgiven(tms):
    asker = Asker(tms)
    await asker.furnish()
    tms.clock.move(3601)
    assert await asker.key() is None
    assert await asker.metric("tms_v1_lenient_total", code="public_key_expired") == 0
