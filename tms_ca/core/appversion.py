"""Version requirements as Cargo writes them: what the TMS wire API takes for a client's `app_version`.

Grammar and words of refusal are those of VersionReq in the semver crate 1.0, which its clients have met.
"""

import re

from tms_ca.core.errors import Invalid

MOST_COMPARATORS = 32
MOST_NUMBER = 2**64 - 1
MAJOR, MINOR, PATCH = "major version number", "minor version number", "patch version number"
PRE, BUILD = "pre-release identifier", "build metadata"
_OPERATOR = re.compile(r"(?:>=|<=|[=><~^])?")
_DIGITS = re.compile(r"[0-9]*")
_IDENTIFIER = re.compile(r"[0-9A-Za-z.-]*")
_WILD = ("*", "x", "X")


def check_version_requirement(text: str) -> str:
    """Return `text` where it is a version requirement, such as `1`, `0.1`, `^1.2`, `>=1, <2` or `*`.

    Raises:
        Invalid: it is none; the detail is the old server's to the letter

    """
    rest = text.lstrip(" ")
    if rest.startswith(_WILD):
        after = rest[1:].lstrip(" ")
        if not after:
            return text
        raise _only(rest[0]) if after[0] == "," else _no("unexpected character after wildcard in version req")
    for _ in range(MOST_COMPARATORS):
        try:
            place, left = _comparator(rest)
        except Invalid:
            if rest.startswith(_WILD) and rest[1:].lstrip(" ")[:1] in {"", ","}:
                raise _only(rest[0]) from None
            raise
        if not left:
            return text
        if left[0] != ",":
            raise _no(f"expected comma after {place}, found {_quoted(left[0])}")
        rest = left[1:].lstrip(" ")
    raise _no("excessive number of version comparators")


def _comparator(text: str) -> tuple[str, str]:
    """Take one comparator from the front; return the last thing in it, and what is left."""
    operator = _OPERATOR.match(text)
    assert operator is not None  # it matches nothing, too
    place, wild, whole = MAJOR, False, False
    rest = _number(text[operator.end() :].lstrip(" "), MAJOR)
    for following in (MINOR, PATCH):
        if not rest.startswith("."):
            break
        place, rest = following, rest[1:]
        if rest.startswith(_WILD):
            wild, rest = True, rest[1:]
        elif wild:
            raise _no("unexpected character after wildcard in version req")
        else:
            rest, whole = _number(rest, following), following is PATCH
    for sign, following in (("-", PRE), ("+", BUILD)):
        if whole and rest.startswith(sign):
            place, rest = following, _identifier(rest[1:], following)
    return place, rest.lstrip(" ")


def _number(text: str, place: str) -> str:
    """Take a number without leading zeros from the front; return what is left."""
    found = _DIGITS.match(text)
    digits = "" if found is None else found.group()
    if not digits:
        if not text:
            raise _no(f"unexpected end of input while parsing {place}")
        raise _no(f"unexpected character {_quoted(text[0])} while parsing {place}")
    if len(digits) > 1 and digits[0] == "0":
        raise _no(f"invalid leading zero in {place}")
    if len(digits) > 20 or int(digits) > MOST_NUMBER:
        raise _no(f"value of {place} exceeds u64::MAX")
    return text[len(digits) :]


def _identifier(text: str, place: str) -> str:
    """Take identifiers with dots between them from the front; return what is left."""
    found = _IDENTIFIER.match(text)
    whole = "" if found is None else found.group()
    for segment in whole.split("."):
        if not segment:
            raise _no(f"empty identifier segment in {place}")
        if place is PRE and segment.isdigit() and len(segment) > 1 and segment[0] == "0":
            raise _no(f"invalid leading zero in {place}")
    return text[len(whole) :]


def _only(wildcard: str) -> Invalid:
    return _no(f"wildcard req ({wildcard}) must be the only comparator in the version req")


def _no(detail: str) -> Invalid:
    return Invalid("bad_app_version", detail)


_ESCAPES: dict[str, str] = {"\0": "\\0", "\t": "\\t", "\n": "\\n", "\r": "\\r", "'": "\\'", "\\": "\\\\"}


def _quoted(character: str) -> str:
    shown = character if character.isprintable() else f"\\u{{{ord(character):x}}}"
    return f"'{_ESCAPES.get(character, shown)}'"
