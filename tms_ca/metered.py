"""The same services, measured. app.py puts them where the plain ones would stand: nothing below knows of metrics."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.engine import URL

from tms_ca.core.errors import Unavailable
from tms_ca.core.facts import DenialReason
from tms_ca.core.model import Caller, Event
from tms_ca.metrics import Metrics
from tms_ca.services.cakeys import KeyRing
from tms_ca.services.clock import Clock
from tms_ca.services.krl import Krl, Krls
from tms_ca.services.readiness import Look, Readiness
from tms_ca.services.reports import Reports
from tms_ca.services.unissued import Unissued
from tms_ca.signing import Signer
from tms_ca.store.chainwriter import ChainWriter
from tms_ca.store.engine import Database
from tms_ca.store.hot import Entry, HotDriver, Prepared
from tms_ca.store.krls import KrlState
from tms_ca.store.reports import Counts
from tms_ca.vault import Vault


class MeteredDriver:
    """A HotDriver: sizes and seconds of groups, errors of the database."""

    def __init__(self, driver: HotDriver, metrics: Metrics) -> None:
        self.dialect = driver.dialect
        self.gathers = driver.gathers
        self._driver = driver
        self._metrics = metrics

    async def fetch(self, prepared: Prepared, args: Sequence[object]) -> Sequence[Sequence[Any]]:
        """Run a SELECT."""
        try:
            return await self._driver.fetch(prepared, args)
        except Unavailable:
            self._metrics.database_error()
            raise

    def fetch_at_once(self, prepared: Prepared, args: Sequence[object]) -> Sequence[Sequence[Any]]:
        """Run a SELECT without waiting; where it fails, whoever then waits for it counts that."""
        return self._driver.fetch_at_once(prepared, args)

    def version(self) -> bytes | None:
        """Return what is other after any commit."""
        return self._driver.version()

    async def commit(self, entries: Sequence[Entry], chain: ChainWriter) -> list[bool]:
        """Make `entries` durable."""
        begun = time.perf_counter()
        try:
            standing = await self._driver.commit(entries, chain)
        except Unavailable:
            self._metrics.database_error()
            raise
        self._metrics.group(len(entries), time.perf_counter() - begun)
        return standing

    async def close(self) -> None:
        """Close connections."""
        await self._driver.close()


class MeteredDatabase(Database):
    """A Database: its errors."""

    def __init__(self, url: URL, chain: ChainWriter, metrics: Metrics) -> None:
        super().__init__(url, chain)
        self._metrics = metrics

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            async with super()._translated():
                yield
        except Unavailable:
            self._metrics.database_error()
            raise


class MeteredSigner:
    """A Signer: its seconds."""

    def __init__(self, signer: Signer, metrics: Metrics) -> None:
        self.public_key = signer.public_key
        self._signer = signer
        self._metrics = metrics

    async def sign(self, data: bytes) -> bytes:
        """Return the signature blob over `data`."""
        begun = time.perf_counter()
        signature = await self._signer.sign(data)
        self._metrics.signed(time.perf_counter() - begun)
        return signature

    def sign_at_once(self, data: bytes) -> bytes | None:
        """Return the signature blob over `data` where it takes no waiting."""
        begun = time.perf_counter()
        signature = self._signer.sign_at_once(data)
        if signature is not None:
            self._metrics.signed(time.perf_counter() - begun)
        return signature


class MeteredKeyRing(KeyRing):
    """A KeyRing of metered signers."""

    def __init__(self, database: Database, vault: Vault, metrics: Metrics) -> None:
        super().__init__(database, vault)
        self._metrics = metrics
        self._metered: dict[str, MeteredSigner] = {}

    async def signer(self, tenant: str, fingerprint: str) -> Signer:
        """Return the signer of a key that a decision named."""
        found = self._metered.get(fingerprint)
        if found is None:
            found = MeteredSigner(await super().signer(tenant, fingerprint), self._metrics)
            self._metered[fingerprint] = found
        return found

    def opened(self, fingerprint: str) -> Signer | None:
        """Return the signer of a key that has been asked for before."""
        return self._metered.get(fingerprint)


class MeteredKrls(Krls):
    """Krls: how old what they hand out is, and how long building took."""

    def __init__(self, database: Database, clock: Clock, metrics: Metrics) -> None:
        super().__init__(database, clock)
        self._metrics = metrics

    async def get(self, tenant: str, state: KrlState | None = None) -> Krl:
        """Return the KRL."""
        krl = await super().get(tenant, state)
        self._metrics.krl(tenant, krl.generated_at, self._clock.now())
        return krl

    async def _build(self, *args: Any) -> None:
        begun = time.perf_counter()
        await super()._build(*args)
        self._metrics.krl_built(time.perf_counter() - begun)


class MeteredReports(Reports):
    """Reports: how the machines of hosts stand."""

    def __init__(self, metrics: Metrics, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._metrics = metrics

    async def counts(self) -> list[Counts]:
        """Return for each tenant how its machines stand."""
        found = await super().counts()
        for one in found:
            self._metrics.hosts(one.tenant, reporting=one.reporting, behind=one.behind, silent=one.silent)
        return found


class MeteredUnissued(Unissued):
    """Unissued: how many alarms."""

    def __init__(self, database: Database, clock: Clock, metrics: Metrics) -> None:
        super().__init__(database, clock)
        self._metrics = metrics

    async def look(self, caller: Caller, account: str, blob: bytes, reason: DenialReason) -> Event | None:
        """Return the event of an alarm."""
        found = await super().look(caller, account, blob, reason)
        if found is not None:
            self._metrics.unissued.inc()
        return found


class MeteredReadiness(Readiness):
    """Readiness: what the last look found."""

    def __init__(self, metrics: Metrics, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._metrics = metrics

    async def _look(self) -> Look:
        look = await super()._look()
        self._metrics.looked(((check.name, check.ok) for check in look.checks), ready=look.ready)
        return look
