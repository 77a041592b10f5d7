"""A list in parts is the list: nothing twice, nothing left out, no part longer than a statement bears."""

from hypothesis import given
from hypothesis import strategies as st

from tms_ca.store.parts import parts


@given(st.lists(st.integers(), max_size=30), st.integers(1, 12))
def test_parts_are_the_whole_in_order(values, most):
    found = list(parts(values, most))
    assert [value for part in found for value in part] == values
    assert all(len(part) == most for part in found[:-1])
    assert all(0 < len(part) <= most for part in found)


def test_a_part_is_what_every_sqlite_bears_in_one_statement():
    assert max(map(len, parts(range(5000)))) < 999
