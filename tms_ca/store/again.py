"""Work that the database undid because of what went on at the same time: asked again, it may well be done.

PostgreSQL says so of a deadlock (40P01), servers that run every transaction serializably of two that met (40001). On
SQLite there is no such thing: each transaction that writes has the one lock from its beginning (BEGIN IMMEDIATE).
"""

from contextvars import ContextVar

from sqlalchemy.exc import DBAPIError

from tms_ca.core.errors import Unavailable

_STATES = frozenset({"40001", "40P01"})  # postgresql.org/docs/current/mvcc-serialization-failure-handling.html


class Undone(Unavailable):
    """Nothing was done, and nothing is wrong with what was asked: whoever knows how to ask again should."""


class Tried:
    """One try of something that takes a transaction or several; whoever can repeat it begins each with `begin`."""

    __slots__ = ("committed",)

    def __init__(self) -> None:
        self.committed = False  # something of it is there to stay: it can only go on, not be repeated


_TRIED: ContextVar[Tried | None] = ContextVar("tried", default=None)


def begin() -> None:
    """Begin a try: what this task and its children commit from here on belongs to it."""
    _TRIED.set(Tried())


def note_commit() -> None:
    """Note that the try that is under way has committed."""
    tried = _TRIED.get()
    if tried is not None:
        tried.committed = True


def undone(error: Exception) -> Undone | None:
    """Return what to raise where all of a try was undone; None for any other error."""
    tried = _TRIED.get()
    if tried is None or tried.committed or not isinstance(error, DBAPIError):
        return None
    if getattr(error.orig, "sqlstate", None) not in _STATES:
        return None
    return Undone(
        "database_unavailable",
        "the database undid this again and again, because of what others change at the same time; nothing was done: "
        "try again",
        retry_after=1,
    )
