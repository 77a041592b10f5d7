"""Bodies read quickly and bodies read by marshmallow: the same are taken, as the same values."""

import copy
import json
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import RAISE, Schema, ValidationError, fields, post_load, pre_load, validates_schema

from schemas.reading import NOT_PLAIN, Reading
from tests.api.bodies import WITH_BODY, good_bodies
from tests.unit.sshkeys import public_line

ROUNDS = 400  # mutations of each endpoint's good body
GOOD = good_bodies(SimpleNamespace(issue_body=lambda: {"public_key": public_line("ed25519")}))
HOT = ("issue_certificate", "check_login")
READINGS = {endpoint.name: endpoint.reading for endpoint in WITH_BODY}
ODD = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**200, 0.0, 1.5, 600.0, 1e300, "", " ", "0", "600", "x" * 33, "y" * 5000,
    "alice", "Alice", "alice\n", "älice", "a\u0000b", "\u202e", "\U0001f600", "*", "h1", "h*", "2099-01-01T00:00:00Z",
    "2099-13-01T00:00:00Z", "1969-12-31T23:59:59Z", "true", "null", "10.0.0.0/8", "10.0.0.1/8", "permit-pty", [], [[]],
    [None], ["10.0.0.0/8"], ["permit-pty", "permit-pty"], ["permit-pty"] * 40, [1], [True], {}, {"": 1}, {"a": {}},
    {"max_ttl_seconds": 600}, {"max_ttl_seconds": True}, {"nobody": 1}, "17e", "-5", "SHA256:" + "A" * 43, "dlg_" + "a" * 20,
]  # fmt: skip


def by_marshmallow(reading: Reading, value: object) -> object:
    try:
        return reading.schema.load(copy.deepcopy(value))
    except ValidationError:
        return NOT_PLAIN


def typed(value: object) -> object:
    """Return `value` with the types of all that is in it: 1, 1.0 and true are equal, and not the same."""
    if isinstance(value, dict):
        return {name: typed(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [typed(inner) for inner in value]
    if hasattr(type(value), "__slots__") and hasattr(value, "__dataclass_fields__"):
        return type(value), [typed(getattr(value, name)) for name in value.__dataclass_fields__]
    return type(value), value


def check(reading: Reading, value: object) -> bool:
    """Compare both ways to read; return whether the quick one took it."""
    before = typed(value)
    quick = reading.quick(value)
    assert typed(value) == before, "the body was changed by reading it"
    if quick is NOT_PLAIN:
        return False
    whole = by_marshmallow(reading, value)
    assert whole is not NOT_PLAIN, value
    assert typed(quick) == typed(whole), value
    return True


def mutated(dice: Random, body: dict) -> object:
    """Return a good body with a few things wrong, or another that is good."""
    found = copy.deepcopy(body)
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        name = dice.choice([*found, "extra", ""]) if found else "extra"
        match dice.randrange(8):
            case 0:
                found.pop(name, None)
            case 1:
                found[dice.choice([name.upper(), f"{name} ", f"_{name}", "__proto__", "unknown"])] = dice.choice(ODD)
            case 2 if isinstance(found.get(name), dict):
                found[name] = mutated(dice, found[name])
            case 3 if isinstance(found.get(name), list):
                found[name] = [*found[name], dice.choice(ODD)]
            case 4 if isinstance(found.get(name), str):
                found[name] = dice.choice([str.upper, lambda t: t + t, lambda t: t[:-1], lambda t: f" {t}"])(
                    found[name]
                )
            case 5 if type(found.get(name)) is int:
                found[name] = dice.choice([float, str, bool, lambda n: n + 1, lambda n: -n, lambda n: n * 10**6])(
                    found[name]
                )
            case _:
                found[name] = copy.deepcopy(dice.choice(ODD))
    return found


@pytest.mark.parametrize("name", sorted(READINGS))
def test_both_readings_take_and_refuse_the_same_bodies(name):
    reading, good = READINGS[name], GOOD[name]
    dice = Random(name)
    taken = refused = 0
    for number in range(ROUNDS):
        value = good if number == 0 else mutated(dice, good)
        quick = check(reading, value)
        taken += quick
        if not quick:
            refused += by_marshmallow(reading, value) is NOT_PLAIN
    for odd in [*ODD, [good]]:
        assert not check(reading, odd) or odd == {} or by_marshmallow(reading, odd) is not NOT_PLAIN
    assert refused > ROUNDS // 4, "hardly anything was wrong"
    if name in HOT:
        assert taken > ROUNDS // 50, "hardly anything was good"


@pytest.mark.parametrize("name", HOT)
def test_a_plain_good_body_of_a_hot_endpoint_is_read_quickly(name):
    body = GOOD[name]
    assert check(READINGS[name], body)
    needed = {key: body[key] for key in READINGS[name]._needed}
    assert needed
    assert needed != body
    assert check(READINGS[name], needed)
    for key in needed:
        assert not check(READINGS[name], {other: value for other, value in needed.items() if other != key})
        assert by_marshmallow(READINGS[name], {**needed, key: None}) is NOT_PLAIN
        assert not check(READINGS[name], {**needed, key: None})


_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=40), st.sampled_from(ODD)
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(READINGS)), st.data())
def test_whatever_a_field_holds_both_readings_agree(name, data):
    body = dict(GOOD[name])
    for key in data.draw(st.lists(st.sampled_from([*body, "unknown"]), max_size=3)):
        body[key] = data.draw(_VALUES)
    value = json.loads(json.dumps(body))
    check(READINGS[name], value)


class _Odd(Schema):
    class Meta:
        unknown = RAISE

    word = fields.String(required=True)


class _Before(_Odd):
    @pre_load
    def early(self, data, **_):
        return {**data, "word": "another"}


class _Whole(_Odd):
    @validates_schema
    def whole(self, data, **_):
        raise ValidationError("never")


class _Other(_Odd):
    other = fields.String(data_key="word_of_the_wire")


class _Lenient(_Odd):
    class Meta:
        unknown = "exclude"


class _Twice(_Odd):
    @post_load
    def one(self, data, **_):
        return data | {"one": 1}

    @post_load
    def two(self, data, **_):
        return data | {"two": 2}


class _Original(_Odd):
    @post_load(pass_original=True)
    def one(self, data, original, **_):
        return original


@pytest.mark.parametrize("kind", [_Before, _Whole, _Other, _Lenient, _Twice, _Original])
def test_a_shape_that_does_what_the_quick_reading_does_not_know_is_left_to_marshmallow(kind):
    assert Reading(_Odd()).quick({"word": "x"}) == {"word": "x"}
    assert Reading(kind()).quick({"word": "x"}) is NOT_PLAIN


@pytest.mark.parametrize("options", [{"partial": True}, {"many": True}, {"unknown": "include"}])
def test_a_shape_that_is_made_another_way_is_left_to_marshmallow(options):
    assert Reading(_Odd(**options)).quick({"word": "x"}) is NOT_PLAIN
