"""End the certificates of a revoked public key, whose place no index knows: beside the answer, a window at a time.

The key is forbidden and in the KRL before this begins, and none is issued for it any more: its certificates are refused
already. What comes here is that each is on record as revoked. It is right at any time, and done twice it adds nothing.
"""

import asyncio
import logging
from collections.abc import Sequence

from tms_ca.core.errors import TmsError
from tms_ca.core.model import Caller, Revocation
from tms_ca.services.clock import Clock
from tms_ca.services.journal import event
from tms_ca.store import deadline, revocations, rows
from tms_ca.store.engine import Database

_LOG = logging.getLogger(__name__)
PAUSES: Sequence[float] = (1.0, 5.0, 30.0)  # seconds before each further try, where the database did not answer
PATIENCE_SECONDS = 2.0  # of whoever revokes a key; what is left then goes on without them
ENDED = "revocations.end"


class KeyEndings:
    """What is at work in this process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._turn = asyncio.Lock()
        self._running: dict[str, asyncio.Task[Revocation | None]] = {}

    async def end(self, caller: Caller, tenant: str, revocation_id: str) -> Revocation | None:
        """Revoke what has not ended of the key's certificates; return the revocation then, None where that is not done.

        It goes on here, also when the database does not answer for half a minute; later, whoever asks again begins it
        anew.
        """
        task = self._running.get(revocation_id)
        if task is None:
            task = self._running[revocation_id] = asyncio.create_task(self._end(caller, tenant, revocation_id))
            task.add_done_callback(lambda _: self._running.pop(revocation_id, None))
        done, _ = await asyncio.wait({task}, timeout=deadline.at_most(PATIENCE_SECONDS))
        return task.result() if done else None

    async def close(self) -> None:
        """Stop whatever is at work."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _end(self, caller: Caller, tenant: str, revocation_id: str) -> Revocation | None:
        for pause in (*PAUSES, None):
            try:
                return await self._search(caller, tenant, revocation_id)
            except TmsError as error:
                if pause is not None:
                    await asyncio.sleep(pause)
                    continue
                _LOG.warning(
                    "not all certificates of a revoked key are on record as revoked; they are refused: "
                    "revoke it again: %s, %r",
                    revocation_id,
                    error,
                )
        return None

    async def _search(self, caller: Caller, tenant: str, revocation_id: str) -> Revocation:
        now = self._clock.now()
        after: int | None = now
        async with self._turn:  # one search at a time: others want to read, too
            made = await self._revocation(tenant, revocation_id)
            while after is not None:
                async with self._database.read() as connection:
                    found, after = await revocations.serials_of_key(connection, tenant, made.value, after)
                if found:
                    await self._revoke(caller, made, found, now)
            return await self._revocation(tenant, revocation_id)

    async def _revocation(self, tenant: str, revocation_id: str) -> Revocation:
        async with self._database.read() as connection:
            found = await rows.REVOCATIONS.get(connection, tenant, revocation_id)
        assert found
        return found

    async def _revoke(self, caller: Caller, made: Revocation, serials: list[int], now: int) -> None:
        async with self._database.change(made.tenant) as transaction:
            connection = transaction.connection
            ended = await revocations.end_certificates(connection, made.tenant, serials, made.revocation_id, now)
            before = await rows.REVOCATIONS.get(connection, made.tenant, made.revocation_id)
            if not ended or before is None:
                return  # another process was faster
            await rows.REVOCATIONS.update(
                connection, (made.tenant, made.revocation_id), certificates=(before.certificates or 0) + ended
            )
            transaction.record(
                event(
                    self._clock, caller, made.tenant, ENDED, f"{made.selector}:{made.value}",
                    revocation=made.revocation_id, certificates=ended,
                )
            )  # fmt: skip
