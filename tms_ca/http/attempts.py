"""Ask anew where a request was disturbed: its tenant changed while it was decided, or the database undid its work."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import TypeVar

from tms_ca.core.errors import Unavailable
from tms_ca.services.authentication import ChangedMeanwhile
from tms_ca.store import again, deadline
from tms_ca.store.standstill import Standstill

R = TypeVar("R")
_ATTEMPTS = 8
_UNHINDERED = 3  # each is spoiled only by a change of the same tenant that commits within the same few milliseconds
_PATIENCE_SECONDS = 2.0  # a deadlock takes a second each time
_PAUSE_SECONDS = 0.01  # at random up to that, doubled each time: those who got in each other's way must not meet again


async def attempts(attempt: Callable[[int], Awaitable[R]], standstill: Standstill | None, tenant: str) -> R:
    """Return what `attempt` does, which gets the number of the try, from 0 on.

    `standstill` is given for what never changes `tenant` itself: its last tries keep the changes of others away. Where
    `tenant` was not known, what was disturbed says it.

    Raises:
        Unavailable: every try was disturbed, or the time that the database has for a request is over

    """
    deadline.begin()
    until = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
    for number in range(_ATTEMPTS):
        again.begin()
        room = nullcontext() if standstill is None or number < _UNHINDERED else standstill.hold(tenant)
        try:
            async with room:
                return await attempt(number)
        except ChangedMeanwhile as changed:
            tenant = changed.tenant or tenant
        except again.Undone:
            if number + 1 == _ATTEMPTS or asyncio.get_running_loop().time() > until:
                raise
            await asyncio.sleep(random.random() * _PAUSE_SECONDS * 2**number)  # noqa: S311 - no secret
    raise Unavailable("changed_meanwhile", "the tenant changed again and again while deciding", retry_after=1)
