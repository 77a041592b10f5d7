"""Answers that are lists: numbered, shown and written a batch at a time, so that other requests go on meanwhile.

What is left in one piece is to put the batches together and to send them: copies of the whole text.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import orjson

from tms_ca.http.tms_v1.answers import Said
from tms_ca.http.tms_v1.declare import Call
from tms_ca.services.lists import BATCH
from tms_ca.services.tms_v1_numbers import NumberOf
from tms_ca.store.tms_v1 import Number

R = TypeVar("R")


async def listing(
    call: Call,
    members: tuple[str, str],
    kind: NumberOf,
    found: Sequence[R],
    name: Callable[[R], str],
    shown: Callable[[R, Number], Mapping[str, object]],
) -> Said:
    """Return an answer with how many there are, and all of them; `members` are what the two are called."""
    parts, count = [b"["], 0
    for at in range(0, len(found), BATCH):
        batch = found[at : at + BATCH]
        numbers = await call.context.numbers.of(call.tenant, kind, [name(one) for one in batch])
        # What was deleted a moment ago has no number any more.
        listed = [shown(one, numbers[name(one)]) for one in batch if name(one) in numbers]
        count += len(listed)
        if listed:
            parts += [b"," if len(parts) > 1 else b"", orjson.dumps(listed, option=orjson.OPT_SORT_KEYS)[1:-1]]
        await asyncio.sleep(0)
    counted, called = members
    return Said({counted: count, called: orjson.Fragment(b"".join([*parts, b"]"]))})
