"""How long one request waits for PostgreSQL in all: a turn, a connection, a lock, answers, tries again, together.

Each statement has a time of its own (store.postgres), and a request is several. What a request leaves behind in a task
of its own, and what no request began, has the statements' times alone.
"""

import asyncio
import weakref
from contextvars import ContextVar
from typing import Any

REQUEST_SECONDS = 4.2  # a little more than a statement has; a request is answered within five seconds

_BEGUN: ContextVar[tuple["weakref.ref[asyncio.Task[Any]]", float] | None] = ContextVar("begun", default=None)


def begin() -> None:
    """Begin a request's time, in the task that serves it."""
    task = asyncio.current_task()
    assert task is not None
    # Weak: a task keeps its context, and a circle of the two would stay until the collector comes.
    _BEGUN.set((weakref.ref(task), asyncio.get_running_loop().time() + REQUEST_SECONDS))


def at() -> float | None:
    """Return when the time of this task's request is over, in the loop's time; None where it serves none."""
    begun = _BEGUN.get()
    # The context of a request is also that of the tasks that it begins, and those may outlive it.
    return begun[1] if begun is not None and begun[0]() is asyncio.current_task() else None


def at_most(seconds: float) -> float:
    """Return `seconds`, or what is left of the time of this task's request where that is less."""
    end = at()
    return seconds if end is None else max(0.0, min(seconds, end - asyncio.get_running_loop().time()))
