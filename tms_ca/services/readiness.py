"""Tell whether this process can do its work now, and what is wrong where it cannot.

A check that fails is `blocking` where traffic must go elsewhere; the others want a person, while the service answers.
"""

import asyncio
import hmac
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.chain import head_mac
from tms_ca.core.errors import TmsError
from tms_ca.core.model import CaKey, KeyPurpose
from tms_ca.services.cakeys import KeyRing
from tms_ca.services.clock import Clock
from tms_ca.services.krl import Krls
from tms_ca.store import cakeys, krls, rows, watch
from tms_ca.store.engine import Database
from tms_ca.store.krls import KrlState
from tms_ca.vault import Vault

MOST_TENANTS = 100
PATIENCE_SECONDS = 4.0  # for all of it: whoever asks has a patience of its own
LITTLE_BYTES = 512 * 1024 * 1024  # of the disk under SQLite: someone should come
NOTHING_BYTES = 16 * 1024 * 1024  # soon no commit succeeds
CLOCK_SECONDS = 5
_RETRIEVE = "tms_v1.retrieve_tenants"
CLOCK_BLOCKING_SECONDS = 60  # from here on certificates would be dated wrongly beyond their default backdating


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be true; `detail` says what is wrong and what to do."""

    name: str
    ok: bool
    detail: str = ""
    blocking: bool = False  # it failed, and the service must not get traffic


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found."""

    checks: Sequence[Check]

    @property
    def ready(self) -> bool:
        """Tell whether the service may get traffic."""
        return not any(check.blocking for check in self.checks)

    @property
    def status(self) -> str:
        """Return `ok`, `degraded` (it answers, and someone should come) or `not ready`."""
        if not self.ready:
            return "not ready"
        return "ok" if all(check.ok for check in self.checks) else "degraded"

    def text(self) -> str:
        """Return it as a person reads it: the status, then a line for each check, what is wrong first."""
        lines = [f"tms-ca: {self.status}\n"]
        for check in sorted(self.checks, key=lambda check: (check.ok, not check.blocking)):
            word = "ok      " if check.ok else "BLOCKING" if check.blocking else "wrong   "
            lines.append(f"{word} {check.name}{': ' if check.detail else ''}{check.detail}\n")
        return "".join(lines)


class Readiness:
    """Ask each part; those who ask at the same time share one look."""

    def __init__(
        self,
        database: Database,
        ring: KeyRing,
        krls_: Krls,
        vault: Vault,
        clock: Clock,
        loosened: Mapping[str, str] | None = None,  # settings less safe than they could be: name and sentence
        retrieve_tenants: Sequence[str] = (),  # of the settings: each should be there
    ) -> None:
        self._database = database
        self._ring = ring
        self._krls = krls_
        self._vault = vault
        self._clock = clock
        self._loosened = {name: _wrong(name, said, blocking=False) for name, said in (loosened or {}).items()}
        self._retrieve_tenants = retrieve_tenants
        self._looking: asyncio.Task[Look] | None = None
        self._heads: dict[str, int] = {}
        self.ending = False  # set when the service is being stopped: whoever asks first goes elsewhere

    async def look(self) -> Look:
        """Return every check, passed or not."""
        if self.ending:
            return Look([Check("serving", ok=False, detail="the service is being stopped", blocking=True)])
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())
        return await asyncio.shield(self._looking)

    async def _look(self) -> Look:
        found: list[Check] = [] if self._disk() is None else [self._disk_check()]
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                async with self._database.read() as connection:
                    tenants, _ = await rows.TENANTS.page(connection, {"enabled": True}, None, MOST_TENANTS)
                    anybody = tenants or (await rows.TENANTS.page(connection, {}, None, 1))[0]
                    state = await watch.state(connection, sqlite=self._database.is_sqlite)
                    unknown = await self._unknown(connection)
                    # Of all tenants at once: each statement costs a turn of the loop, and under a flood that is long.
                    names = [tenant.tenant for tenant in tenants]
                    signing = await cakeys.active(connection, names)
                    standing = await krls.states(connection, names)
                found += [
                    self._database_check(state, anybody=bool(anybody)),
                    self._chain(state),
                    self._clock_check(state),
                ]
                found += [await self._master_key(), *await self._ca_keys(names, signing)]
                found += [await self._krl(name, standing.get(name)) for name in names]
                if unknown:
                    found.append(_wrong(_RETRIEVE, "; ".join(unknown), blocking=False))
        except TimeoutError:
            found.append(_wrong("database", f"no answer within {PATIENCE_SECONDS:.0f} s", blocking=True))
        except TmsError as error:
            found.append(_wrong("database", error.detail, blocking=True))
        return Look([*found, *self._loosened.values()])

    def say_instead(self, name: str, said: str) -> None:
        """Say something else of a setting than that it is less safe than it could be: it has no effect."""
        self._loosened[name] = _wrong(name, said, blocking=False)

    async def unknown_tenants(self) -> list[str]:
        """Return a sentence for each of `retrieve_tenants` that is not there; nothing while nobody can tell."""
        try:
            async with self._database.read() as connection:
                return await self._unknown(connection)
        except TmsError:
            return []

    async def _unknown(self, connection: AsyncConnection) -> list[str]:
        names = self._retrieve_tenants
        there = [name for name in names if await rows.TENANTS.get(connection, name) is not None]
        return [f"{_RETRIEVE} names {name!r}, and there is no such tenant" for name in names if name not in there]

    def _disk(self) -> Path | None:
        name = self._database.url.database
        return Path(name).parent if self._database.is_sqlite and name else None

    def _disk_check(self) -> Check:
        place = self._disk()
        assert place is not None
        try:
            free = shutil.disk_usage(place).free
        except OSError as error:
            return _wrong("disk", f"cannot look at {place}: {error.strerror}", blocking=False)
        if free >= LITTLE_BYTES:
            return Check("disk", ok=True)
        return _wrong(
            "disk", f"{free >> 20} MiB are left under the database, expected {LITTLE_BYTES >> 20} or more: make room",
            blocking=free < NOTHING_BYTES,
        )  # fmt: skip

    def _database_check(self, state: watch.State, *, anybody: bool) -> Check:
        if state.read_only:
            detail = "it is a standby that takes no writes: point the URL to the primary"
        elif not anybody:
            detail = "it has no tenant: is it the right one? If it is, make one with tms-ca tenants create"
        else:
            return Check("database", ok=True)
        return _wrong("database", detail, blocking=True)

    def _chain(self, state: watch.State) -> Check:
        wrong = []
        for head in state.heads:
            mac = head_mac(self._vault.audit_key, head.chain, head.seq, head.hash)
            if not hmac.compare_digest(mac, head.mac) or not head.has_its_event:
                wrong.append(f"{head.chain} does not end where its head says")
            elif head.seq < self._heads.get(head.chain, 0):
                wrong.append(f"{head.chain} is shorter than it was: the database has gone back in time")
        self._heads = {head.chain: head.seq for head in state.heads}
        if not wrong:
            return Check("chain", ok=True)
        return _wrong("chain", f"audit chain {wrong[0]}: run tms-ca audit verify", blocking=False)

    def _clock_check(self, state: watch.State) -> Check:
        now = self._clock.now()
        behind = state.newest_at - now
        if behind > CLOCK_SECONDS:
            detail = f"{behind} s behind the newest certificate: this clock, or that of another replica, is wrong"
            return _wrong("clock", detail, blocking=behind > CLOCK_BLOCKING_SECONDS)
        apart = 0 if state.database_at is None else abs(state.database_at - now)
        if apart > CLOCK_SECONDS:
            return _wrong("clock", f"{apart} s apart from the database's: synchronize both", blocking=False)
        return Check("clock", ok=True)

    async def _master_key(self) -> Check:
        return await _passes("master_key", self._ring.check_master_key, blocking=True)

    async def _ca_keys(self, tenants: Sequence[str], active: Sequence[CaKey]) -> list[Check]:
        """Check each tenant; when not one of them could get a certificate, the service is of no use."""
        found = [await self._ca_key(name, [key for key in active if key.tenant == name]) for name in tenants]
        if any(check.ok for check in found):
            return found
        return [Check(check.name, check.ok, check.detail, blocking=True) for check in found]

    async def _ca_key(self, tenant: str, active: Sequence[CaKey]) -> Check:
        name = f"ca_key:{tenant}"
        try:
            for key in active:
                await self._ring.signer(tenant, key.fingerprint)
        except TmsError as error:
            return _wrong(name, error.detail, blocking=False)
        if any(key.purpose is KeyPurpose.USER and key.revocation_id is None for key in active):
            return Check(name, ok=True)
        return _wrong(name, "no active user CA key: create and activate one", blocking=False)

    async def _krl(self, tenant: str, state: KrlState | None) -> Check:
        """Check that the KRL can be brought up to date: it is built when somebody asks for it."""
        return await _passes(f"krl:{tenant}", lambda: self._krls.get(tenant, state), blocking=False)


def _wrong(name: str, detail: str, *, blocking: bool) -> Check:
    return Check(name, ok=False, detail=detail, blocking=blocking)


async def _passes(name: str, act: Callable[[], Awaitable[object]], *, blocking: bool) -> Check:
    try:
        await act()
    except TmsError as error:
        return _wrong(name, error.detail, blocking=blocking)
    return Check(name, ok=True)
