"""The service's own jobs: one replica at a time, and nothing that one raises ends them."""

import asyncio

from tms_ca.background import Background, Job, upkeep_job
from tms_ca.store.engine import database_url
from tms_ca.store.jobs_lock import JobsLock


class Lines:
    def __init__(self):
        self.written = []

    def write(self, **fields):
        self.written.append(fields)


def background(world, *jobs, soonest=0.0):
    lines = Lines()
    return Background(jobs, JobsLock(database_url(world.settings.database_url)), lines, soonest), lines


async def test_upkeep_runs_is_logged_and_on_record(world):
    job = upkeep_job(world.context.upkeep)
    here, lines = background(world, job)
    assert await here.once(job)
    assert [(one["level"], one["job"]) for one in lines.written] == [("info", "upkeep")]
    found, _ = await world.context.auditing.page("*", {"action": "upkeep.run"}, None, 10)
    assert [one.actor for one in found] == ["operator:upkeep"]


async def test_two_replicas_are_never_at_one_job_at_a_time(world):
    inside, most, runs = 0, 0, 0
    others_know = asyncio.Event()

    async def run():
        nonlocal inside, most, runs
        inside, runs = inside + 1, runs + 1
        most = max(most, inside)
        async with asyncio.timeout(60):
            await others_know.wait()
        inside -= 1
        return {}

    job = Job("twice", 1, run)
    replicas = [background(world, job)[0] for _ in range(3)]
    told = []

    async def once(replica):
        told.append(await replica.once(job))
        if len(told) == len(replicas) - 1:
            others_know.set()

    await asyncio.gather(*map(once, replicas))
    assert (told, most, runs) == ([False, False, True], 1, 1)
    assert await replicas[1].once(job), "what one has left, another takes up"


async def test_a_job_that_fails_is_logged_and_runs_again(world):
    runs = []

    async def run():
        runs.append(1)
        if len(runs) < 3:
            raise ValueError("the disk is full")
        return {"deleted": 7}

    here, lines = background(world, job := Job("fails", 0.05, run))
    beside = here.beside(None)
    await anext(beside)
    while len(lines.written) < 3:
        await asyncio.sleep(0.01)
    await anext(beside, None)
    after = len(runs)
    await asyncio.sleep(0.2)
    assert len(runs) == after, "it went on after the end"
    assert [one["level"] for one in lines.written[:3]] == ["error", "error", "info"]
    assert "the disk is full" in lines.written[0]["error"]
    assert job.name == lines.written[2]["job"]
