"""One process of the supervisor's: started, heard from, given orders, seen to its end."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Self

from tms_ca.serving.post import READY, Order, Post, Role

# How long a process may be silent, in seconds. The writer's longest honest silence is a wait for a change's lock; a
# worker's is a pause that its operator or its debugger makes.
SILENCE_SECONDS = {Role.WRITER: 8.0, Role.WORKER: 30.0}
LOOK_SECONDS = 1.0
START_SECONDS = 60.0


class Child:
    """A running process and the line to it."""

    def __init__(self, post: Post, process: asyncio.subprocess.Process, line: socket.socket) -> None:
        self.post = post
        self.process = process
        self.ready = asyncio.Event()
        self.began_at = self._heard_at = time.monotonic()
        self._line = line
        self._exit = asyncio.create_task(process.wait())
        asyncio.get_running_loop().add_reader(line.fileno(), self._hear)

    @classmethod
    async def start(cls, post: Post, environment: Mapping[str, str], keep: Sequence[int] = ()) -> Self:
        """Start the same program with the same arguments at `post`; `keep` are descriptors that it inherits."""
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            fields = {name: getattr(post, name) for name in ("role", "listener", "writer", "shares", "slot")}
            told = Post(**fields, control=theirs.fileno())
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tms_ca", *sys.argv[1:],
                env={**os.environ, **environment, **told.environment()},
                pass_fds=[post.listener, theirs.fileno(), *keep],
            )  # fmt: skip
        return cls(post, process, ours)

    def order(self, order: Order) -> None:
        """Say what it shall do; a process that is gone has no need of it."""
        with contextlib.suppress(OSError):
            self._line.send(order.value.encode())

    def kill(self) -> None:
        """End it now."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)

    async def ended(self) -> int:
        """Wait for its end, and make one where it has been silent for too long; return the exit code."""
        while not self._exit.done():
            await asyncio.wait([self._exit], timeout=LOOK_SECONDS)
            patience = SILENCE_SECONDS[self.post.role] if self.ready.is_set() else START_SECONDS
            if time.monotonic() - self._heard_at > patience:
                self.kill()
        self._hang_up()
        return self._exit.result()

    async def answers(self, seconds: float) -> bool:
        """Wait until it is ready; False when it ended, or took longer than `seconds`."""
        ready = asyncio.create_task(self.ready.wait())
        await asyncio.wait([ready, self._exit], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        return self.ready.is_set() and not self._exit.done()

    def _hear(self) -> None:
        try:
            words = self._line.recv(4096)
        except OSError:
            words = b""
        if not words:
            self._hang_up()
            return
        self._heard_at = time.monotonic()
        if READY in words:
            self.ready.set()

    def _hang_up(self) -> None:
        if self._line.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._line.fileno())
            self._line.close()
