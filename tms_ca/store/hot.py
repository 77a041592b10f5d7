"""The hot path: issuing and login checks go underneath SQLAlchemy's engine, here and nowhere else.

The statements are written once, as SQLAlchemy expressions, and compiled once; the driver runs them. Reads on SQLite
run inline: six microseconds, where a thread's round trip costs twenty times that. Writes of many requests share one
durable commit: `GroupCommit` hands over what has gathered each time the group before it is on the disk.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Protocol

from sqlalchemy import ClauseElement, insert
from sqlalchemy.sql.compiler import SQLCompiler

from tms_ca.core.errors import Unavailable
from tms_ca.core.model import CertificateRecord, Event
from tms_ca.core.record import record
from tms_ca.store import deadline
from tms_ca.store.chainwriter import INSERT_EVENT, MOVE_HEAD, ChainWriter, Placed
from tms_ca.store.engine import Database
from tms_ca.store.rows import certificate_values
from tms_ca.store.tables import audit_events, certificates

_LOG = logging.getLogger(__name__)
MOST_IN_A_GROUP = 256
Done = Callable[[bool | Exception], None]  # what an entry became: see GroupCommit.put


@record
class Entry:
    """What one request wants durable: a certificate (if any) and its event."""

    event: Event
    certificate: CertificateRecord | None = None
    epoch: int = 0  # what the decision saw; a certificate is refused when its tenant's epoch has grown


class Prepared:
    """A statement compiled for one driver: text and the order of its parameters."""

    def __init__(self, statement: ClauseElement, dialect: Any, columns: Sequence[str] | None = None) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=columns)
        assert isinstance(compiled, SQLCompiler)
        self.sql = str(compiled)
        self.names = tuple(compiled.positiontup or ())
        self._defaults = {name: value for name, value in compiled.params.items() if value is not None}

    def args(self, params: Mapping[str, object]) -> list[object]:
        """Return `params` in order; constants of the statement fill the rest."""
        return [params[name] if name in params else self._defaults[name] for name in self.names]


class SpoiledGroup(Exception):
    """An entry breaks a rule of the schema; nothing of its group was written."""


class HotDriver(Protocol):
    """What both engines give the hot path."""

    dialect: Any
    gathers: bool  # whether a group takes this machine's own time, so that few large ones are better than many

    async def fetch(self, prepared: Prepared, args: Sequence[object]) -> Sequence[Sequence[Any]]:
        """Run a SELECT; rows as sequences in the statement's order."""

    def fetch_at_once(self, prepared: Prepared, args: Sequence[object]) -> Sequence[Sequence[Any]]:
        """Run a SELECT without waiting; no rows where this engine cannot."""

    def version(self) -> bytes | None:
        """Return what is other after any commit of anyone than before it; None where nothing cheap says so."""

    async def commit(self, entries: Sequence[Entry], chain: ChainWriter) -> list[bool]:
        """Make `entries` durable in one commit; False for each whose tenant's epoch has grown, or key is forbidden.

        On PostgreSQL it begins `chain` itself: who came through the engine would wait for a server that is known here
        to be away.

        Raises:
            SpoiledGroup: one of them cannot be written
            Unavailable: the database does not answer
        """

    async def close(self) -> None:
        """Close connections."""


_CERTIFICATE_COLUMNS = [column.name for column in certificates.columns if column.name != "id"]
_EVENT_COLUMNS = [column.name for column in audit_events.columns]


class HotStatements:
    """The statements of a group's commit on SQLite, compiled once; PostgreSQL has store.group_statement."""

    def __init__(self, dialect: Any) -> None:
        self.certificate = Prepared(insert(certificates).inline(), dialect, _CERTIFICATE_COLUMNS)
        self.certificate_values = certificate_values(self.certificate.names)
        self.event = Prepared(INSERT_EVENT, dialect, _EVENT_COLUMNS)
        self.event_values = attrgetter(*self.event.names)
        self.head = Prepared(MOVE_HEAD, dialect, ["head_seq", "head_hash", "head_mac"])


def place(entries: Sequence[Entry], chain: ChainWriter) -> Placed:
    """Give the events of `entries` their places; the caller holds `chain.lock`.

    Raises:
        Unavailable: the commit of a change was lost since the chain was seen to be there; another begins

    """
    if not chain.registered:
        raise unavailable()
    return chain.place([entry.event for entry in entries])


class GroupCommit:
    """Gather entries while a group is being written; write them together next.

    `submit` returns once its entry is durable, True, or was void because the tenant had changed, False. One bad
    entry does not spoil its neighbours: a group that fails is tried again one by one. `chain` is the groups' own:
    a group that waits for a change of a tenant must not hold what that change needs to be done.
    """

    def __init__(self, driver: HotDriver, database: Database, chain: ChainWriter) -> None:
        self._driver = driver
        self._database = database
        self._chain = chain
        self._waiting: list[tuple[Entry, Done]] = []
        self._task: asyncio.Task[None] | None = None
        self.groups = 0
        self.entries = 0

    @property
    def waiting(self) -> int:
        """Return how many entries wait for their group."""
        return len(self._waiting)

    async def submit(self, entry: Entry) -> bool:
        """Make `entry` durable.

        Raises:
            Unavailable: the database did not say that it took it

        """
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def done(outcome: bool | Exception) -> None:  # noqa: FBT001 - it is what `submit` returns
            if future.done():  # the request may have been cancelled; its certificate is on record all the same
                return
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self.put(entry, done)
        try:
            async with asyncio.timeout_at(None if self._database.is_sqlite else deadline.at()):
                return await future
        except TimeoutError as error:
            raise unavailable() from error

    def put(self, entry: Entry, done: Done) -> None:
        """Make `entry` durable; then call `done`, which must not raise, with what `submit` would return or raise."""
        self._waiting.append((entry, done))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._drain())

    async def close(self) -> None:
        """Wait until what has been submitted is durable or refused."""
        if self._task is not None:
            await self._task

    async def _drain(self) -> None:
        while self._waiting:
            if self._driver.gathers:
                await self._gather()
            group, self._waiting = self._waiting[:MOST_IN_A_GROUP], self._waiting[MOST_IN_A_GROUP:]
            await self._write(group)

    async def _gather(self) -> None:
        """Wait for the next turn of the loop as long as each brings more: they are there already, and only unread.

        Those who were answered together ask again together. Without this, the first of them would be a group, and the
        others the next, and the one of them cost as much of the disk as all the others.
        """
        seen = 0
        while seen < len(self._waiting) < MOST_IN_A_GROUP:
            seen = len(self._waiting)
            await asyncio.sleep(0)

    async def _write(self, group: list[tuple[Entry, Done]]) -> None:
        try:
            if not self._chain.registered and self._database.is_sqlite:
                await self._database.begin(self._chain)
            answers = await self._driver.commit([entry for entry, _ in group], self._chain)
        except SpoiledGroup as error:
            if len(group) == 1:  # a serial that exists, as good as never: the second of it does not leave
                _refuse(group, error)
            else:
                for one in group:
                    await self._write([one])
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, every waiting request must hear of it
            if not self._chain.registered:  # no answer came: whoever waits would wait as long, and then for the chain
                group, self._waiting = [*group, *self._waiting], []
            _refuse(group, error)
            return
        self.groups += 1
        self.entries += len(group)
        for (_, done), answer in zip(group, answers, strict=True):
            _tell(done, answer)


def _refuse(group: Sequence[tuple[Entry, Done]], error: Exception) -> None:
    for _, done in group:
        answer = unavailable()
        answer.__cause__ = error
        _tell(done, answer)


def _tell(done: Done, outcome: bool | Exception) -> None:  # noqa: FBT001 - see GroupCommit.put
    try:
        done(outcome)
    except Exception:  # noqa: BLE001 - whatever it is, those behind it must have theirs
        _LOG.exception("an answer that was durable could not be given")


def unavailable() -> Unavailable:
    """Return the error of a database that does not answer, or not in time: then what was asked may yet be done."""
    return Unavailable(
        "database_unavailable",
        "the database does not answer; nothing was handed out, and nobody knows whether a change was made: try again",
        retry_after=2,
    )
