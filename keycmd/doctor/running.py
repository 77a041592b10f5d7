"""Run a command, or a function, for a limited time."""

import json
import os
import select
import signal
import subprocess
import time

from keycmd.doctor.findings import Finding, Report

COMMAND_SECONDS = 2.0
CHECK_SECONDS = 5.0
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def run(command, seconds=COMMAND_SECONDS, become=None):
    """Return (status, standard output, standard error); status None: it took too long or could not be started.

    `become` is (uid, gid): whom to run it as.
    """

    def demote():
        os.setgroups([])
        os.setgid(become[1])
        os.setuid(become[0])

    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=seconds,
            check=False,
            env=ENVIRONMENT,
            cwd="/",
            preexec_fn=demote if become else None,
        )
    except subprocess.TimeoutExpired:
        return None, "", "%s did not end within %g seconds" % (command[0], seconds)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return None, "", "%s could not be started: %s" % (command[0], error)
    return done.returncode, _text(done.stdout), _text(done.stderr)


def _text(raw):
    return raw.decode("utf-8", "replace")


class _Child:
    """A check at work in a process of its own: a resolver or a file system that hangs can be left behind."""

    def __init__(self, name, check):
        self.name = name
        self.received = b""
        self.descriptor, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.descriptor)
            os._exit(_work(check, write))
        os.close(write)

    def findings(self):
        """Return what has come in whole lines; the last line of a child that ended well is `done`."""
        lines = self.received.decode("ascii").split("\n")[:-1]
        found = [json.loads(line) for line in lines if line != "done"]
        return [Finding(*fields) for fields in found], "done" in lines


def _work(check, write):
    def send(finding):
        fields = [finding.code, finding.found, finding.mend, finding.accounts]
        os.write(write, json.dumps(fields).encode("ascii") + b"\n")

    report = Report(send)
    try:
        check(report)
    except BaseException as error:
        report.add("check_failed", "%s: %s" % (type(error).__name__, error), "mend what it names, and run it again")
    os.write(write, b"done\n")
    return 0


def in_parallel(checks, seconds=CHECK_SECONDS):
    """Run each (name, function of a Report) in a process of its own; return the findings of all.

    None takes longer than `seconds`: what is late is killed, and what it had found until then counts.
    """
    children = [_Child(name, check) for name, check in checks]
    until = time.monotonic() + seconds
    open_ones = {child.descriptor: child for child in children}
    while open_ones:
        left = until - time.monotonic()
        ready = select.select(list(open_ones), [], [], max(0.0, left))[0]
        for descriptor in ready:
            piece = os.read(descriptor, 65536)
            open_ones[descriptor].received += piece
            if not piece:
                del open_ones[descriptor]
        if left <= 0:  # and what had been said by then was read
            break
    found = []
    for child in children:
        findings, whole = child.findings()
        found += findings
        if not whole:
            os.kill(child.pid, signal.SIGKILL)
            late = "the part `%s` did not end within %g seconds" % (child.name, seconds)
            found.append(Finding("check_hung", late, "look for a name server, a network disk or a service that hangs"))
        os.close(child.descriptor)
        os.waitpid(child.pid, 0 if whole else os.WNOHANG)  # a process that hangs in the kernel does not end even so
    return found
