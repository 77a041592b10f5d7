"""tms-hostd: whether it runs and answers, and what it says of itself."""

import json
import os
import socket
import time

SECONDS = 3.0
MOST_BYTES = 65536
START = "systemctl start tms-hostd  # and read: journalctl -u tms-hostd -n 50"
FAULTS = ("problem", "service_error")
OLD_REPORTS = 3  # times the interval


def check(place, report):
    """Ask the daemon for its state; report its silence and its own complaints."""
    path = os.path.join(place.run, "ask.sock")
    try:
        state = ask(path)
    except (OSError, ValueError) as error:
        report.add("daemon_silent", "%s: %s" % (path, error), START)
        return
    for part, said in complaints(state):
        report.add("daemon_unwell", "%s: %s" % (part, said), "tms-host status; journalctl -u tms-hostd -n 50")
    seen = state.get("report")
    last = seen.get("sent_at") if isinstance(seen, dict) else None
    if isinstance(last, int) and time.time() - last > OLD_REPORTS * _interval(place):
        found = "report: the last one to the service is %d s old" % (time.time() - last)
        report.add("daemon_unwell", found, "see service_unreachable and token_refused; journalctl -u tms-hostd -n 50")


def ask(path):
    """Return the daemon's state.

    Raises:
        OSError: nobody answers there
        ValueError: the answer is not the daemon's
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(SECONDS)
        connection.connect(path)
        connection.sendall(b"status\n")
        received = b""
        until = time.monotonic() + SECONDS
        while len(received) <= MOST_BYTES and time.monotonic() < until:
            piece = connection.recv(65536)
            if not piece:
                break
            received += piece
    kind, _, text = received.decode("utf-8", "replace").partition("\n")
    if kind != "json":
        raise ValueError("it answered %r, expected its state" % kind[:60])
    state = json.loads(text)
    if not isinstance(state, dict):
        raise ValueError("its state is no JSON object")  # noqa: TRY004 - what came is wrong, not the program
    return state


def complaints(state):
    """Yield (part, what it says) of each part of the daemon that names an error."""
    for name, value in sorted(state.items()):
        inner = value if isinstance(value, dict) else {name: value}
        for key in FAULTS:
            if inner.get(key):
                yield name, str(inner[key])
    certificates = state.get("certificates")
    if isinstance(certificates, dict) and certificates.get("sshd"):
        yield "certificates", "sshd may offer old host certificates: %s" % certificates["sshd"]


def _interval(place):
    try:
        return max(5.0, float(place.conf.get("report_seconds", "10")))
    except ValueError:
        return 10.0
