"""The running daemon, as tms-host sees it: what it says of itself, and its process."""

import contextlib
import json
import os
import pwd
import signal
import socket
import struct
import time

from keycmd.admin.places import USER, AdminError
from keycmd.hostd import processes

SECONDS = 5.0
_MOST_BYTES = 262144
_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid


def ask_status(run_dir):
    """Return (the daemon's state, its pid); (None, None) where none listens.

    Raises:
        AdminError: one listens, and says nothing of use in 5 s
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SECONDS)
        try:
            connection.connect(os.path.join(run_dir, "ask.sock"))
        except (FileNotFoundError, ConnectionRefusedError):
            return None, None
        except OSError as error:
            raise AdminError("the daemon's socket in %s cannot be used: %s" % (run_dir, error)) from error
        pid = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[0]
        try:
            connection.sendall(b"status\n")
            received = b""
            while True:
                piece = connection.recv(65536)
                received += piece
                if not piece or len(received) > _MOST_BYTES:
                    break
            kind, _, text = received.decode("ascii").partition("\n")
            state = json.loads(text)
        except (OSError, ValueError) as error:
            raise AdminError("the daemon (pid %d) does not answer: %s" % (pid, error)) from error
    if kind != "json" or not isinstance(state, dict):
        raise AdminError("the daemon (pid %d) answers %.60r, expected json" % (pid, kind))
    return state, pid


def runs(run_dir):
    """Tell whether a daemon runs here."""
    try:
        return _listening(run_dir) is not None
    except (AdminError, OSError):
        return False


def reload(run_dir):
    """Let a running daemon read its configuration again, and wait until it has; return whether one runs.

    Raises:
        AdminError: one runs, and has not read it in 5 s
    """
    try:
        process = _listening(run_dir)
        if process is None:
            return False
        before = _reads(run_dir)
        os.kill(process.pid, signal.SIGHUP)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise AdminError("the daemon in %s cannot be reached: %s" % (run_dir, error)) from error
    if before is None:  # an older daemon does not say
        return True
    for _ in _looks(process):
        if _reads(run_dir) != before:
            return True
    if processes.is_same(process.pid, process.start):
        raise AdminError("the daemon (pid %d) has not read its configuration: see its log" % process.pid)
    return False


def _reads(run_dir):
    """Return how often the daemon has read its configuration, None where it does not run or say."""
    said, _ = ask_status(run_dir)
    return ((said or {}).get("configuration") or {}).get("reads")


def end(run_dir):
    """Let a running daemon end, and wait for it for 5 s; return whether none runs now."""
    try:
        process = _listening(run_dir)
        if process is None:
            return True
        os.kill(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        return True
    except (AdminError, OSError):
        return False
    for _ in _looks(process):
        pass
    return not processes.is_same(process.pid, process.start)


def _looks(process):
    """Yield now and again while a process runs, for 5 s at most."""
    until = time.monotonic() + SECONDS
    # The process, not its socket: while it ends it answers nobody.
    while processes.is_same(process.pid, process.start) and time.monotonic() <= until:
        yield
        time.sleep(0.05)


def _listening(run_dir):
    """Return the Process that listens, or None; it belongs to root, to tms-host or to us, and so may be signalled.

    Raises:
        AdminError, OSError: the socket cannot be used, or is another's
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SECONDS)
        try:
            connection.connect(os.path.join(run_dir, "ask.sock"))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        pid, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    ours = {0, os.geteuid()}
    with contextlib.suppress(KeyError):
        ours.add(pwd.getpwnam(USER).pw_uid)
    process = processes.look(pid)
    # The kernel says who began to listen; by now its pid may be another's.
    if uid not in ours or (process is not None and processes.owner(pid) != uid):
        raise AdminError("who listens in %s is pid %d of uid %d, not tms-hostd" % (run_dir, pid, uid))
    return process
