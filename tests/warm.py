"""Starts `tms-ca` in processes of their own that have imported everything already: see forking.py.

A process whose fresh start is the point (of an environment, a command line or a measurement) is not for this.
"""

import atexit
import contextlib
import functools
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
AT_EXEC = re.compile(r"(LD_|PYTHON|MALLOC_|GLIBC_TUNABLES$|OPENSSL_|LANG$|LC_|TZ$|TZDIR$)")


class Warm:
    """A process that is the child of another, with what subprocess.Popen has for one of our own."""

    def __init__(
        self, words: list[str], environment: Mapping[str, str], directory: Path, stdin: int, stdout: int, stderr: int
    ) -> None:
        forking, its = _forking()
        too_late = {name for name, value in environment.items() if AT_EXEC.match(name) and value != its.get(name)}
        if too_late:
            raise ValueError(
                f"{sorted(too_late)}: read when Python is executed, which is done already; take fresh=True"
            )
        job = {"words": words, "environment": dict(environment), "directory": str(directory)}
        told, tell = os.pipe()
        try:
            socket.send_fds(forking, [json.dumps(job).encode()], [stdin, stdout, stderr, tell])
        finally:
            os.close(tell)
        self.args = ["tms-ca", *words]
        self.stdout: IO[str] | None = None
        self.returncode: int | None = None
        self._told = open(told, buffering=1)
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def _ended(self, seconds: float | None) -> int | None:
        if self.returncode is None:
            told = select.poll()  # a test may have more descriptors than select() takes
            told.register(self._told, select.POLLIN)
            if told.poll(None if seconds is None else seconds * 1000):
                self.returncode = int(self._told.readline())
                self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and we are about to be told
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def start(*words: str, environment: Mapping[str, str], log: int) -> Warm:
    """Start `tms-ca` with these words; what it prints is read from `stdout`."""
    read, write = os.pipe()
    with open(os.devnull, "rb") as nothing:
        try:
            process = Warm([*words], environment, Path.cwd(), nothing.fileno(), write, log)
        finally:
            os.close(write)
    process.stdout = open(read)
    return process


def run(
    *words: str, environment: Mapping[str, str], directory: Path | None = None, stdin: str = "", seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run `tms-ca` with these words to its end."""
    files = [tempfile.TemporaryFile("w+") for _ in range(3)]
    try:
        files[0].write(stdin)
        files[0].seek(0)
        process = Warm([*words], environment, directory or Path.cwd(), *(file.fileno() for file in files))
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait(60)
            raise
        for file in files[1:]:
            file.seek(0)
        return subprocess.CompletedProcess(process.args, code, files[1].read(), files[2].read())
    finally:
        for file in files:
            file.close()


@functools.cache
def _forking() -> tuple[socket.socket, dict[str, str]]:
    """Start what forks for this test process, once; it ends when it hears nothing any more.

    Return what it is told by, and its environment.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = dict(os.environ)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forking"], stdin=theirs, cwd=ROOT, env=environment, start_new_session=True
        )

    def end() -> None:
        ours.close()
        process.wait(60)

    atexit.register(end)
    return ours, environment
