"""The grammars of names, patterns and option values."""

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.base import PATH_PATTERNS, misnamed
from tms_ca.core import names
from tms_ca.core.errors import Invalid

# What has made one principal mean another, or several, to some server, shell, log or database.
_BAD_CHARACTERS = [
    *map(chr, range(33)),
    *" \"#$%&'()*,/;<>?[\\]^`{|}~!\x7f",
    "\x80",
    "\x85",
    "\xa0",
    "\xad",
    "é",
    "\u0131",
    "\u200b",
    "\u202e",
    "\u2028",
    "\u2066",
    "\ufeff",
    "\uff0a",
    "\uff20",
    "\ud800",
    "\U000e0041",
    "😀",
]
HOSTILE_PRINCIPALS = sorted(
    {""}
    | {f"alice{c}" for c in _BAD_CHARACTERS}
    | {f"{c}alice" for c in [*_BAD_CHARACTERS, *"-.@+:="]}
    | {
        "alice,root",
        "alice,",
        ",",
        "*",
        "al*ce",
        "alice root",
        "alice\nroot",
        "alice\r\n",
        "a" * 129,
        "../etc",
        "alice@host\n",
        " alice ",
        "${user}",
        "{{name}}",
        "%u",
        "alice#x",
        "alice@{host}",
        "a\0b",
    }
)

SPACES = {
    names.valid_tenant: ("default", "a", "0", "t" * 24),
    names.valid_client_id: ("portal", "_x", "A.b-c", "c" * 32),
    names.valid_admin_id: ("boss", "~~admin", "~~" + "c" * 32),
    names.valid_user: ("alice", "alice@utexas.edu", "_a+b", "u" * 48),
    names.valid_host: ("stampede3", "login1.tacc.utexas.edu", "a", "0" * 63),
    names.valid_account: ("alice", "_svc", "a.b-c_9", "a" * 32),
    names.valid_host_pattern: ("*", "login*.tacc.utexas.edu", "stampede3", "*a", "a*"),
    names.valid_account_pattern: ("*", "tg-*", "_*", "alice"),
    names.valid_key_application: ("ssh:", "ssh:portal login", "ssh:" + "a" * 251),
    names.valid_principal: ("alice@stampede3", "_", "a" * 128, "0.a@b+c:d=e-f"),
    names.valid_key_id: ("t=default;c=portal;u=alice;r=01J", " ", "~" * 128),
}
TOO_LONG = {
    names.valid_tenant: "t" * 25,
    names.valid_client_id: "c" * 33,
    names.valid_admin_id: "~~" + "c" * 33,
    names.valid_user: "u" * 49,
    names.valid_host: "h" * 64,
    names.valid_account: "a" * 33,
    names.valid_host_pattern: "*" * 64,
    names.valid_account_pattern: "*" * 33,
    names.valid_key_application: "ssh:" + "a" * 252,
    names.valid_principal: "p" * 129,
    names.valid_key_id: "k" * 129,
}
GOOD = [(valid, text) for valid, texts in SPACES.items() for text in texts]


@pytest.mark.parametrize(("valid", "text"), GOOD)
def test_names_of_every_kind(valid, text):
    assert valid(text)
    for around in (f"{text}\n", f"\n{text}", f"{text}\r", f"{text}\0", f"\u202e{text}", f"{text}é"):
        assert not valid(around)


@pytest.mark.parametrize("valid", SPACES)
def test_names_empty_or_too_long(valid):
    assert not valid("")
    assert not valid(TOO_LONG[valid])
    assert valid(TOO_LONG[valid][:-1])


@pytest.mark.parametrize(
    ("valid", "text"),
    [
        (names.valid_tenant, "Default"),
        (names.valid_tenant, "-a"),
        (names.valid_tenant, "a_b"),
        (names.valid_tenant, "*"),
        (names.valid_client_id, "-a"),
        (names.valid_client_id, ".a"),
        (names.valid_client_id, "a:b"),
        (names.valid_client_id, "a;b"),
        (names.valid_client_id, "~~admin"),
        (names.valid_admin_id, "~admin"),
        (names.valid_admin_id, "~~~admin"),
        (names.valid_admin_id, "a~~b"),
        (names.valid_user, "@a"),
        (names.valid_user, "a;u=b"),
        (names.valid_user, "a b"),
        (names.valid_user, "a/b"),
        (names.valid_host, "Host"),
        (names.valid_host, "a-"),
        (names.valid_host, ".a"),
        (names.valid_host, "a_b"),
        (names.valid_host, "*"),
        (names.valid_account, "0a"),
        (names.valid_account, "-a"),
        (names.valid_account, "A"),
        (names.valid_account, "a@b"),
        (names.valid_account, "*"),
        (names.valid_host_pattern, "a?"),
        (names.valid_host_pattern, "-*"),
        (names.valid_host_pattern, "[ab]"),
        (names.valid_account_pattern, "a,b"),
        (names.valid_account_pattern, "a b"),
        (names.valid_account_pattern, "0*"),
        (names.valid_key_application, "webauthn:x"),
        (names.valid_key_application, "ssh"),
        (names.valid_key_application, "https://ssh:"),
    ],
)
def test_names_that_would_mean_something_else_are_refused(valid, text):
    assert not valid(text)


def test_B_02_hostile_principals_are_refused():
    assert len(HOSTILE_PRINCIPALS) >= 120
    assert [text for text in HOSTILE_PRINCIPALS if names.valid_principal(text)] == []


@given(st.text(max_size=140))
def test_B_02_principals_hold_no_character_outside_the_list(text):
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@+:=-")
    assert names.valid_principal(text) == (0 < len(text) <= 128 and set(text) <= allowed and text[0] not in ".@+:=-")


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "", True),
        ("*", "anything", True),
        ("a", "a", True),
        ("a", "ab", False),
        ("a*", "a", True),
        ("a*", "ba", False),
        ("*.edu", "x.edu", True),
        ("*.edu", "xedu", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a**b", "ab", True),
        ("*ab*ab*", "abab", True),
        ("*ab*ab*", "aab", False),
        ("login*", "login\n", True),
        ("log.n", "login", False),
        ("[a-z]", "b", False),
        ("a?", "ab", False),
        ("", "", True),
        ("", "a", False),
        ("stampede3", "Stampede3", False),
    ],
)
def test_only_the_star_is_special_in_patterns(pattern, name, expected):
    assert names.matches(pattern, name) is expected


@given(st.text("ab*.", max_size=9), st.text("ab.", max_size=12))
def test_patterns_match_as_a_regular_expression_does(pattern, name):
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert names.matches(pattern, name) == (re.fullmatch(expression, name) is not None)


@pytest.mark.parametrize(
    "text",
    [
        "/bin/true",
        "sh -c \"echo '$(id)'; ls | wc -l\"",
        "naïve ☃ 😀",
        "x" * 4096,
        "é" * 2048,
        "  padded  ",
        "internal-sftp",
    ],
)
def test_B_10_force_command_is_returned_unchanged(text):
    assert names.check_force_command(text) is text
    assert names.valid_option_value("force-command", text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\t",
        "a\nb",
        "a\rb",
        "a\0b",
        "a\tb",
        "a\x1b[2J",
        "a\x7f",
        "a\x85b",
        "a\u2028b",
        "a\u202eb",
        "a\u2066b",
        "a\ud800",
        "x" * 4097,
        "é" * 2049,
        "\n" * 10**6,
    ],
)
def test_B_10_force_command_with_controls_or_too_long_is_refused(text):
    with pytest.raises(Invalid) as refused:
        names.check_force_command(text)
    assert refused.value.code == "bad_force_command"
    assert refused.value.detail.isprintable()
    assert not names.valid_option_value("force-command", text)


@pytest.mark.parametrize(
    ("given_", "canonical"),
    [
        ([], ()),
        (["192.0.2.7"], ("192.0.2.7/32",)),
        (["10.0.0.0/8", "10.0.0.0/8", "9.0.0.0/8"], ("9.0.0.0/8", "10.0.0.0/8")),
        (["2001:DB8:0:0::/32", "0.0.0.0/0"], ("0.0.0.0/0", "2001:db8::/32")),
        (["::1", "::/0"], ("::/0", "::1/128")),
        ([f"10.0.0.{n}" for n in range(32)], tuple(f"10.0.0.{n}/32" for n in range(32))),
    ],
)
def test_B_10_source_addresses_become_canonical(given_, canonical):
    assert names.check_source_addresses(given_) == canonical
    assert names.check_source_addresses(canonical) == canonical
    assert names.valid_option_value("source-address", ",".join(canonical)) == bool(canonical)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "127.0.0.1/0",
        "10.0.0.1/8",
        "2001:db8::1/64",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/0.255.255.255",
        "010.0.0.1",
        "10.0.0",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/-1",
        "fe80::1%eth0",
        "::ffff:192.0.2.1",
        "::ffff:0:0/96",
        "10.0.0.1,10.0.0.2",
        "!10.0.0.1",
        "10.0.0.*",
        "١٠.0.0.1",
        "10.0.0.1\n",
        "10.0.0.0/8 ",
        "example.org",
        "1",
        "0x0a000001",
        "10.0.0.0/" + "8" * 5000,
        "1" * 10**6,
    ],
)
def test_B_10_source_addresses_that_are_not_canonical_networks_are_refused(text):
    with pytest.raises(Invalid) as refused:
        names.check_source_addresses(["192.0.2.0/24", text])
    assert refused.value.code == "bad_source_address"
    assert len(refused.value.detail) < 300
    assert not names.valid_option_value("source-address", text)


def test_B_10_no_more_than_32_source_addresses():
    with pytest.raises(Invalid, match="more than 32"):
        names.check_source_addresses(f"10.0.0.{n}" for n in range(33))
    assert not names.valid_option_value("source-address", ",".join(f"10.0.0.{n}/32" for n in range(33)))


@pytest.mark.parametrize("value", ["10.0.0.1", "10.0.0.0/8,10.0.0.0/8", "2001:DB8::/32", "10.0.0.0/8,"])
def test_B_10_a_final_source_address_must_be_canonical_already(value):
    assert not names.valid_option_value("source-address", value)


@given(st.text(max_size=60))
def test_arbitrary_text_raises_nothing_but_invalid(text):
    for check in (
        names.check_force_command,
        lambda t: names.check_source_addresses([t]),
        lambda t: names.check_extensions([t]),
    ):
        with contextlib.suppress(Invalid):
            check(text)


@given(
    st.lists(
        st.one_of(
            st.ip_addresses(v=4).map(str),
            st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
                lambda t: f"{(t[0] >> 8) & 255}.{t[0] & 255}.0.0/{max(t[1], 16)}"
            ),
        ),
        max_size=32,
    )
)
def test_B_10_canonical_source_addresses_are_a_fixed_point(addresses):
    once = names.check_source_addresses(addresses)
    assert names.check_source_addresses(once) == once
    assert len(set(once)) == len(once)


def test_B_11_extensions_are_sorted_known_and_once():
    assert names.check_extensions(["permit-pty", "no-touch-required", "permit-pty"]) == (
        "no-touch-required",
        "permit-pty",
    )
    assert names.check_extensions([]) == ()
    assert names.check_extensions(names.KNOWN_EXTENSIONS) == tuple(sorted(names.KNOWN_EXTENSIONS))
    for unknown in ("permit-x11-forwarding", "permit-pty ", "", "verify-required", "permit-pty\n"):
        with pytest.raises(Invalid, match="is not an extension"):
            names.check_extensions(["permit-pty", unknown])


def test_B_10_a_flag_has_no_value():
    assert names.valid_option_value("verify-required", "")
    assert not names.valid_option_value("verify-required", "yes")


def test_what_is_wrong_in_a_path_says_what_was_expected():
    for name, pattern in PATH_PATTERNS.items():
        assert misnamed(name, "no\nname") == f"'no\\nname' cannot be the {name} of anything; expected {pattern}"
    assert misnamed("host", "h1") is None
    assert misnamed("anything else", "no\nname") is None
