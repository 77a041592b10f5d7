"""Rows go into SQLite sixteen with one statement: Python lets go of its lock and takes it again for each."""

import sqlite3
from collections.abc import Sequence
from itertools import chain

from tms_ca.store.hot import Prepared

_SIZES = (16, 8, 4, 2, 1)


class BulkInsert:
    """The INSERT of one row, `prepared`, for any number of rows.

    A conflict rolls the transaction back. By default SQLite would undo only the statement, and would keep for that a
    copy of every page that a statement of many rows changes, which costs more than such a statement saves.
    """

    def __init__(self, prepared: Prepared) -> None:
        head, values = prepared.sql.split(" VALUES ")
        head = head.replace("INSERT INTO", "INSERT OR ROLLBACK INTO", 1)
        self._statements = [(size, f"{head} VALUES {', '.join([values] * size)}") for size in _SIZES]

    def run(self, connection: sqlite3.Connection, rows: Sequence[Sequence[object]]) -> None:
        """Insert `rows`, of values in the statement's order.

        Raises:
            sqlite3.IntegrityError: a rule of the schema; the transaction has been rolled back

        """
        done = 0
        for size, statement in self._statements:
            while len(rows) - done >= size:
                connection.execute(statement, list(chain.from_iterable(rows[done : done + size])))
                done += size
