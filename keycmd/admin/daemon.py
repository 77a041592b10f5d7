"""The running daemon, as tms-host sees it: what it says of itself, and its process."""

import json
import os
import signal
import socket
import struct
import time

from keycmd.admin.places import AdminError

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


def reload(run_dir):
    """Let a running daemon read its configuration again; return whether one runs."""
    try:
        _, pid = ask_status(run_dir)
        if pid is None:
            return False
        os.kill(pid, signal.SIGHUP)
    except (AdminError, OSError):
        return False
    return True


def end(run_dir):
    """Let a running daemon end, and wait for it for 5 s; return whether none runs now."""
    try:
        _, pid = ask_status(run_dir)
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + SECONDS
        while ask_status(run_dir)[1] == pid and pid is not None:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
    except (AdminError, OSError):
        return False
    return True
