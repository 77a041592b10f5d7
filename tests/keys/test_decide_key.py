"""decide_escrow and decide_key: one bad fact refuses, and every line that is granted is one that the helper takes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keycmd.keylines import fingerprint_of, valid_line, without_expiry
from tests.unit.facts import DAY, FACTS, HOUR, LOGIN_FACTS, NOW, REQUEST, changed
from tms_ca.core.facts import Denial, Grant, KeyStanding, Limits
from tms_ca.core.facts import DenialReason as R
from tms_ca.core.keylogin import USE_SECONDS, EscrowedKey, KeyFacts, KeyGrant, KeyRequest, decide_escrow, decide_key
from tms_ca.core.model import Constraints, DelegationStatus, Restrictions
from tms_ca.core.names import KNOWN_EXTENSIONS

BLOB = "AAAAC3NzaC1lZDI1NTE5AAAAIKHqFA4kTRiKRfMCcEz+6xYiGmj7rLa6e8E4tqPf5E9W"
TYPE = "ssh-ed25519"
FINGERPRINT = fingerprint_of(TYPE, BLOB)
KEY = EscrowedKey(
    key_id="key_1", user="alice", client_id="portal", host="h1", account="alice", delegation_id="dlg_1", key_type=TYPE,
    public_key=BLOB, critical_options=(), extensions=(), valid_after=NOW - 60, expires_at=NOW + HOUR, uses_left=None,
    used_at=None, revoked=False,
)  # fmt: skip
KEY_FACTS = KeyFacts(KEY, replace(LOGIN_FACTS, issued=None, ca_key_state=None))
ASKED = KeyRequest("h1", "alice", FINGERPRINT, TYPE)
BAD_FACTS = [
    ("around.tenant.enabled", False, R.TENANT_DISABLED),
    ("key", None, R.PUBLIC_KEY_UNKNOWN),
    ("key.key_type", "ssh-rsa", R.PUBLIC_KEY_UNKNOWN),
    ("key.revoked", True, R.KEY_REVOKED),
    ("key.host", "h2", R.PUBLIC_KEY_OTHER_HOST),
    ("key.account", "bob", R.PUBLIC_KEY_OTHER_ACCOUNT),
    ("key.expires_at", NOW, R.PUBLIC_KEY_EXPIRED),
    ("key.uses_left", 0, R.USES_EXHAUSTED),
    ("around.key_standing", KeyStanding.CA, R.KEY_IS_CA_KEY),
    ("around.key_standing", KeyStanding.HOST, R.KEY_IS_HOST_KEY),
    ("around.key_standing", KeyStanding.REVOKED, R.KEY_REVOKED),
    ("around.client", None, R.CLIENT_UNKNOWN),
    ("around.client.enabled", False, R.CLIENT_DISABLED),
    ("around.client.revoked", True, R.CLIENT_REVOKED),
    ("around.client.expires_at", NOW, R.CLIENT_EXPIRED),
    ("around.user", None, R.USER_UNKNOWN),
    ("around.user.enabled", False, R.USER_DISABLED),
    ("around.user.revoked", True, R.USER_REVOKED),
    ("around.user.mfa_verified_at", None, R.MFA_NEVER),
    ("around.user.mfa_verified_at", NOW - 12 * HOUR, R.MFA_EXPIRED),
    ("around.host", None, R.HOST_UNKNOWN),
    ("around.host.enabled", False, R.HOST_DISABLED),
    ("around.host.revoked", True, R.HOST_REVOKED),
    ("around.link", None, R.LINK_MISSING),
    ("around.link.starts_at", NOW + 1, R.LINK_NOT_STARTED),
    ("around.link.expires_at", NOW, R.LINK_EXPIRED),
    ("around.delegation", None, R.DELEGATION_MISSING),
    ("around.delegation.status", DelegationStatus.REVOKED, R.DELEGATION_REVOKED),
    ("around.delegation.status", DelegationStatus.DENIED, R.DELEGATION_DENIED),
    ("around.delegation.expires_at", NOW, R.DELEGATION_EXPIRED),
    ("around.delegation.uses_left", 5, R.LOGINS_NOT_COUNTED),
    ("around.delegation.uses_left", 0, R.USES_EXHAUSTED),
]


def judge(facts: KeyFacts, now: int = NOW, request: KeyRequest = ASKED) -> KeyGrant | Denial:
    return decide_key(request, facts, Limits(), now)


def test_the_baseline_is_granted():
    verdict = judge(KEY_FACTS)
    assert isinstance(verdict, KeyGrant)
    assert not verdict.takes_use
    assert valid_line(verdict.line, FINGERPRINT, TYPE)
    assert without_expiry(verdict.line) == f"restrict {TYPE} {BLOB}"


@pytest.mark.parametrize(("path", "value", "reason"), BAD_FACTS)
def test_one_bad_fact_denies(path, value, reason):
    verdict = judge(changed(KEY_FACTS, path, value))
    assert isinstance(verdict, Denial)
    assert verdict.reason is reason


def test_a_use_covers_the_questions_of_its_spell_and_no_others():
    once = changed(changed(KEY_FACTS, "key.uses_left", 0), "key.used_at", NOW)
    last = judge(once, NOW + USE_SECONDS - 1)
    assert isinstance(last, KeyGrant)
    assert not last.takes_use
    for moment in (NOW - 1, NOW + USE_SECONDS):
        assert judge(once, moment).reason is R.USES_EXHAUSTED
    assert judge(changed(once, "key.uses_left", 1), NOW + USE_SECONDS).takes_use


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("key.expires_at", NOW + 90),
        ("around.link.expires_at", NOW + 90),
        ("around.delegation.expires_at", NOW + 90),
        ("around.client.expires_at", NOW + 90),
        ("around.user.mfa_verified_at", NOW + 90 - 12 * HOUR),
    ],
)
def test_the_line_ends_with_the_tightest_of_all(path, value):
    assert 'expiry-time="20270115080130Z"' in judge(changed(KEY_FACTS, path, value)).options


_EXTENSIONS = st.frozensets(st.sampled_from(sorted(KNOWN_EXTENSIONS))).map(lambda found: tuple(sorted(found)))
_COMMANDS = st.one_of(st.none(), st.from_regex(r"\A[!$-\[\]-~]([ !$-\[\]-~]{0,50}[!$-\[\]-~])?\Z"))
_SOURCES = st.lists(st.ip_addresses(v=4).map(lambda one: f"{one}/32"), max_size=3, unique=True).map(tuple)
_RESTRICTIONS = st.one_of(
    st.none(),
    st.builds(Restrictions, restrict=st.booleans(), source_address=_SOURCES, force_command=_COMMANDS,
              permit_open=st.sampled_from([(), ("db:5432",), ("a:1", "[::1]:2")]), expiry=st.booleans()),
)  # fmt: skip


@given(_EXTENSIONS, _COMMANDS, _SOURCES, _RESTRICTIONS, _RESTRICTIONS)
def test_G_03_whatever_is_granted_is_a_line_that_the_helper_takes(extensions, command, sources, of_host, of_delegation):
    options = () if command is None else (("force-command", command),)
    options += (("source-address", ",".join(sources)),) if sources else ()
    key = replace(KEY, extensions=extensions, critical_options=options)
    around = changed(changed(KEY_FACTS.around, "host.restrictions", of_host), "delegation.restrictions", of_delegation)
    verdict = judge(KeyFacts(key, around))
    if isinstance(verdict, Denial):
        assert verdict.reason in {R.SOURCES_DISJOINT, R.COMMANDS_DIFFER, R.DESTINATIONS_DISJOINT}
        return
    assert valid_line(verdict.line, FINGERPRINT, TYPE)
    assert not valid_line(verdict.line, "SHA256:" + "A" * 43, TYPE)
    if command is not None:
        assert f'command="{command}"' in verdict.line
    if any(one is not None and one.restrict for one in (of_host, of_delegation)):
        assert "pty" not in verdict.options.partition('"')[0].split(",")
    assert ("from=" in verdict.line) is any(
        bool(one) for one in (sources, *(r.source_address for r in (of_host, of_delegation) if r is not None))
    )


def test_an_escrow_is_decided_as_a_certificate_is():
    verdict = decide_escrow(REQUEST, FACTS, Limits(), NOW)
    assert isinstance(verdict, Grant)
    assert decide_escrow(REQUEST, replace(FACTS, ca_key=None), Limits(), NOW) == verdict  # nothing is signed
    assert decide_escrow(REQUEST, replace(FACTS, link=None), Limits(), NOW).reason is R.LINK_MISSING


def test_logins_that_are_counted_are_not_for_plain_keys():
    counted = replace(FACTS.delegations[0], uses_left=3)
    only = replace(FACTS, delegations=(counted,))
    assert decide_escrow(REQUEST, only, Limits(), NOW).reason is R.LOGINS_NOT_COUNTED
    used_up = replace(FACTS, delegations=(replace(counted, uses_left=0),))
    assert decide_escrow(REQUEST, used_up, Limits(), NOW).reason is R.USES_EXHAUSTED
    shorter = replace(FACTS.delegations[0], delegation_id="dlg_2", expires_at=NOW + DAY)
    granted = decide_escrow(REQUEST, replace(FACTS, delegations=(counted, shorter)), Limits(), NOW)
    assert isinstance(granted, Grant)
    assert granted.delegation_id == "dlg_2"


@pytest.mark.parametrize("command", ['echo "x"', "echo \\x", "echo #", "echo é", " echo"])
def test_a_command_that_cannot_be_written_is_refused(command):
    facts = changed(FACTS, "delegations.constraints", Constraints(force_command=command))
    assert decide_escrow(REQUEST, facts, Limits(), NOW).reason is R.COMMAND_NOT_WRITABLE
    facts = changed(FACTS, "delegations.constraints", Constraints(force_command="echo x"))
    assert isinstance(decide_escrow(REQUEST, facts, Limits(), NOW), Grant)
