"""Forks processes that run `tms-ca`: importing it takes a second, forking what has imported it a few milliseconds.

Started by warm.py. A job comes as one message on the socket 0: JSON, with the descriptors that the process shall have
and one that its pid and, in the end, its exit code are written to. Nothing here opens a loop or starts a thread, so
what is forked is a process like any other: of its own pid and session, with the signals and descriptors of a fresh one,
and with random numbers of its own. Only the order of sets of texts is the same in all of them (PYTHONHASHSEED).
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import random
import select
import signal
import socket
import sys
import threading

MOST_BYTES = 1 << 20
MOST_DESCRIPTORS = 4


def import_all() -> None:
    """Import what any command or process of the service imports by itself, sooner or later."""
    import aiosqlite  # noqa: F401
    import alembic.command  # noqa: F401
    import asyncpg  # noqa: F401
    import uvloop  # noqa: F401

    for name in ("tms_ca.cli", "tms_ca.serving"):
        package = importlib.import_module(name)
        for module in pkgutil.iter_modules(package.__path__, f"{name}."):
            importlib.import_module(module.name)
    assert os.listdir("/proc/self/task") == [str(os.getpid())], "a thread: it would be missing in what is forked"
    gc.collect()
    gc.freeze()  # no collection of a child's walks it, or copies its pages


def next_child(jobs: socket.socket) -> tuple[dict, list[int]] | None:
    """Fork a child for each job; return its job in the child, None here when nobody asks any more."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}  # pid: where its exit code is told
    while True:
        ready, _, _ = select.select([jobs, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            for pid in list(running):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    tell(running.pop(pid), os.waitstatus_to_exitcode(status))
        if jobs in ready:
            message, descriptors, _, _ = socket.recv_fds(jobs, MOST_BYTES, MOST_DESCRIPTORS)
            if not message:
                return None
            pid = os.fork()
            if pid == 0:
                return json.loads(message), descriptors
            *given, running[pid] = descriptors
            os.write(running[pid], b"%d\n" % pid)
            for descriptor in given:
                os.close(descriptor)


def tell(line: int, code: int) -> None:
    try:
        os.write(line, b"%d\n" % code)
    except BrokenPipeError:
        return  # nobody wants to know
    finally:
        os.close(line)


def become(job: dict, descriptors: list[int]) -> None:
    """Be as a process that was just started for `job`."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(job["directory"])
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.argv = ["tms-ca", *job["words"]]
    random.seed()


def main() -> int:
    import_all()
    jobs = socket.socket(fileno=os.dup(0))
    given = next_child(jobs)
    if given is None:
        return 0
    jobs.detach()
    become(*given)
    from tms_ca.cli.main import main as run

    try:
        code = run()
    except SystemExit as end:  # of argparse
        code = int(end.code or 0)
    # As multiprocessing ends what it forks: taking a whole interpreter to pieces costs as much as a small command.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
