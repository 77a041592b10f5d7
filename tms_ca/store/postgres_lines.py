"""A few long-lived connections to PostgreSQL, each with one statement at a time.

asyncpg's pool asks the server to forget everything each time a connection is given back, which costs three times what
the statement costs. What runs here leaves nothing to forget: statements that are each a transaction of their own.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import asyncpg

from tms_ca.store import deadline, postgres
from tms_ca.store.postgres import ERRORS, Connector, Unreachable
from tms_ca.store.postgres_still import Still

_AGAIN_SECONDS = 0.25  # between two tries to reach a server that is away

# Every statement here is an index lookup or a plain insert: to plan it anew with each value would find the same.
_SETTINGS = {"plan_cache_mode": "force_generic_plan"}


class Away(ConnectionError):
    """The server does not answer, and was found so by somebody else just now."""


class Lines:
    """Up to `most` connections, opened when they are needed.

    When the server stops answering, whoever waits is told at once, and whoever asks while it is away, too: nothing
    piles up. One task tries to reach it until it is back.
    """

    def __init__(self, connector: Connector, still: Still, most: int) -> None:
        self._connector = connector
        self._still = still
        self._most = most
        self._free: list[asyncpg.Connection[Any]] = []
        self._busy: set[asyncpg.Connection[Any]] = set()
        self._waiting: deque[asyncio.Future[asyncpg.Connection[Any]]] = deque()
        self._opening: asyncio.Task[None] | None = None
        self._away: BaseException | None = None
        self._doubtful: set[object] = set()
        self._closed = False

    async def _connect(self) -> "asyncpg.Connection[Any]":
        line = await self._connector.connect(**_SETTINGS)
        line.add_log_listener(self._noticed)
        return line

    def _noticed(self, line: "asyncpg.Connection[Any]", message: Any) -> None:
        # A commit that no longer waits for the synchronous standby, because somebody cancelled it, ends as if all were
        # well but for a plain warning (01000): it is durable on one machine only. No statement of ours warns otherwise.
        if message.severity_en == "WARNING" and message.sqlstate == "01000":
            self._doubtful.add(line)

    async def open(self) -> None:
        """Open the first.

        Raises:
            Unreachable: no server takes writes

        """
        self._free.append(await self._connect())

    async def fetch(self, sql: str, args: Sequence[object]) -> Sequence[Sequence[Any]]:
        """Run a statement that is a transaction of its own; return its rows.

        Raises:
            asyncpg.PostgresError: the server refused it; see `is_certain`
            OSError, asyncpg.InterfaceError: there is no answer; whether it was done is not known

        """
        if not deadline.at_most(postgres.ANSWER_SECONDS):
            raise TimeoutError("the time of the request is over")
        line = await self._line()
        try:
            seconds = deadline.at_most(postgres.ANSWER_SECONDS)
            rows: Sequence[Sequence[Any]] = await line.fetch(sql, *args, timeout=seconds)
            if line in self._doubtful:
                raise Away("the commit was not confirmed by the standby")  # noqa: TRY301 - one way for all failures
            return rows
        except asyncpg.PostgresError as error:
            self._still.noticed(error)
            if isinstance(error, asyncpg.ReadOnlySQLTransactionError):  # what was the primary is a standby now
                line.terminate()
            raise
        except TimeoutError as error:
            self._still.noticed(error)
            if seconds < postgres.ANSWER_SECONDS:
                line.terminate()  # the time of a request is over, which says nothing about the server
            else:
                # The server's own time limit is shorter than ours: it is not this statement that takes long.
                self._hang_up(error)
            raise
        except BaseException as error:
            if not is_certain(error):
                line.terminate()  # nobody knows what it is in the middle of
            raise
        finally:
            self._busy.discard(line)
            self._doubtful.discard(line)
            self._give(line)

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        self._refuse(Away("the service stops"))
        for line in self._free:
            try:
                await line.close()
            except ERRORS:
                line.terminate()
        self._free.clear()

    def _give(self, line: "asyncpg.Connection[Any]") -> None:
        while self._waiting and not line.is_closed():
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._busy.add(line)
                waiter.set_result(line)
                return
        if self._closed:
            line.terminate()
        elif not line.is_closed():
            self._free.append(line)
        elif self._waiting:
            self._open_another()

    async def _line(self) -> "asyncpg.Connection[Any]":
        while self._free:
            line = self._free.pop()
            if not line.is_closed():
                self._busy.add(line)
                return line
        while True:
            if self._closed or (self._away is not None and not self._busy):
                raise Away("the database is away") from self._away
            if len(self._busy) < self._most:
                self._open_another()
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                line = await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                    self._busy.discard(waiter.result())
                    self._give(waiter.result())  # it came in the same moment
                raise
            if not line.is_closed():
                return line
            self._busy.discard(line)

    def _open_another(self) -> None:
        if self._opening is None or self._opening.done():
            self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        while True:
            try:
                line = await self._connect()
            except Unreachable as error:
                self._away = error
                if not self._busy:
                    self._refuse(error)
                await asyncio.sleep(_AGAIN_SECONDS)
            except BaseException as error:
                self._refuse(error)
                raise
            else:
                break
        self._away = None
        self._give(line)
        if len(self._waiting) > 1 and len(self._busy) + len(self._free) + 1 < self._most:
            self._opening = None
            self._open_another()

    def _hang_up(self, error: BaseException) -> None:
        """Give up every connection: a server that is frozen or cut off answers none of them."""
        self._away = error
        for line in [*self._free, *self._busy]:
            line.terminate()
        self._free.clear()
        self._busy.clear()  # from now on there is nothing to wait for, whoever has yet to hear of it
        self._refuse(error)
        if not self._closed:
            self._open_another()

    def _refuse(self, error: BaseException) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                away = Away("the database is away")
                away.__cause__ = error
                waiter.set_exception(away)


def is_certain(error: BaseException) -> bool:
    """Tell whether a statement that ended with `error` has surely written nothing.

    An ERROR is sent before the commit. What ends the session may come in the middle of it; so may 40003, by which
    other servers that speak PostgreSQL's protocol say that they do not know.
    """
    if not isinstance(error, asyncpg.PostgresError):
        return False
    if error.severity_en is None:  # not the server's: asyncpg found an argument that cannot be sent
        return isinstance(error, asyncpg.DataError)
    return bool(error.severity_en == "ERROR" and error.sqlstate != "40003")


def is_spoiled(error: BaseException) -> bool:
    """Tell whether the rows are to blame: one that breaks a rule of the schema, or that cannot be encoded."""
    return isinstance(error, (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError))
