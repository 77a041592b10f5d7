"""Shorten audit chains from their beginning, so that what is left is as good a proof as before.

A chain loses whole beginnings only. What is removed is verified first: nobody gets rid of the traces of an alteration
by waiting. Where the chain then begins is sealed like its head.
"""

import hmac
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Row

from tms_ca.core.chain import GENESIS, rehash, start_mac
from tms_ca.core.model import ChainedEvent

NOT_OURS = "the seal of where the pruned chain begins is not ours"


@dataclass(frozen=True, slots=True)
class Start:
    """Where a chain begins: after event `seq`, whose hash is `hash`."""

    seq: int
    hash: bytes


def start_of(seal_key: bytes, head: Row[Any]) -> Start | None:
    """Return where the chain of `head` begins, None where the seal of that is not ours."""
    if head.start_seq is None:
        return Start(0, GENESIS)
    seal = start_mac(seal_key, head.chain, head.start_seq, head.start_hash or b"")
    return Start(head.start_seq, head.start_hash) if hmac.compare_digest(seal, head.start_mac or b"") else None


def follows(start: Start, event: ChainedEvent) -> str:
    """Return what is wrong with `event` as the one after `start`; empty where nothing is."""
    if event.seq != start.seq + 1:
        return f"event {start.seq + 1} is missing, {event.seq} follows"
    if event.hash != rehash(start.hash, event):
        return "the event, or the one before it, is not what was written"
    return ""
