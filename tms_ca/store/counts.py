"""Counts of changes, by which processes know whether what they remember is still true."""

import time
from typing import Any

from sqlalchemy import Column, ColumnElement, case


def grown(column: Column[Any]) -> ColumnElement[int]:
    """Return what the count in `column` grows to: one more, and at least the time in milliseconds.

    So no number comes twice, also where a backup was put back under a process that had seen higher ones: with plain
    counting, the changes made since would get the numbers of those that are forgotten.
    """
    now, one_more = time.time_ns() // 1_000_000, column + 1
    return case((one_more < now, now), else_=one_more)
