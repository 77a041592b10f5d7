"""The helper at work: as sshd would run it, with a certificate that cannot be valid. It must say nothing, and soon."""

import base64
import os
import struct
import time

from keycmd.doctor.commands import Command
from keycmd.doctor.files import helper_user
from keycmd.doctor.running import run

TIMES = 5
SLOW_SECONDS = 1.0
BUDGET_SECONDS = 2.3  # then it is not begun again, and may take as long once more
KIND = "ssh-ed25519-cert-v01@openssh.com"
ACCOUNT = "tms-doctor"
READ_LOG = "journalctl -t tms-principals -n 5  # it says why"


def impossible_certificate():
    """Return the base64 of a certificate that no CA signed and that ended in 1970; see draft-miller-ssh-cert."""

    def string(raw):
        return struct.pack(">I", len(raw)) + raw

    key = string(b"ssh-ed25519") + string(bytes(32))
    blob = string(KIND.encode("ascii")) + string(bytes(32)) + string(bytes(32)) + struct.pack(">QI", 0, 1)
    blob += string(b"tms-host doctor") + string(string(b"nobody@nowhere")) + struct.pack(">QQ", 0, 0)
    blob += string(b"") + string(b"") + string(b"") + string(key)
    return base64.b64encode(blob + string(string(b"ssh-ed25519") + string(bytes(64)))).decode("ascii")


def check(place, report):
    """Run it a few times as its own user; report what it said and how long it took."""
    settings = next(iter(place.settings.values()), None)
    command = Command(settings.one("authorizedprincipalscommand") if settings else "")
    entry = place.entry(helper_user(place))
    if command.arguments_of("tms-principals") is None or entry is None or not os.path.exists(command.words[0]):
        return  # the checks of the command say so
    values = {"%u": ACCOUNT, "%t": KIND, "%k": impossible_certificate()}
    words = [values.get(word, word) for word in command.words]
    seconds, until = [], time.monotonic() + BUDGET_SECONDS
    while len(seconds) < TIMES and time.monotonic() < until:
        begun = time.monotonic()
        status, out, err = run(words, seconds=BUDGET_SECONDS, become=(entry.pw_uid, entry.pw_gid))
        seconds.append(time.monotonic() - begun)
        if out:
            report.add(
                "helper_prints", "the helper printed %r" % out[:80], "reinstall the package tms-host; tms-host rotate"
            )
            return
        if status != 0:
            found = "the helper ended with status %s after %.1f s %s" % (status, seconds[-1], err.strip()[-120:])
            report.add("helper_fails", found.strip(), READ_LOG)
            return
    median = sorted(seconds)[len(seconds) // 2]
    found = "a refusal takes %.0f ms (median of %d)" % (median * 1000, len(seconds))
    if median > SLOW_SECONDS:
        report.add("helper_slow", found, "see service_slow and daemon_silent; is the resolver slow? " + READ_LOG)
    else:
        report.add("helper_time", found, "")
