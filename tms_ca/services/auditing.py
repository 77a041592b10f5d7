"""Read the audit chains, and verify them."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Row

from tms_ca.core.chain import head_mac, rehash
from tms_ca.core.model import ChainedEvent
from tms_ca.services.pruning import NOT_OURS, start_of
from tms_ca.store import audit
from tms_ca.store.engine import Database
from tms_ca.vault import Vault


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a chain does not hold; `seq` is the first bad one."""

    chain: str
    seq: int
    what: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at and what was found."""

    chains: int
    events: int
    faults: tuple[Fault, ...]
    pruned: int = 0  # events that were removed from the beginnings of chains by their retention


class Auditing:
    """The audit trail."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    async def page(
        self, tenant: str, filters: dict[str, object], before: Sequence[object] | None, limit: int
    ) -> tuple[list[ChainedEvent], list[object] | None]:
        """Return events of a tenant, newest first."""
        async with self._database.read() as connection:
            return await audit.page(connection, tenant, filters, before, limit)

    def _sealed(self, head: Row[Any]) -> bool:
        seal = head_mac(self._vault.audit_key, head.chain, head.head_seq, head.head_hash)
        return hmac.compare_digest(seal, head.head_mac)

    async def verify(self) -> Verification:
        """Recompute every chain from where it begins, and check that it ends where its sealed head says."""
        faults: list[Fault] = []
        events = pruned = 0
        async with self._database.read() as connection:
            await audit.hold_still(connection)
            heads = await audit.heads(connection)
            known = {head.chain for head in heads}
            faults.extend(
                Fault(chain, 1, "events of a chain that was never begun: its head is gone")
                for chain in await audit.chains_with_events(connection)
                if chain not in known
            )
            for head in heads:
                start, fault = start_of(self._vault.audit_key, head), None
                if start is None:
                    faults.append(Fault(head.chain, head.start_seq + 1, NOT_OURS))
                    continue
                seq, previous, pruned = start.seq, start.hash, pruned + start.seq
                async for row in audit.events(connection, head.chain):
                    events += 1
                    seq += 1
                    if row.seq != seq:
                        fault = Fault(head.chain, seq, f"event {seq} is missing, {row.seq} follows")
                        break
                    if row.hash != rehash(previous, row):
                        fault = Fault(head.chain, seq, "the event, or the one before it, is not what was written")
                        break
                    previous = row.hash
                if fault is None and (seq, previous) != (head.head_seq, head.head_hash):
                    fault = Fault(head.chain, seq + 1, f"the chain ends at {seq}, its head says {head.head_seq}")
                if fault is None and not self._sealed(head):
                    fault = Fault(head.chain, head.head_seq, "the head's seal is not ours")
                if fault is not None:
                    faults.append(fault)
        return Verification(len(heads), events, tuple(faults), pruned)
