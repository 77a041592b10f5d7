"""Jobs that run by themselves while the service runs: supervised, jittered, in one replica at a time.

A job is a plain function that may be run at any time, twice, or not at all. Whatever one raises is logged, and it is
tried again at its next turn. docs/operations.md says what each does; `tms-ca upkeep` runs it by hand.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from aiohttp import web

from tms_ca.core.access import Reach, Role
from tms_ca.core.errors import TmsError
from tms_ca.core.model import ALL_TENANTS, Caller
from tms_ca.services.upkeep import Upkeep
from tms_ca.store.jobs_lock import JobsLock

UPKEEP_SECONDS = 3600.0
SOONEST_SECONDS = 60.0  # after the start, so that a service that is restarted again and again does not begin with it
_MOST_SECONDS = 1800.0  # what a run has not done by then, the next one does
_SPREAD = 0.1  # of the interval: replicas that were started together come apart

SELF = Caller(Role.OPERATOR, ALL_TENANTS, "upkeep", Reach.ANY)


class Lines(Protocol):
    """What takes a line of the log."""

    def write(self, **fields: object) -> None:
        """Add a line."""


@dataclass(frozen=True, slots=True)
class Job:
    """What runs every `seconds`; it returns what its line in the log says beyond its name."""

    name: str
    seconds: float
    run: Callable[[], Awaitable[dict[str, Any]]]


def upkeep_job(upkeep: Upkeep) -> Job:
    """Return the job that deletes what ended long ago."""

    async def run() -> dict[str, Any]:
        return asdict(await upkeep.run(SELF))

    return Job("upkeep", UPKEEP_SECONDS, run)


class Background:
    """Runs jobs until it is left; `soonest` is the least time in seconds before the first run of each."""

    def __init__(self, jobs: Sequence[Job], lock: JobsLock, log: Lines, soonest: float = SOONEST_SECONDS) -> None:
        self._jobs = jobs
        self._lock = lock
        self._log = log
        self._soonest = soonest

    async def beside(self, _: web.Application) -> AsyncIterator[None]:
        """Run the jobs from the start of an application to its end: one of its `cleanup_ctx`."""
        tasks = [asyncio.create_task(self._every(job), name=f"job {job.name}") for job in self._jobs]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _every(self, job: Job) -> None:
        await asyncio.sleep(self._soonest + random.uniform(0, _SPREAD) * job.seconds)  # noqa: S311 - no secret
        while True:
            await self.once(job)
            await asyncio.sleep(job.seconds * random.uniform(1 - _SPREAD, 1 + _SPREAD))  # noqa: S311 - as above

    async def once(self, job: Job) -> bool:
        """Run `job` now, unless another replica is at it; tell whether it ran to its end."""
        began = time.monotonic()
        try:
            async with self._lock.only_here(job.name) as here, asyncio.timeout(_MOST_SECONDS):
                if not here:
                    return False
                done = await job.run()
        except TimeoutError:
            self._log.write(level="error", message="a job was cut off", job=job.name, seconds=_MOST_SECONDS)
        except TmsError as error:
            self._log.write(level="error", message="a job failed", job=job.name, code=error.code, error=error.detail)
        except Exception as error:  # noqa: BLE001 - the service goes on, and so does the next run
            self._log.write(level="error", message="a job failed", job=job.name, error=repr(error))
        else:
            seconds = round(time.monotonic() - began, 3)
            self._log.write(level="info", message="a job is done", job=job.name, seconds=seconds, **done)
            return True
        return False
