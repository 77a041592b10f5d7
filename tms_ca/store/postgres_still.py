"""Clients that stand still in the middle of what they say, and keep from others what they hold.

The server ends a transaction that idles, after idle_in_transaction_session_timeout. It does not end one whose client
asked for a statement to be prepared and was stopped before it said more: that session counts as active, and no time-out
of PostgreSQL 15 reaches it. It would hold its tenant's row for as long as the client stands still, and each revocation
of the tenant would be refused. So whoever waited for something in vain looks for such sessions, and ends them.
"""

import asyncio
import contextlib

from tms_ca.store.postgres import ERRORS, Connector

# lock_not_available and query_canceled, by lock_timeout and statement_timeout: PostgreSQL, appendix A, "Error Codes"
_IN_VAIN = frozenset({"55P03", "57014"})

# Of this service's sessions alone. One that works does not wait for its client; one that reads a long message counts as
# idle. The seconds are those of idle_in_transaction_session_timeout.
_END = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
    AND application_name = current_setting('application_name')
    AND state = 'active' AND wait_event = 'ClientRead' AND state_change < clock_timestamp() - interval '3 seconds'
"""


class Still:
    """Ends what stands still, on a connection of its own: all others may be waiting for just that."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._looking: asyncio.Task[None] | None = None

    def noticed(self, error: BaseException | None) -> None:
        """Look whether somebody stands still, where `error` says that something was waited for in vain."""
        if getattr(error, "sqlstate", None) in _IN_VAIN and (self._looking is None or self._looking.done()):
            self._looking = asyncio.get_running_loop().create_task(self._end())

    async def _end(self) -> None:
        with contextlib.suppress(*ERRORS):  # whoever waits next tries again
            connection = await self._connector.connect()
            try:
                await connection.execute(_END)
            finally:
                await connection.close()
