"""Upkeep: delete what ended so long ago that it cannot matter any more, a few rows at a time.

What is deleted is what the settings say, and what nothing refers to. A certificate goes no earlier than its retention
after its end; a revocation goes with its certificate; the revocation of anything but a certificate stays.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from tms_ca.core.chain import start_mac
from tms_ca.core.model import ALL_TENANTS, Caller, ChainedEvent
from tms_ca.services.clock import Clock
from tms_ca.services.journal import OK, event
from tms_ca.services.pruning import NOT_OURS, Start, follows, start_of
from tms_ca.store import audit, retention, rows
from tms_ca.store.engine import Database
from tms_ca.store.retention import DAY, Retention, Sweep
from tms_ca.vault import Vault

PAUSE_SECONDS = 0.02  # between two batches, for whoever waits to write
UPKEEP = "upkeep.run"
AUDIT_EVENTS = "audit events"


@dataclass(slots=True)
class Report:
    """What was deleted (or would be), by kind, and the chains that were left alone because they do not hold."""

    dry_run: bool
    deleted: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


class Upkeep:
    """Tidy a database; every step is right even when another process does the same."""

    def __init__(self, database: Database, vault: Vault, clock: Clock, kept: Retention) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._kept = kept

    async def run(self, caller: Caller, *, dry_run: bool = False) -> Report:
        """Delete all that may go, and put on record how much that was; a dry run only counts.

        Raises:
            Unavailable: the database does not answer; what was deleted so far stays deleted

        """
        report = Report(dry_run)
        for sweep in self._sweeps(await self._tenants()):
            found = await self._sweep(sweep, dry=dry_run)
            report.deleted[sweep.name] = report.deleted.get(sweep.name, 0) + found
        if self._kept.audit_days is not None:
            report.deleted[AUDIT_EVENTS] = await self._audit(self._kept.audit_days, report)
        if not dry_run:
            outcome = "chain_not_whole" if report.faults else OK
            counts: dict[str, object] = {name.replace(" ", "_"): found for name, found in report.deleted.items()}
            async with self._database.transaction() as transaction:
                transaction.record(
                    event(self._clock, caller, ALL_TENANTS, UPKEEP, "database", outcome, deleted=counts,
                          faults=report.faults[:20])
                )  # fmt: skip
        return report

    async def _tenants(self) -> list[str]:
        found: list[str] = []
        after: list[object] | None = None
        while True:
            async with self._database.read() as connection:
                page, after = await rows.TENANTS.page(connection, {}, after, 1000)
            found += [tenant.tenant for tenant in page]
            if after is None:
                return found

    def _sweeps(self, tenants: list[str]) -> Iterator[Sweep]:
        now = self._clock.now()
        for tenant in tenants:
            if self._kept.certificates_days is not None:
                before = now - self._kept.certificates_days * DAY
                yield retention.logins_ended(tenant, before)
                yield retention.logins_of_nobody(tenant, before)
                yield retention.certificates_ended(tenant, before)
                yield retention.host_certificates_ended(tenant, before)
                yield retention.revocations_done(tenant, before)
            yield retention.delegations_ended(tenant, now)
        yield retention.sessions_ended(now)
        yield retention.credentials_ended(now)
        yield retention.join_tokens_ended(now)
        yield retention.public_keys_ended(now)
        yield retention.reservations_ended(now)
        yield retention.sightings_old(now)
        yield retention.throttles_done()
        yield retention.numbers_of_nothing()

    async def _sweep(self, sweep: Sweep, *, dry: bool) -> int:
        found, after = 0, None
        while True:
            if dry:
                async with self._database.read() as connection:
                    batch = await sweep.step(connection, after, dry=True)
            else:
                batch = await self._delete(sweep, after)
            found, after = found + batch.found, batch.after
            if after is None:
                return found
            await asyncio.sleep(0 if dry else PAUSE_SECONDS)

    async def _delete(self, sweep: Sweep, after: object) -> retention.Batch:
        """Look first without holding anything: most steps of most runs find nothing to delete."""
        async with self._database.read() as connection:
            batch = await sweep.step(connection, after, dry=True)  # type: ignore[arg-type] # a key, as it was given
        if not batch.found:
            return batch
        async with self._database.transaction() as transaction:
            return await sweep.step(transaction.connection, after, dry=False)  # type: ignore[arg-type] # as above

    async def _audit(self, days: int, report: Report) -> int:
        before = self._clock.now() - days * DAY
        async with self._database.read() as connection:
            heads = await audit.chains_older(connection, before)
        pruned = 0
        for head in heads:
            start = start_of(self._vault.audit_key, head)
            if start is None:
                report.faults.append(f"chain {head.chain}: {NOT_OURS}")
                continue
            while start is not None:
                found, start = await self._shorten(head.chain, start, before, report)
                pruned += found
                await asyncio.sleep(0 if report.dry_run else PAUSE_SECONDS)
        return pruned

    async def _shorten(self, chain: str, start: Start, before: int, report: Report) -> tuple[int, Start | None]:
        """Remove a batch from the beginning of a chain; return how many, and where to go on."""
        async with self._database.read() as connection:
            events = await audit.first_events(connection, chain, start.seq, retention.BATCH)
        last: ChainedEvent | None = None
        follower = start
        for one in events:
            wrong = follows(follower, one)
            if wrong:
                report.faults.append(f"chain {chain}: {wrong}")
                return 0, None
            if one.at_ms >= before * 1000:
                break
            last, follower = one, Start(one.seq, one.hash)
        if last is None:
            return 0, None
        more = follower if last is events[-1] and len(events) == retention.BATCH else None
        if report.dry_run:
            return last.seq - start.seq, more
        seal = start_mac(self._vault.audit_key, chain, last.seq, last.hash)
        async with self._database.transaction() as transaction:
            found = await audit.prune(transaction.connection, chain, start.seq, last, seal)
        return found, more if found else None
