"""Brings SQLite's write-ahead log home into the database file, beside the commits instead of inside one.

By itself SQLite does so within every commit that finds a thousand pages in the log. That commit, and everybody who
waits for it, then waits for two more flushes and for as many pages as were changed, each at a place of its own: with
many users it is hardly fewer pages than the log has. Here a thread of its own does it, and less often, so that a page
that was changed many times is written home once.
"""

import logging
import sqlite3
import threading

from sqlalchemy.engine import URL

from tms_ca.store.aside import Aside
from tms_ca.store.sqlite import open_sqlite

_LOG = logging.getLogger(__name__)
PAGES = 4000  # of the log, about, between one checkpoint and the next; SQLite helps itself at sqlite.MOST_LOG_PAGES
_OF_A_GROUP, _OF_AN_ENTRY = 10, 2  # pages that a commit changes: the last one of each index, and what the rows fill
_PATIENCE_MS = 20  # how long the commits may have to wait for somebody's long look at the database


class Checkpoints:
    """Watches how much is written. Whoever commits holds `turn` meanwhile, and then says what it was with `wrote`."""

    def __init__(self, url: URL) -> None:
        self.turn = threading.Lock()
        self._connection = open_sqlite(url)
        self._connection.execute(f"PRAGMA busy_timeout={_PATIENCE_MS}")
        self._thread = Aside("checkpoint")
        self._under_way = False
        self._pages = 0
        self.done = 0  # how often all of the log was home, so that it begins anew

    def wrote(self, entries: int) -> None:
        """Count a commit of so many entries."""
        self._pages += _OF_A_GROUP + _OF_AN_ENTRY * entries
        if self._pages >= PAGES and not self._under_way:
            self._pages, self._under_way = 0, True
            self._thread.put(self._bring_home)

    def close(self) -> None:
        """Wait for what is under way."""
        self._thread.close()
        self._connection.close()

    def _bring_home(self) -> None:
        try:
            # Nobody waits for these. The second has only what was committed during the first.
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            # The log begins anew once all of it is home; in between two commits there is little left to bring.
            with self.turn:
                ((busy, _, _),) = self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            self.done += not busy
        except sqlite3.Error as error:  # what is committed stays in the log, which is as durable as the file
            _LOG.warning("the write-ahead log could not be brought home: %r", error)
        finally:
            self._under_way = False
