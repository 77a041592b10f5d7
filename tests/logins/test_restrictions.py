"""Restrictions: they only take away, and every line that is printed is one that sshd reads as it was meant."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.facts import DAY, HOUR, LOGIN, LOGIN_FACTS, NOW, changed
from tms_ca.core.errors import TmsError
from tms_ca.core.facts import Denial, Limits, LoginGrant
from tms_ca.core.model import Restrictions
from tms_ca.core.policy import decide_login, login_ends
from tms_ca.core.restrictions import OPTIONS, check_command, check_destinations, options_line, valid_destination

ENDS = 1_800_003_600  # 2027-01-15T09:00:00Z
COMMAND = st.text(st.sampled_from([chr(c) for c in range(0x20, 0x7F) if chr(c) not in '"\\#']), min_size=1, max_size=40)
COMMANDS = st.one_of(st.sampled_from(["true", "rsync --server ."]), COMMAND.map(str.strip).filter(bool))
NETWORKS = st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "192.0.2.0/24", "2001:db8::/32", "::1/128"])
PLACES = st.sampled_from(["db:5432", "web.example.org:443", "10.0.0.1:22", "[::1]:8080"])
RULES = st.builds(
    Restrictions,
    restrict=st.booleans(),
    source_address=st.lists(NETWORKS, max_size=4, unique=True).map(tuple),
    force_command=st.none() | COMMANDS,
    permit_open=st.lists(PLACES, max_size=3, unique=True).map(tuple),
    expiry=st.booleans(),
)
CRITICAL = st.fixed_dictionaries({}, optional={"force-command": COMMANDS, "source-address": NETWORKS}).map(
    lambda options: tuple(options.items())
)


@pytest.mark.parametrize(("rules", "line"), [
    ((), ""),
    ((None, None), ""),
    ((Restrictions(),), ""),
    ((Restrictions(restrict=True),), "restrict"),
    ((Restrictions(source_address=("10.0.0.0/8", "192.0.2.7/32")),), 'from="10.0.0.0/8,192.0.2.7/32"'),
    ((Restrictions(force_command="rsync --server ."),), 'command="rsync --server ."'),
    ((Restrictions(permit_open=("db:5432", "web:443")),), 'permitopen="db:5432",permitopen="web:443"'),
    ((Restrictions(expiry=True),), 'expiry-time="20270115090000Z"'),
    ((Restrictions(expiry=True, force_command="true"), Restrictions(restrict=True, source_address=("::1/128",))),
     'restrict,from="::1/128",command="true",expiry-time="20270115090000Z"'),
    ((Restrictions(source_address=("10.0.0.0/8",)), Restrictions(source_address=("10.1.0.0/16", "192.0.2.0/24"))),
     'from="10.1.0.0/16"'),
    ((Restrictions(permit_open=("db:5432", "web:443")), Restrictions(permit_open=("web:443",))), 'permitopen="web:443"'),
    ((Restrictions(force_command="true"), Restrictions(force_command="true")), 'command="true"'),
])  # fmt: skip
def test_the_line_says_what_all_of_them_say(rules, line):
    assert options_line(rules, (), ENDS) == line


@pytest.mark.parametrize(("rules", "own", "reason"), [
    ((Restrictions(source_address=("10.0.0.0/8",)), Restrictions(source_address=("192.0.2.0/24",))), {}, "sources_disjoint"),
    ((Restrictions(source_address=("10.0.0.0/8",)), Restrictions(source_address=("::/0",))), {}, "sources_disjoint"),
    ((Restrictions(source_address=("10.0.0.0/8",)),), {"source-address": "192.0.2.0/24"}, "sources_disjoint"),
    ((Restrictions(force_command="true"), Restrictions(force_command="true ;id")), {}, "commands_differ"),
    ((Restrictions(force_command="true"),), {"force-command": "false"}, "commands_differ"),
    ((Restrictions(permit_open=("db:5432",)), Restrictions(permit_open=("db:5433",))), {}, "destinations_disjoint"),
])  # fmt: skip
def test_what_no_login_can_keep_is_a_refusal(rules, own, reason):
    verdict = options_line(rules, own.items(), ENDS)
    assert isinstance(verdict, Denial)
    assert verdict.reason == reason


def test_a_certificates_own_options_alone_are_sshds_matter():
    assert (
        options_line(
            (Restrictions(restrict=True),), {"force-command": "x", "source-address": "10.0.0.0/8"}.items(), ENDS
        )
        == "restrict"
    )


@given(st.lists(RULES, max_size=3), CRITICAL, st.integers(-1, 2**40))
def test_every_line_is_of_the_grammar(rules, own, ends):
    line = options_line(rules, own, ends)
    if not isinstance(line, Denial):
        assert OPTIONS.fullmatch(line), line
        assert line.isascii()
        assert not set(line) & set("#\\\n\r")


@given(
    RULES,
    RULES,
    CRITICAL,
    st.sampled_from(["10.1.2.3", "10.1.9.9", "10.9.9.9", "192.0.2.1", "2001:db8::1", "::1", "8.8.8.8"]),
)
def test_an_address_passes_the_line_only_if_it_passes_every_rule(one, other, own, address):
    line = options_line((one, other), own, ENDS)
    if isinstance(line, Denial):
        return
    found = [part for part in line.split('"') if "/" in part] if "from=" in line else []
    passes = not found or any(ip_address(address) in ip_network(net) for net in found[0].split(","))
    lists = [rule.source_address for rule in (one, other) if rule.source_address]
    if lists and "source-address" in dict(own):
        lists.append(tuple(dict(own)["source-address"].split(",")))
    assert passes == all(any(ip_address(address) in ip_network(net) for net in nets) for nets in lists)


FACTS = st.tuples(
    st.sampled_from([
        ("tenant.enabled", True), ("issued.revoked", True), ("link", None), ("delegation.uses_left", 0),
        ("delegation.uses_left", 3), ("user.enabled", False), ("issued.valid_before", NOW),
    ]),
    CRITICAL,
).map(lambda both: changed(changed(LOGIN_FACTS, *both[0]), "issued.critical_options", both[1]))  # fmt: skip


@given(FACTS, RULES, RULES, RULES)
def test_one_restriction_more_never_turns_a_no_into_a_yes(facts, of_host, before, more):
    """Whatever a rule is made stricter by: what was refused stays refused, and nothing granted grows."""
    facts = changed(facts, "host.restrictions", of_host)
    without = decide_login(LOGIN, changed(facts, "delegation.restrictions", None), Limits(), NOW)
    loose = decide_login(LOGIN, changed(facts, "delegation.restrictions", before), Limits(), NOW)
    stricter = replace(
        before,
        restrict=before.restrict or more.restrict,
        source_address=before.source_address or more.source_address,
        force_command=before.force_command or more.force_command,
        permit_open=before.permit_open or more.permit_open,
        expiry=before.expiry or more.expiry,
    )
    tight = decide_login(LOGIN, changed(facts, "delegation.restrictions", stricter), Limits(), NOW)
    for wider, narrower in ((without, loose), (loose, tight)):
        if isinstance(narrower, LoginGrant):
            assert isinstance(wider, LoginGrant)
            assert narrower.principals == wider.principals
            assert narrower.limited == wider.limited
            for word in ("restrict", "from=", "command=", "permitopen=", "expiry-time="):
                assert word in narrower.options or word not in wider.options


@pytest.mark.parametrize(("path", "value", "ends"), [
    ("issued.valid_before", NOW + 60, NOW + 60),
    ("delegation.expires_at", NOW + 60, NOW + 60),
    ("link.expires_at", NOW + 60, NOW + 60),
    ("client.expires_at", NOW + 60, NOW + 60),
    ("user.mfa_verified_at", NOW - 12 * HOUR + 60, NOW + 60),
    ("link.expires_at", NOW + 300 * DAY, NOW + HOUR),
    ("delegation", None, 0),
])  # fmt: skip
def test_the_tightest_grant_ends_the_login(path, value, ends):
    assert login_ends(changed(LOGIN_FACTS, path, value)) == ends


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a#b", "a\nb", "a\x00b", "é", " a", "a ", "", "x" * 1025, "\u202e"])
def test_a_command_that_would_leave_its_quotes_is_refused(text):
    with pytest.raises(TmsError):
        check_command(text)


@pytest.mark.parametrize("text", [
    "db", "db:", ":22", "db:0", "db:65536", "db:022", "db:22 ", "d b:22", 'd":22', "db:22,restrict", "*:22", "db:*", "-x:1",
    "[::1:22", "::1:22", "db:22\n", "[::1%eth0]:22", "",
])  # fmt: skip
def test_a_destination_that_is_none_is_refused(text):
    assert not valid_destination(text)
    with pytest.raises(TmsError):
        check_destinations([text])


def test_destinations_are_sorted_and_few():
    assert check_destinations(["b:1", "a:1", "b:1", "[2001:db8::1]:65535"]) == ("[2001:db8::1]:65535", "a:1", "b:1")
    with pytest.raises(TmsError, match="more than 16"):
        check_destinations([f"h{n}:1" for n in range(17)])
