"""Clients that stand still in the middle of what they say, and keep from others what they hold.

The server ends a transaction that idles, after idle_in_transaction_session_timeout. It does not end one whose client
asked for a statement to be prepared and was stopped before it said more: that session counts as active, and no time-out
of PostgreSQL 15 reaches it; nor one whose client reads no more of a long answer. It would hold its tenant's row for as
long as the client stands still, and each revocation of the tenant would be refused. So whoever waited for something in
vain looks for such sessions, and ends them.
"""

import asyncio
import logging

import asyncpg

from tms_ca.store.postgres import ERRORS, Connector

STILL_SECONDS = 3.0  # as idle_in_transaction_session_timeout
_AGAIN_SECONDS = 0.1  # the least between two looks

# lock_not_available and query_canceled, by lock_timeout and statement_timeout: PostgreSQL, appendix A, "Error Codes"
_IN_VAIN = frozenset({"55P03", "57014"})

# Sessions of this service that wait for their client in the middle of a statement. The server looks at what a session
# does and at what it waits for one after the other: one that ends its statement just then may seem to be such a one.
_WAITING = """
    FROM pg_stat_activity
    WHERE datname = current_database() AND usename = session_user AND pid <> pg_backend_pid()
    AND application_name = current_setting('application_name')
    AND state = 'active' AND wait_event IN ('ClientRead', 'ClientWrite')
"""
_LOOK = f"SELECT pid, state_change, extract(epoch FROM clock_timestamp() - state_change)::float8 {_WAITING}"  # noqa: S608 - no value in it
_END = f"SELECT pg_terminate_backend(pid) {_WAITING} AND pid = $1 AND state_change = $2"
_LOG = logging.getLogger(__name__)


class Still:
    """Ends what stands still, on a connection of its own: all others may be waiting for just that."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._looking: asyncio.Task[None] | None = None

    def noticed(self, error: BaseException | None) -> None:
        """Look whether somebody stands still, where `error` says that something was waited for in vain.

        That is what a statement ends with whose request has no time left, too: it may have waited in a queue before.
        """
        cut_off = isinstance(error, (asyncio.CancelledError, TimeoutError))
        if not cut_off and getattr(error, "sqlstate", None) not in _IN_VAIN:
            return
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        try:
            connection = await self._connector.connect()
            try:
                await self._end(connection)
            finally:
                await connection.close()
        except ERRORS as error:  # whoever waits next tries again
            _LOG.warning("cannot look for sessions of PostgreSQL that stand still: %s", error)

    async def _end(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """End those that are in the same statement at two looks, and have been for long enough."""
        seen = {(row[0], row[1]): row[2] for row in await connection.fetch(_LOOK)}
        if not seen:
            return
        await asyncio.sleep(max(_AGAIN_SECONDS, STILL_SECONDS - min(seen.values())))
        for pid, since in seen:
            if await connection.fetchval(_END, pid, since):
                _LOG.warning(
                    "ended a session of PostgreSQL that stood still in the middle of a statement since %s", since
                )
