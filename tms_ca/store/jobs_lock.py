"""Jobs that one replica runs at a time: a lock that ends with the process that holds it.

On PostgreSQL it is an advisory lock of the database, on SQLite a lock on a file beside the database. Both end by
themselves when their holder dies.
"""

import asyncio
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from sqlalchemy.engine import URL

from tms_ca.core.errors import Unavailable
from tms_ca.store.postgres import ERRORS, Connector, hang_up

HEARTBEAT_SECONDS = 2.0
# The server lets go of a holder that was stopped or cut off; longer than the holder needs to see that it is cut off.
_FORGET = "15s"


class JobsLock:
    """The locks of the jobs of one database.

    ```python
    async with jobs.only_here("retention") as here:
        if here:
            ...  # no other replica is in here
    ```

    The lock keeps work from being done twice; it is no proof. A process that is stopped (SIGSTOP, a frozen virtual
    machine) loses it after 15 seconds and notices when it goes on, so that each step of a job must also be right when
    another replica has done it already.
    """

    def __init__(self, url: URL) -> None:
        self._directory = Path(url.database or ".").parent if url.get_backend_name() == "sqlite" else None
        self._connector = None if self._directory is not None else Connector(url)

    @asynccontextmanager
    async def only_here(self, name: str) -> AsyncIterator[bool]:
        """Yield True in the one replica that may run the job `name` now, False in all others; never wait for it.

        The body is cancelled when the lock is lost, because the connection that holds it died or no longer answers.

        Raises:
            Unavailable: the database cannot be reached, or the lock was lost inside

        """
        if self._connector is None:
            assert self._directory is not None
            with _FileLock(self._directory / f".{name}.lock") as here:
                yield here
            return
        async with _held(self._connector, _number(name)) as here:
            yield here


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(b"tms-ca job " + name.encode()).digest()[:8], "big", signed=True)


class _FileLock:
    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def __exit__(self, *_: object) -> None:
        os.close(self._file)  # the file stays: who removed it would let two in


@asynccontextmanager
async def _held(connector: Connector, number: int) -> AsyncIterator[bool]:
    connection = await _taken(connector, number)
    if connection is None:
        yield False
        return
    try:
        async with asyncio.timeout(None) as limit:
            heart = asyncio.create_task(_beat(connection, limit))
            try:
                yield True
            finally:
                heart.cancel()
                await asyncio.gather(heart, return_exceptions=True)
    except TimeoutError as error:
        if limit.expired():
            raise _lost("the connection that holds the lock of this job was lost; the job was ended") from error
        raise
    finally:
        await hang_up(connection)


async def _taken(connector: Connector, number: int) -> "asyncpg.Connection[object] | None":
    """Return a connection that holds the lock; None when another has it."""
    try:
        connection = await connector.connect(idle_in_transaction_session_timeout=_FORGET)
        try:
            # Before it begins: the server lets go of a transaction that idles, but not of one that prepares.
            lock = await connection.prepare("SELECT pg_try_advisory_xact_lock($1)")
            # The lock of a transaction, not of a session: it also holds where a pooler shares sessions out.
            await connection.execute("BEGIN")
            if await lock.fetchval(number):
                return connection
        except BaseException:
            connection.terminate()
            raise
    except ERRORS as error:
        raise _lost("the database does not answer; the job was not begun") from error
    await hang_up(connection)
    return None


async def _beat(connection: "asyncpg.Connection[object]", limit: asyncio.Timeout) -> None:
    """Ask the server for a sign of life again and again; end the body when there is none."""
    try:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            await connection.execute("SELECT 1", timeout=HEARTBEAT_SECONDS)
    except ERRORS:
        limit.reschedule(asyncio.get_running_loop().time())


def _lost(detail: str) -> Unavailable:
    return Unavailable("job_lock_lost", detail, retry_after=5)
