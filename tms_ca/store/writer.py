"""The one process that writes the groups of every worker on SQLite.

Two processes that each write wait for one another by polling, and each pays a sync of its own. One writer merges what
all workers have handed over while its last commit was on the way to the disk: one transaction, one sync, one chain.
It is one thread that waits for nothing but its sockets and the disk.
"""

import contextlib
import selectors
import socket
import sqlite3
import time
from collections.abc import Callable, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

from sqlalchemy import insert
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL

from tms_ca.core.model import Event
from tms_ca.store.bulk import BulkInsert
from tms_ca.store.chainwriter import ChainWriter
from tms_ca.store.checkpoints import Checkpoints
from tms_ca.store.handover import FAILED, SPOILED, Unpacker, pack
from tms_ca.store.hot import HotStatements, Prepared
from tms_ca.store.sqlite import open_sqlite
from tms_ca.store.standing_sqlite import Decided, Standing
from tms_ca.store.tables import audit_chains
from tms_ca.store.turns import NO_WAITING, take_turn

BEAT_SECONDS = 1.0
_RECEIVE_BYTES = 1 << 20

Group = Sequence[Any]  # of (epoch, certificate's parameters, event's fields), as hot_writer hands it over


class GroupWriter:
    """Writes groups, many in one commit; `failed` is told what the database refused."""

    def __init__(self, url: URL, seal_key: bytes, started_at: int, failed: Callable[[Exception], None]) -> None:
        dialect = sqlite.dialect(paramstyle="qmark")
        self._connection = open_sqlite(url)
        self._connection.execute(NO_WAITING)
        self._checkpoints = Checkpoints(url)
        self._statements = HotStatements(dialect)
        self._certificates = BulkInsert(self._statements.certificate)
        self._events = BulkInsert(self._statements.event)
        self._chain = ChainWriter(seal_key, started_at)
        self._open_chain = Prepared(insert(audit_chains), dialect, list(self._chain.opening()))
        self._standing = Standing(self._connection, dialect)
        columns = self._statements.certificate.names
        self._tenant_and_key = itemgetter(columns.index("tenant"), columns.index("public_key_fingerprint"))
        self._failed = failed

    def write(self, groups: Sequence[Group]) -> list[object]:
        """Make `groups` durable together; an answer for each: what stands of it, SPOILED or FAILED."""
        try:
            with self._checkpoints.turn:
                answers = self._commit(groups)
            self._checkpoints.wrote(sum(map(len, groups)))
            return list(answers)
        except sqlite3.IntegrityError:
            if len(groups) > 1:  # one bad entry does not spoil the groups of other workers
                return [answer for group in groups for answer in self.write([group])]
            return [SPOILED]
        except sqlite3.Error as error:
            self._failed(error)
            return [FAILED] * len(groups)

    def close(self) -> None:
        """Close the database."""
        self._checkpoints.close()
        self._connection.close()

    def _commit(self, groups: Sequence[Group]) -> list[list[bool]]:
        # The events are rebuilt before the lock is taken: while it is held, a change in some worker waits.
        events = [[Event(*fields) for _, _, fields in group] for group in groups]
        connection, statements, chain = self._connection, self._statements, self._chain
        take_turn(connection)
        try:
            standing = self._standing_of(groups)
            kept, certificates = [], []
            for group, made, stands in zip(groups, events, standing, strict=True):
                for (_, certificate, _), event, good in zip(group, made, stands, strict=True):
                    if good:
                        kept.append(event)
                        if certificate is not None:
                            certificates.append(certificate)
            if not kept:
                connection.execute("ROLLBACK")
                return standing
            if not chain.registered:
                connection.execute(self._open_chain.sql, self._open_chain.args(chain.opening()))
            placed = chain.place(kept)
            self._certificates.run(connection, certificates)
            self._events.run(connection, list(map(statements.event_values, placed.rows)))
            connection.execute(statements.head.sql, statements.head.args(chain.head_params(placed)))
            with chain.committing():
                connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        chain.moved(placed)
        return standing

    def _standing_of(self, groups: Sequence[Group]) -> list[list[bool]]:
        answers = iter(self._standing.of([self._decided(*entry) for group in groups for entry in group]))
        return [list(islice(answers, len(group))) for group in groups]

    def _decided(self, epoch: int, certificate: Sequence[Any] | None, _: object) -> Decided | None:
        if certificate is None:
            return None
        tenant, key = self._tenant_and_key(certificate)
        return tenant, epoch, key


class WriterServer:
    """Takes groups from every worker that connects to `listener`.

    `control` leads to the supervisor: a beat goes out each second, and an order or its end means that no new worker
    will come. The writer then ends with its last worker, whose last group it still writes.
    """

    def __init__(self, listener: socket.socket, control: socket.socket, writer: GroupWriter) -> None:
        self._listener = listener
        self._control = control
        self._writer = writer
        self._selector = selectors.DefaultSelector()
        self._workers: dict[socket.socket, Unpacker] = {}
        self._ending = False
        self._beat = 0.0

    def run(self) -> None:
        """Write until the supervisor and the workers are gone."""
        for each in (self._listener, self._control):
            each.setblocking(False)
            self._selector.register(each, selectors.EVENT_READ)
        while self._workers or not self._ending:
            handed: list[tuple[socket.socket, Group]] = []
            for key, _ in self._selector.select(BEAT_SECONDS):
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                if ready is self._listener:
                    self._accept()
                elif ready is self._control:
                    self._hear()
                else:
                    handed += [(ready, group) for group in self._receive(ready)]
            if handed:
                answers = self._writer.write([group for _, group in handed])
                for (worker, _), answer in zip(handed, answers, strict=True):
                    self._send(worker, pack(answer))
            self._live()

    def _accept(self) -> None:
        try:
            worker, _ = self._listener.accept()
        except BlockingIOError:
            return
        worker.setblocking(False)
        self._selector.register(worker, selectors.EVENT_READ)
        self._workers[worker] = Unpacker()

    def _receive(self, worker: socket.socket) -> list[Group]:
        try:
            data = worker.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self._drop(worker)
            return []
        return list(self._workers[worker].feed(data))

    def _send(self, worker: socket.socket, answer: bytes) -> None:
        try:
            sent = worker.send(answer) if worker in self._workers else len(answer)
        except OSError:
            sent = 0
        if sent != len(answer):  # it asks one question at a time, so an answer that does not fit has no reader
            self._drop(worker)

    def _drop(self, worker: socket.socket) -> None:
        if self._workers.pop(worker, None) is not None:
            self._selector.unregister(worker)
            worker.close()

    def _hear(self) -> None:
        self._ending = True
        self._selector.unregister(self._control)

    def _live(self) -> None:
        now = time.monotonic()
        if now - self._beat >= BEAT_SECONDS:
            self._beat = now
            with contextlib.suppress(OSError):  # the supervisor is gone; the selector says so too
                self._control.send(b".")
