"""Long lists for statements that name each value: SQLite and PostgreSQL bound how many parameters one statement has."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
_MOST = 500  # SQLite took 999 before 3.32; since then it takes 32,766, and PostgreSQL's protocol 32,767


def parts(values: Sequence[T], most: int = _MOST) -> Iterator[Sequence[T]]:
    """Return `values` in parts of at most so many, in order."""
    return (values[at : at + most] for at in range(0, len(values), most))
