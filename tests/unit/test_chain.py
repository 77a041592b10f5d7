"""The hash chain: whatever is changed of a row, its hash is another; head and seal belong to one chain and place."""

import hashlib
import json
from dataclasses import fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tms_ca.core.chain import GENESIS, append, canonical_detail, event_hash, head_mac, rehash
from tms_ca.core.model import ChainedEvent, Event

EVENTS = [
    Event(1_800_000_000_000 + n, "default", "client:portal", "certificates.issue", "ok", f"serial:{n}", {"n": n}, "r", "a")
    for n in range(6)
]  # fmt: skip
ROWS = append("c0ffee", 0, GENESIS, EVENTS)


def first_bad(rows) -> int | None:
    """Return the place of the first row that does not follow from what is before it."""
    previous = GENESIS
    for place, row in enumerate(rows, start=1):
        if row.seq != place or row.hash != rehash(previous, row):
            return place
        previous = row.hash
    return None


def test_a_chain_is_what_the_documentation_says():
    previous = bytes(32)
    for row in ROWS:
        values = ["c0ffee", row.seq, row.at_ms, row.tenant, row.actor, row.action, row.outcome, row.target, row.detail]
        text = json.dumps([*values, row.request_id, row.address], separators=(",", ":"))
        previous = hashlib.sha256(previous + text.encode()).digest()
        assert row.hash == previous
    assert first_bad(ROWS) is None


def test_a_chain_goes_on_from_its_head():
    head = ROWS[2]
    assert append("c0ffee", head.seq, head.hash, EVENTS[3:]) == ROWS[3:]
    assert append("c0ffee", 6, ROWS[-1].hash, []) == []


@pytest.mark.parametrize("name", [field.name for field in fields(ChainedEvent)])
@pytest.mark.parametrize("place", range(1, 7))
def test_F_06_every_field_of_every_row_is_covered(name, place):
    row = ROWS[place - 1]
    old = getattr(row, name)
    new = old + 1 if isinstance(old, int) else bytes(32) if isinstance(old, bytes) else old + " "
    altered = [*ROWS[: place - 1], replace(row, **{name: new}), *ROWS[place:]]
    assert first_bad(altered) == place


@pytest.mark.parametrize("place", range(1, 7))
def test_F_06_a_row_that_goes_comes_or_moves_is_found(place):
    row = ROWS[place - 1]
    without = [*ROWS[: place - 1], *ROWS[place:]]
    assert first_bad(without) == (place if place < 6 else None)  # the last: what the head is for
    renumbered = [replace(one, seq=number) for number, one in enumerate(without, start=1)]
    assert first_bad(renumbered) == (place if place < 6 else None)
    twice = [*ROWS[:place], row, *ROWS[place:]]
    assert first_bad([replace(one, seq=number) for number, one in enumerate(twice, start=1)]) == place + 1
    if place < 6:
        swapped = [*ROWS[: place - 1], ROWS[place], row, *ROWS[place + 1 :]]
        assert first_bad(swapped) == place
        assert first_bad([replace(one, seq=number) for number, one in enumerate(swapped, start=1)]) == place


texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)


@given(st.lists(texts, min_size=7, max_size=7), st.lists(texts, min_size=7, max_size=7))
def test_two_events_never_share_a_hash(one, other):
    """No way to move a character from one field to the next, whatever the characters are."""

    def hash_of(values):
        tenant, actor, action, outcome, target, request_id, address = values
        return event_hash(
            GENESIS, "c", 1, Event(1, tenant, actor, action, outcome, target, {}, request_id, address), ""
        )

    assert (hash_of(one) == hash_of(other)) == (one == other)


@pytest.mark.parametrize(("one", "other"), [(["a,b", ""], ["a", ",b"]), (['a","b', "c"], ["a", 'b","c'])])
def test_separators_in_values_are_no_separators(one, other):
    def hash_of(values):
        return event_hash(GENESIS, "c", 1, Event(1, *values, "", "", ""), "")

    assert hash_of(one) != hash_of(other)


def test_detail_is_the_same_text_whatever_the_order():
    assert canonical_detail({}) == ""
    assert (
        canonical_detail({"b": 1, "a": "é\n"}) == canonical_detail({"a": "é\n", "b": 1}) == '{"a":"\\u00e9\\n","b":1}'
    )


def documented(value) -> str:
    return json.dumps(value, sort_keys=isinstance(value, dict), separators=(",", ":"))


def agrees(detail, **fields) -> None:
    """What is stored and hashed is, to the byte, what Python's json writes."""
    text = documented(detail) if detail else ""
    assert canonical_detail(detail) == text
    event = Event(**{"at_ms": 1, "tenant": "t", "actor": "a", "action": "b", "outcome": "ok", "target": "", **fields})
    values = [event.at_ms, event.tenant, event.actor, event.action, event.outcome, event.target, text]
    array = documented(["c", 1, *values, event.request_id, event.address])
    assert event_hash(GENESIS, "c", 1, event, text) == hashlib.sha256(GENESIS + array.encode()).digest()


odd_texts = st.text(st.characters(), max_size=6) | st.sampled_from(
    ["\x7f", "\ud800", "\udfff\ud800", "</script>", "\u2028"]
)
odd_keys = odd_texts | st.sampled_from(["a", "B", "aa", "\uffff", "\U00010000"])
odd_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(2**63 - 2, 2**64 + 1) | st.floats() | odd_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_keys, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(odd_keys, odd_values, max_size=5), odd_texts, st.integers())
def test_F_06_odd_values_are_written_as_the_documentation_says(detail, text, number):
    agrees(detail, target=text, actor=text[::-1], at_ms=number)


@pytest.mark.parametrize("first", range(0, 0x500, 0x80))
def test_F_06_every_character_is_written_as_the_documentation_says(first):
    for character in map(chr, range(first, first + 0x80)):
        agrees({"a": character, character: 1}, target=character)


class Word(StrEnum):
    REQUESTED = "requested"


@pytest.mark.parametrize(
    "value",
    [1e16, 1e-7, 1e22, -0.0, float("nan"), 2**53 + 1, 2**64, -(2**63) - 1, True, Word.REQUESTED, (1, "\x7f"), []],
)
def test_F_06_odd_kinds_are_written_as_the_documentation_says(value):
    agrees({"b": value, "a": "x"})


@pytest.mark.parametrize("value", [b"x", {1, 2}, datetime(2027, 1, 1, tzinfo=UTC), UUID(int=1), ROWS[0]])
def test_F_06_what_json_cannot_write_is_not_written_in_another_way(value):
    with pytest.raises(TypeError):
        canonical_detail({"a": value})


def test_a_seal_is_for_one_key_chain_place_and_hash():
    key, head = b"k" * 32, b"h" * 32
    seal = head_mac(key, "c1", 1, head)
    others = [
        (b"K" * 32, "c1", 1, head),
        (key, "c2", 1, head),
        (key, "c1", 2, head),
        (key, "c1", 1, b"H" * 32),
        (key, "c", 11, head),
    ]
    assert all(head_mac(*other) != seal for other in others)
