"""The hot path on SQLite with several workers: reads inline in each, groups handed to the one writer process."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from tms_ca.store.chainwriter import ChainWriter
from tms_ca.store.engine import Database
from tms_ca.store.handover import PLAIN, SPOILED, Unpacker, event_fields, pack, plain, reachable
from tms_ca.store.hot import Entry, SpoiledGroup, unavailable
from tms_ca.store.hot_sqlite import SqliteReader
from tms_ca.store.turns import BUSY_SECONDS

ANSWER_SECONDS = BUSY_SECONDS + 1.0  # the writer itself waits for the lock of a change as long as any statement does


class ChainElsewhere(ChainWriter):
    """Stands where the groups' chain would be: the events of this worker's groups are in the writer's chain."""

    def __init__(self, seal_key: bytes, started_at: int) -> None:
        super().__init__(seal_key, started_at)
        self.registered = True  # there is nothing to put into the database


class _Line(asyncio.Protocol):
    """One connection to the writer: one question at a time."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Any] | None = None
        self.transport: asyncio.Transport | None = None
        self._unpacker = Unpacker()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own has another class

    def data_received(self, data: bytes) -> None:
        for message in self._unpacker.feed(data):
            if self.answer is not None and not self.answer.done():
                self.answer.set_result(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(ConnectionError("the writer process is gone") if exc is None else exc)

    def hang_up(self) -> None:
        if self.transport is not None:
            self.transport.abort()


class WriterDriver(SqliteReader):
    """Reads as one worker alone does; a group goes to the writer as rows of plain values, in one message."""

    gathers = True

    def __init__(self, database: Database, socket: Path) -> None:
        super().__init__(database)
        self._address = reachable(socket)
        self._line: _Line | None = None

    async def commit(self, entries: Sequence[Entry], chain: ChainWriter) -> list[bool]:  # noqa: ARG002 - the writer has its own
        """Have the writer make `entries` durable.

        Raises:
            SpoiledGroup: one of them cannot be written
            Unavailable: no answer; whether the group is durable is not known, so nobody may be told that it is

        """
        message = pack([self._row(entry) for entry in entries])
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await self._ask(message)
        except (OSError, TimeoutError) as error:
            raise unavailable() from error
        finally:
            # An answer that is still to come belongs to this group: nothing else may be asked on its line.
            if self._line is not None and (self._line.answer is not None or self._line.transport is None):
                self._line.hang_up()
                self._line = None
        if answer == SPOILED:
            raise SpoiledGroup
        if not isinstance(answer, list):
            raise unavailable()
        return answer

    async def _ask(self, message: bytes) -> Any:
        loop = asyncio.get_running_loop()
        line = self._line
        if line is None or line.transport is None:  # another writer may have taken the place of one that died
            _, line = await loop.create_unix_connection(_Line, self._address)
            self._line = line
        assert line.transport is not None
        line.answer = loop.create_future()
        line.transport.write(message)
        answer = await line.answer
        line.answer = None
        return answer

    def _row(self, entry: Entry) -> tuple[object, ...]:
        event, record = entry.event, entry.certificate
        fields = event_fields(event)
        if record is None:
            return None, None, fields
        values = self._statements.certificate_values(record)
        return entry.epoch, [value if type(value) in PLAIN else plain(value) for value in values], fields

    async def close(self) -> None:
        """Close every connection."""
        if self._line is not None:
            self._line.hang_up()
        await super().close()
