"""The KRL of a tenant: built when what it must list has changed, kept in the database for every replica.

A process remembers what it listed last, and reads from the database only what has changed since. Whichever replica
is asked first builds; the others hand out what it has kept. Serving a KRL that stands costs one small statement.
"""

import asyncio
import hashlib
from dataclasses import dataclass, field

from tms_ca.core.errors import NotFound, Unavailable
from tms_ca.core.krl import fingerprint_bytes, krl_header
from tms_ca.core.krlbook import KrlBook
from tms_ca.core.model import CaKey
from tms_ca.core.publickey import parse_ca_key
from tms_ca.services.clock import Clock
from tms_ca.store import krls, reports
from tms_ca.store.engine import Database

# A certificate stays listed this long after its end: hosts' clocks may be slow.
KEPT_AFTER_END_SECONDS = 3600
# What has ended is dropped at whole multiples of this: with many revoked, every second ends one, and would make
# every host fetch the list again.
PRUNED_EVERY_SECONDS = 600
_ATTEMPTS = 5  # each is spoiled only by a replica that kept a KRL within the same few milliseconds


@dataclass(frozen=True, slots=True)
class Krl:
    """A KRL as hosts fetch it; `etag` is one for each version and its bytes."""

    version: int
    generated_at: int
    blob: bytes
    etag: str


def _krl(version: int, generated_at: int, blob: bytes) -> Krl:
    return Krl(version, generated_at, blob, f'"{version}-{hashlib.sha256(blob).hexdigest()[:16]}"')


@dataclass(slots=True)
class _Memory:
    """What this process knows of one tenant's KRL."""

    building: asyncio.Lock = field(default_factory=asyncio.Lock)
    krl: Krl | None = None
    book: KrlBook | None = None
    change: int = -1  # what `book` covers


class Krls:
    """Serve the KRL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._memories: dict[str, _Memory] = {}

    async def get(self, tenant: str, state: krls.KrlState | None = None) -> Krl:
        """Return the KRL, which lists every revocation that was answered before this call, or before `state` was read.

        Raises:
            NotFound: no such tenant
            Unavailable: the database does not answer

        """
        memory = self._memories.setdefault(tenant, _Memory())
        state = state or await self._state(tenant)
        needed = state.wanted
        for _ in range(_ATTEMPTS):
            now = self._clock.now()
            if state.changes >= needed and now < state.stale_at:
                return await self._kept(tenant, memory, state)
            async with memory.building:
                state = await self._state(tenant)  # whoever was in here before may have built it
                if not state.fresh(now):
                    await self._build(tenant, memory, state, now)
            state = await self._state(tenant)
        raise Unavailable("changed_meanwhile", "the KRL changed again and again while it was built", retry_after=1)

    async def _state(self, tenant: str) -> krls.KrlState:
        async with self._database.read() as connection:
            state = await krls.state(connection, tenant)
        if state is None:
            self._memories.pop(tenant, None)  # names of tenants that never were take up no memory
            raise NotFound("tenant_unknown", "there is no such tenant")
        return state

    async def _kept(self, tenant: str, memory: _Memory, state: krls.KrlState) -> Krl:
        """Return the KRL in the database; its bytes are read once for each version."""
        found = memory.krl
        # The time, too: where a backup was put back, the numbers of forgotten versions are given once more.
        if found is None or (found.version, found.generated_at) != (state.version, state.generated_at):
            async with self._database.read() as connection:
                found = memory.krl = _krl(*await krls.built(connection, tenant))
        return found

    async def _build(self, tenant: str, memory: _Memory, state: krls.KrlState, now: int) -> None:
        """Keep a KRL of everything that `state` wants; the caller holds `memory.building`."""
        ended = now // PRUNED_EVERY_SECONDS * PRUNED_EVERY_SECONDS - KEPT_AFTER_END_SECONDS
        book, change = memory.book, memory.change
        memory.book = None  # until it is whole again: whatever fails below, nothing half-read is taken up later
        async with self._database.read() as connection:
            authorities = await krls.authorities(connection, tenant)
            if book is None or change > state.wanted:
                book, change = KrlBook(), -1
                async for batch in krls.unexpired(connection, tenant, ended, state.wanted):
                    _list(book, batch)
            else:
                async for batch in krls.revoked_since(connection, tenant, change, state.wanted):
                    _list(book, batch)
            async for fingerprints in krls.keys_since(connection, tenant, change, state.wanted):
                for fingerprint in fingerprints:
                    book.add_key(fingerprint_bytes(fingerprint))
        body = await asyncio.to_thread(_body, book, authorities, ended)
        memory.book, memory.change = book, state.wanted
        await self._keep(tenant, state, body, book.first_end(), now)

    async def _keep(self, tenant: str, state: krls.KrlState, body: bytes, first_end: int | None, now: int) -> None:
        content = hashlib.sha256(body).digest()
        # With nothing to drop, the same list is good until the next change.
        stale_at = 2**62 if first_end is None else _drops_at(first_end)
        values: dict[str, object] = {"changes": state.wanted, "stale_at": stale_at}
        if content != state.content:
            version = state.version + 1
            header = krl_header(version=version, generated=now, comment=f"tms-ca {tenant}")
            values |= {"version": version, "content": content, "generated_at": now, "blob": header + body}
        async with self._database.transaction() as transaction:
            # Another replica may have kept one meanwhile; then this one is dropped, and the next attempt looks again.
            if await krls.save(transaction.connection, tenant, state.version, **values):
                version = state.version + (content != state.content)
                await reports.note_krl(transaction.connection, tenant, version, state.wanted, now)


def _list(book: KrlBook, batch: krls.Batch) -> None:
    for ca_fingerprint, serial, end in batch:
        book.add_certificate(ca_fingerprint, serial, end)


def _body(book: KrlBook, authorities: list[CaKey], ended: int) -> bytes:
    """Encode; in a thread, because a hundred thousand serials take a moment the first time."""
    book.drop_ended(ended)
    keys = {key.fingerprint: parse_ca_key(key.public_key) for key in authorities}
    return book.body(keys, [keys[key.fingerprint] for key in authorities if key.revocation_id])


def _drops_at(end: int) -> int:
    """Return when a certificate that ends at `end` is dropped from the list."""
    return -(-(end + KEPT_AFTER_END_SECONDS) // PRUNED_EVERY_SECONDS) * PRUNED_EVERY_SECONDS
