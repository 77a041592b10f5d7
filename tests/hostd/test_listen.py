"""How many connections a user may have to the daemon's sockets, and who is never turned away."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import pytest

from keycmd.hostd import listen
from keycmd.hostd.listen import Listener, yes
from tests.host.conftest import directory_for_all
from tests.hostd.conftest import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")
USER = 23456
# Holds COUNT connections as each user, on which LINE was said; prints how many first lines of answers have come.
CROWD = """
import os, select, socket, sys
path, count, line, uids = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode(), sys.argv[4:]
held = []
for uid in map(int, uids):
    os.seteuid(0)
    os.seteuid(uid)
    for _ in range(count):
        one = socket.socket(socket.AF_UNIX)
        one.connect(path)
        one.sendall(line)
        held.append(one)
print("held", flush=True)
sys.stdin.readline()
print(sum(b"too many" in one.recv(100) for one in select.select(held, [], [], 0)[0]), flush=True)
"""


class Seen(Listener):
    """A listener that tells whom it has seen; `wait` is answered once `go` is set."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.accepted = self.asked = self.refused = 0
        self.told: list[str] = []
        self.go = asyncio.Event()

    def has_seen(self, count: int) -> bool:
        """Tell whether so many came, and each has asked, was found silent or was refused; root is never silent."""
        known = self.asked + self.refused + sum(self._silent.values())
        return self.accepted == count and (known == count or not self._of_uid)

    async def _accepted(self, reader, writer):
        self.accepted += 1
        await super()._accepted(reader, writer)

    def _refused(self, uid, reason):
        self.refused += 1
        return super()._refused(uid, reason)


class Crowd:
    """Users who hold connections for as long as the block lasts."""

    def __init__(self, listener: Seen, count: int, *uids: int, line: str = "") -> None:
        self._listener, self._count = listener, count * len(uids)
        words = [sys.executable, "-I", "-c", CROWD, listener.path, str(count), line, *map(str, uids)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    async def _line(self) -> str:
        assert self._process.stdout is not None
        return await asyncio.get_running_loop().run_in_executor(None, self._process.stdout.readline)

    async def __aenter__(self) -> Self:
        assert await self._line() == "held\n"
        async with asyncio.timeout(60):
            while not self._listener.has_seen(self._count):
                await asyncio.sleep(0.01)
        return self

    async def refused(self) -> int:
        """Return how many of them were turned away."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(await self._line())

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        async with asyncio.timeout(60):
            while self._listener._of_uid:  # until the listener has seen them leave
                await asyncio.sleep(0.01)


async def said(path: str, uid: int = 0) -> bytes:
    """Ask as a user."""
    os.seteuid(uid)
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    finally:
        os.seteuid(0)
    writer.write(b"hello\n")
    try:
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()


@pytest.fixture
async def listener(monkeypatch):
    monkeypatch.setattr(listen, "LINE_SECONDS", 30.0)
    monkeypatch.setattr(listen, "SILENT_SECONDS", 1.0)  # a busy machine reads late what was asked at once
    monkeypatch.setattr(listen, "MOST_CONNECTIONS", 100)
    told: list[str] = []
    monkeypatch.setattr(listen, "log", lambda _, text: told.append(text))
    with directory_for_all("listen") as directory:
        made = Seen(str(directory / "session.sock"), 0o666, owners_only=False)
        made.told = told

        async def hello(_words, _peer):
            return yes()

        async def wait(_words, _peer):
            made.asked += 1
            await made.go.wait()
            return yes()

        made.handlers.update(hello=hello, wait=wait)
        await made.open()
        yield made
        made.close()


async def test_users_who_say_nothing_never_turn_root_away(listener):
    async with Crowd(listener, 32, *range(USER + 1, USER + 5)) as crowd:
        assert await said(listener.path, USER) == b"failed too many connections\n"  # the twin
        assert await said(listener.path) == b"yes\n"
        assert await crowd.refused() == 4 * 32 - 100
    assert await said(listener.path, USER) == b"yes\n"


async def test_users_who_wait_for_answers_never_turn_root_away(listener):
    async with Crowd(listener, 30, *range(USER + 1, USER + 5), line="wait\n"):
        assert listener.asked == 100
        assert await said(listener.path, USER) == b"failed too many connections\n"
        assert await said(listener.path) == b"yes\n"
        listener.go.set()


async def test_root_has_no_limit_of_its_own(listener):
    async with Crowd(listener, 300, 0) as crowd:
        assert await said(listener.path) == b"yes\n"
        assert await crowd.refused() == 0


async def test_silent_connections_of_one_user_leave_room_for_others(listener):
    async with Crowd(listener, 40, USER) as crowd:
        assert await crowd.refused() == 8
        assert await said(listener.path, USER + 1) == b"yes\n"
        assert await said(listener.path, USER) == b"yes\n"  # who asks at once is not one of the silent


async def test_logins_of_one_account_at_once_are_more_than_its_silent_connections(listener):
    async with Crowd(listener, 80, USER, line="wait\n") as crowd:
        assert listener.asked == 80
        assert await said(listener.path, USER) == b"yes\n"
        assert await crowd.refused() == 0
        listener.go.set()


async def test_even_those_have_an_end(listener, monkeypatch):
    monkeypatch.setattr(listen, "MOST_OF_ONE_USER", 50)
    async with Crowd(listener, 60, USER, line="wait\n") as crowd:
        assert listener.asked == 50
        assert await crowd.refused() == 10
        listener.go.set()


async def test_the_log_has_one_line_for_a_user_and_then_their_number(listener, monkeypatch):
    loop, passed = asyncio.get_running_loop(), [0.0]
    steady = loop.time
    monkeypatch.setattr(loop, "time", lambda: steady() + passed[0])
    monkeypatch.setattr(listen, "LOG_SECONDS", 600.0)  # of the loop's time, which only the test moves on so far
    async with Crowd(listener, 90, USER):
        assert listener.told == [f"failed uid={USER} socket={listener.path} reason=too many connections"]
    passed[0] += 600
    async with asyncio.timeout(60):
        while len(listener.told) < 2:
            await asyncio.sleep(0.01)
    assert listener.told[1:] == [f"failed uid={USER} socket={listener.path} refused=57 more connections"]
    assert listener._unsaid
    passed[0] += 600
    async with asyncio.timeout(60):
        while listener._unsaid:
            await asyncio.sleep(0.01)
    assert listener.told[2:] == []


def test_only_the_wrapper_opens_the_socket_to_users(host, url):
    def connects() -> int:
        with socket.socket(socket.AF_UNIX) as one:
            os.seteuid(USER)
            try:
                return one.connect_ex(str(path))
            finally:
                os.seteuid(0)

    path: Path = host.directory / "run/session.sock"
    host.configure(url, sessions="pam")
    process = host.start()
    for mode, wanted in (("pam", 0o600), ("wrapper", 0o666), ("off", 0o600), ("wrapper", 0o666), ("pam", 0o600)):
        host.configure(url, sessions=mode)
        process.send_signal(signal.SIGHUP)
        until(lambda: stat.S_IMODE(path.stat().st_mode) == wanted)  # noqa: B023 - called at once
        assert (connects() == 0) == (mode == "wrapper"), mode
        assert host.say(b"close " + b"0" * 32 + b"\n", "session.sock") == b"no login_unknown\n"
    host.stop()
    host.configure(url, sessions="wrapper")
    host.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


@pytest.mark.parametrize("begun", [b"", b"hel"])
async def test_who_does_not_say_a_line_is_cut(listener, monkeypatch, begun):
    with monkeypatch.context() as impatient:
        impatient.setattr(listen, "SILENT_SECONDS", 0.05)
        impatient.setattr(listen, "LINE_SECONDS", 0.2)
        reader, writer = await asyncio.open_unix_connection(listener.path)
        writer.write(begun)
        assert await asyncio.wait_for(reader.read(), 60) == b""
        writer.close()
    assert await said(listener.path) == b"yes\n"  # the twin
