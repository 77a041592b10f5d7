"""Version requirements as Cargo's: what is taken, and the old server's words for what is not."""

import pytest

from tms_ca.core.appversion import check_version_requirement
from tms_ca.core.errors import Invalid


@pytest.mark.parametrize(
    "text",
    [
        "0.1", "1", "1.0.0", "^1.2", "~1.2.3", "=1", "> 1", ">=1, <2", ">=1,<2", "*", "x", " X ", "  1.2", "1.*",
        "1.x.x", "1.2.X", "1.2.*", "=1.*", "1.2.3-alpha.1", "1.2.3-0a", "1.2.3-a-b+build.01", "1.2.3+5", "1 , 2",
        "18446744073709551615", ", ".join(["1"] * 32),
    ],
)  # fmt: skip
def test_what_cargo_takes_is_taken(text):
    assert check_version_requirement(text) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("abc", "unexpected character 'a' while parsing major version number"),
        ("", "unexpected end of input while parsing major version number"),
        ("1.", "unexpected end of input while parsing minor version number"),
        ("1.2.b", "unexpected character 'b' while parsing patch version number"),
        ("1.2.3.4", "expected comma after patch version number, found '.'"),
        ("1.2-alpha", "expected comma after minor version number, found '-'"),
        ("1+x", "expected comma after major version number, found '+'"),
        ("01", "invalid leading zero in major version number"),
        ("1.2.3-01", "invalid leading zero in pre-release identifier"),
        ("1.2.3-a..b", "empty identifier segment in pre-release identifier"),
        ("1.2.3-", "empty identifier segment in pre-release identifier"),
        ("1.2.3+", "empty identifier segment in build metadata"),
        ("18446744073709551616", "value of major version number exceeds u64::MAX"),
        ("1.*.3", "unexpected character after wildcard in version req"),
        ("*1", "unexpected character after wildcard in version req"),
        ("*, 1", "wildcard req (*) must be the only comparator in the version req"),
        ("1, x", "wildcard req (x) must be the only comparator in the version req"),
        ("1 2", "expected comma after major version number, found '2'"),
        ("1,", "unexpected end of input while parsing major version number"),
        (">>1", "unexpected character '>' while parsing major version number"),
        ("\n1", "unexpected character '\\n' while parsing major version number"),
        ("1\u200b", "expected comma after major version number, found '\\u{200b}'"),
        ("\u0661", "unexpected character '\u0661' while parsing major version number"),
        (", ".join(["1"] * 33), "excessive number of version comparators"),
    ],
)
def test_what_cargo_refuses_is_refused_in_its_words(text, words):
    with pytest.raises(Invalid) as refused:
        check_version_requirement(text)
    assert (refused.value.code, refused.value.detail) == ("bad_app_version", words)
