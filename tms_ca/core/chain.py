"""The audit chain: each event's hash covers the event and the hash of the one before.

A chain belongs to one writing process, so that writers never wait for one another. What a row's hash covers is
written down in docs/audit-log.md, so that anyone can verify an export without this program.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable

from tms_ca.core.model import ChainedEvent, Event

# Made once: json.dumps with settings of its own makes an encoder for each call.
_compact = json.JSONEncoder(separators=(",", ":")).encode
_sorted = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
GENESIS = bytes(32)  # stands before the first event of every chain


def canonical_detail(detail: dict[str, object]) -> str:
    """Return `detail` as the JSON text that is stored and hashed; empty for no detail."""
    return _sorted(detail) if detail else ""


def event_hash(previous: bytes, chain: str, seq: int, event: Event, detail: str) -> bytes:
    """Return SHA-256(previous || JSON array of every field): see docs/audit-log.md."""
    fields = (
        chain,
        seq,
        event.at_ms,
        event.tenant,
        event.actor,
        event.action,
        event.outcome,
        event.target,
        detail,
        event.request_id,
        event.address,
    )
    return hashlib.sha256(previous + _compact(fields).encode()).digest()


def append(chain: str, seq: int, previous: bytes, events: Iterable[Event]) -> list[ChainedEvent]:
    """Give each of `events` its place after (`seq`, `previous`), the head of `chain`."""
    placed = []
    for event in events:
        seq += 1
        detail = canonical_detail(event.detail)
        previous = event_hash(previous, chain, seq, event, detail)
        placed.append(
            ChainedEvent(
                chain,
                seq,
                event.at_ms,
                event.tenant,
                event.actor,
                event.action,
                event.outcome,
                event.target,
                detail,
                event.request_id,
                event.address,
                previous,
            )
        )
    return placed


def rehash(previous: bytes, row: ChainedEvent) -> bytes:
    """Return the hash that `row` must have after `previous`."""
    event = Event(
        row.at_ms, row.tenant, row.actor, row.action, row.outcome, row.target, {}, row.request_id, row.address
    )
    return event_hash(previous, row.chain, row.seq, event, row.detail)


def start_mac(key: bytes, chain: str, seq: int, start: bytes) -> bytes:
    """Return the seal of where a pruned chain begins; `start` is the hash of event `seq`, the last that was removed.

    It is never the seal of a head: whoever kept an old head could pass it off as a start, and cut what lies before.
    """
    return hmac.digest(key, f"start:{chain}:{seq}:".encode() + start, "sha256")


def head_mac(key: bytes, chain: str, seq: int, head: bytes) -> bytes:
    """Return the seal of a chain's head: who can write the database but lacks `key` cannot shorten a chain unseen."""
    return hmac.digest(key, f"{chain}:{seq}:".encode() + head, "sha256")
