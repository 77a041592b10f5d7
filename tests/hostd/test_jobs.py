"""What the daemon keeps running: a job that dies begins again, and the others never notice."""

import asyncio

import pytest

from keycmd.config import load
from keycmd.hostd import daemon as module
from keycmd.hostd.daemon import Daemon
from tests.host.conftest import TOKEN


@pytest.fixture
def daemon(host, url, monkeypatch):
    monkeypatch.setattr(module, "SHORTEST_PAUSE", 0.01)
    return Daemon(str(host.configure(url)), load(str(host.config)))


async def running(daemon):
    """Start the daemon; return its task once its jobs run."""
    begun = asyncio.Event()

    async def first():
        begun.set()

    daemon.jobs.insert(0, first)
    task = asyncio.ensure_future(daemon.run())
    beginning = asyncio.ensure_future(begun.wait())
    await asyncio.wait([task, beginning], timeout=60, return_when=asyncio.FIRST_COMPLETED)
    assert begun.is_set(), task
    return task


async def test_a_job_that_dies_begins_again(daemon, capfd):
    begun, steady = [], []

    async def dies():
        begun.append(1)
        if len(begun) < 3:
            raise RuntimeError("of nothing")
        await asyncio.sleep(60)

    async def goes_on():
        steady.append(1)
        await asyncio.sleep(60)

    daemon.jobs += [dies, goes_on]
    task = await running(daemon)
    async with asyncio.timeout(60):
        while len(begun) < 3:
            await asyncio.sleep(0.01)
    daemon.end()
    await asyncio.wait_for(task, 60)
    assert (len(begun), len(steady)) == (3, 1)
    assert capfd.readouterr().err.count("reason=RuntimeError: of nothing") == 2


async def test_a_job_that_does_not_end_does_not_hold_the_daemon(daemon):
    async def stubborn():
        while True:
            try:
                await asyncio.sleep(0.5)
            except asyncio.CancelledError:
                continue

    daemon.jobs.append(stubborn)
    task = await running(daemon)
    daemon.end()
    await asyncio.wait_for(task, 60)
    for other in asyncio.all_tasks() - {asyncio.current_task()}:
        other.get_coro().close()


async def test_a_pause_ends_when_the_configuration_was_read_again(daemon):
    waiting = asyncio.ensure_future(daemon.pause(600))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    assert daemon.reload()
    await asyncio.wait_for(waiting, 60)
    await daemon.pause(0.01)  # and by itself


async def test_a_handler_that_fails_is_not_a_yes(daemon, host):
    async def broken(_words, _peer):
        raise KeyError("x")

    daemon.ask.handlers["broken"] = broken
    task = await running(daemon)
    said = await asyncio.get_running_loop().run_in_executor(None, host.say, b"broken\n")
    daemon.end()
    await asyncio.wait_for(task, 60)
    assert said == b"failed unexpected KeyError\n"


async def test_a_credential_that_changed_before_anybody_could_tell_is_used(daemon, host):
    """`tms-host rotate` sees nobody who listens, and drops the credential that has been read."""
    token = host.directory / "token"
    token.chmod(0o600)
    token.write_text(TOKEN.swapcase() + "\n")
    task = await running(daemon)
    assert daemon.config.token == TOKEN.swapcase()
    assert daemon.state["configuration"] == {"reads": 1}
    daemon.end()
    await asyncio.wait_for(task, 60)


async def test_the_same_credential_is_no_new_configuration(daemon):
    """Host certificates are made anew with each new one, and sshd is told."""
    before = daemon.config
    task = await running(daemon)
    assert daemon.config is before
    daemon.end()
    await asyncio.wait_for(task, 60)


async def test_one_that_is_no_credential_any_more_changes_nothing(daemon, host, capfd):
    (host.directory / "token").write_text("gone\n")
    task = await running(daemon)
    assert daemon.config.token == TOKEN
    assert "the configuration stays as it was" in capfd.readouterr().err
    daemon.end()
    await asyncio.wait_for(task, 60)
