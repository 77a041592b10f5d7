"""End a session that the service does not want any more: a warning at its terminals, some time, a hang-up."""

import asyncio
import os
import signal

from keycmd.hostd import processes
from keycmd.hostd.journal import NOTICE, WARNING, log, printable

LONGEST_WAIT = 600.0
PATIENCE = 5.0  # seconds between one signal and the next, stronger one
_STRONGER = (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL)


async def end(session, reason, message, after_seconds):
    """Warn, wait, and end a session; return once its sshd is gone, or cannot be ended.

    Cancel it to take the end back: during the wait nothing has happened yet but the warning.
    """
    loop = asyncio.get_event_loop()
    # In threads: looking through /proc takes a while where many are logged in.
    warned = await loop.run_in_executor(None, warn, session, message)
    wait = max(0.0, min(float(after_seconds), LONGEST_WAIT))
    about = "account=%s login=%s" % (session.account, session.login_id)
    log(NOTICE, "ending %s reason=%s in=%d terminals=%d" % (about, reason, wait, warned))
    await asyncio.sleep(wait)
    session.ended_here = True  # before the first signal: PAM's word that it closed may be here at once
    for number in _STRONGER:
        if not session.is_there():
            return
        await loop.run_in_executor(None, hang_up, session, number)
        for _ in range(int(PATIENCE / 0.1)):
            await asyncio.sleep(0.1)
            if not session.is_there():
                log(NOTICE, "ended %s reason=%s signal=%d" % (about, reason, number))
                return
    log(WARNING, "cannot end %s: process %d is still there" % (about, session.process))


def warn(session, message):
    """Write a line to each terminal of a session; return how many took it."""
    below = processes.descendants(session.process, processes.everyone())
    line = "\r\n*** %s ***\r\n" % printable(message)
    taken = 0
    for path in processes.terminals(below):
        try:
            # Never as this daemon's own terminal, and never waiting for one that is stopped (^S).
            descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            log(WARNING, "cannot warn account=%s at %s: %s" % (session.account, path, error.strerror))
            continue
        try:
            taken += os.write(descriptor, line.encode("ascii")) == len(line)
        except OSError as error:
            log(WARNING, "cannot warn account=%s at %s: %s" % (session.account, path, error.strerror))
        finally:
            os.close(descriptor)
    return taken


def hang_up(session, number):
    """Send a signal to the session's sshd, and to what runs below it.

    A command without a terminal would not notice that its sshd is gone. What has left the session (nohup, a daemon,
    a terminal multiplexer) is not below it any more, or ignores SIGHUP, as after any hang-up; the stronger signals go
    to sshd alone.
    """
    below = processes.descendants(session.process, processes.everyone())
    if number != signal.SIGHUP:
        below = [process for process in below if process.name in processes.SSHD_NAMES]
    # Looked at again right before: a pid that was given to another process in between is left alone.
    if session.is_there():
        _send(session.process, number)
    for process in below:
        if processes.is_same(process.pid, process.start):
            _send(process.pid, number)


def _send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except OSError as error:
        log(WARNING, "cannot send signal %d to process %d: %s" % (number, pid, error.strerror))
