"""Patterns of delegations: a yes of `narrows` is always right, and SQL's sieve lets through all that matches."""

import re
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tms_ca.core.names import matches
from tms_ca.core.patterns import like_pattern, narrows

names = st.text("ab_%\\.-", max_size=6)
patterns = st.text("ab_%\\.*", max_size=6)


@given(patterns, names)
def test_a_star_is_any_run_of_characters_and_nothing_else_is_special(pattern, name):
    expected = re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), name) is not None
    assert matches(pattern, name) == expected


@given(patterns, names)
def test_the_like_pattern_finds_what_matches(pattern, name):
    with sqlite3.connect(":memory:") as connection:
        connection.execute("PRAGMA case_sensitive_like=ON")
        query = "SELECT ? LIKE ? ESCAPE '\\'"
        found = bool(connection.execute(query, (name, like_pattern(pattern))).fetchone()[0])
    connection.close()
    assert found == matches(pattern, name)


@settings(max_examples=500)
@given(patterns, patterns, names)
def test_a_narrower_pattern_matches_nothing_that_the_wider_does_not(pattern, wider, name):
    if narrows(pattern, wider) and matches(pattern, name):
        assert matches(wider, name)


@pytest.mark.parametrize(("pattern", "wider", "within"), [
    ("h1", "h1", True), ("h1", "h*", True), ("h1*", "h*", True), ("h*", "*", True), ("*", "*", True),
    ("h*", "h1", False), ("*", "h*", False), ("h*", "h1*", False), ("*1", "h*1", False), ("h1", "h2", False),
])  # fmt: skip
def test_narrows(pattern, wider, within):
    assert narrows(pattern, wider) is within
