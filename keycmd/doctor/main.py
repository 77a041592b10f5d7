"""tms-host doctor: say what is wrong on this host, and how to mend it.

Exit status 0: nothing, or notes only; 1: warnings; 2: errors, or it could not be run. It changes nothing. No part of it
takes longer than five seconds.
"""

import argparse
import json
import os
import socket
import sys
import time

from keycmd.config import DEFAULT_PATH
from keycmd.doctor import (
    account,
    commands,
    daemon,
    files,
    helper,
    hostcerts,
    limits,
    programs,
    service,
    sessions,
    trust,
    ways_in,
)
from keycmd.doctor.findings import Finding, merged, printable
from keycmd.doctor.place import Place
from keycmd.doctor.running import in_parallel
from keycmd.doctor.show import as_text, exit_status
from keycmd.doctor.sshd import DEFAULT_CONFIG, Sshd

PARTS = (
    ("ways in", ways_in.check),
    ("commands", commands.check),
    ("trust", trust.check),
    ("files", files.check),
    ("limits", limits.check),
    ("sessions", sessions.check),
    ("host certificates", hostcerts.check),
    ("service", service.check),
    ("daemon", daemon.check),
    ("account", account.check),
    ("programs", programs.check),
)
UNUSABLE = 2


def parser():
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="tms-host doctor", description="Say what is wrong on this host; change nothing."
    )
    made.add_argument("--account", help="look at the settings for this account, too, and at the account itself")
    made.add_argument("--address", help="as for a login from this address; default: one from nowhere")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    made.add_argument("--config", default=DEFAULT_PATH, help="host.conf; default: %(default)s")
    made.add_argument("--sshd-config", default=DEFAULT_CONFIG, help="default: %(default)s")
    return made


def main(arguments):
    """Do it; return the exit status."""
    options = parser().parse_args(arguments)
    wrong = _unusable(options)
    if wrong:
        sys.stderr.write("tms-host doctor: %s\n" % wrong)
        return UNUSABLE
    begun = time.monotonic()
    sshd = Sshd(options.sshd_config)
    place = Place(sshd, options.config, options.account, options.address)
    findings = []
    if place.broken:
        findings.append(
            Finding("sshd_refuses", place.broken, "%s -t -f %s  # and mend the line" % (sshd.path, sshd.config))
        )
    findings += in_parallel([(name, _bound(check, place)) for name, check in PARTS])
    # By itself: the others would be measured with it.
    findings += in_parallel([("helper", _bound(helper.check, place))])
    findings = merged(findings)
    seconds = time.monotonic() - begun
    if options.json:
        sys.stdout.write(json.dumps(_as_json(place, findings, seconds), indent=2) + "\n")
    else:
        sys.stdout.write(as_text(_head(place), list(place.settings), findings, seconds))
    sys.stdout.flush()
    return exit_status(findings)


def _unusable(options):
    """Return why it cannot be run like this, or None."""
    if os.geteuid() != 0:
        return "run it as root: sshd shows its settings to nobody else"
    for name in (options.account, options.address):
        # They become a part of `sshd -T -C`, where a comma begins the next word.
        if name is not None and (not name or not all("!" <= c <= "~" and c not in ",=" for c in name)):
            return "expected a name or an address without blanks and commas, got %r" % name
    return None


def _bound(check, place):
    return lambda report: check(place, report)


def _head(place):
    text = "tms-host doctor on %s at %s: %s, %s, for %s from %s" % (
        socket.gethostname(),
        time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        place.sshd.banner,
        place.sshd.config,
        ", ".join(place.settings) or "nobody",
        place.address if place.address_given else "any address",
    )
    return printable(text)


def _as_json(place, findings, seconds):
    counts = {}
    for finding in findings:
        counts[finding.severity] = counts.get(finding.severity, 0) + 1
    return {
        "host": socket.gethostname(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "openssh": place.sshd.banner,
        "sshd_config": place.sshd.config,
        "accounts": list(place.settings),
        "address": place.address if place.address_given else None,
        "errors": counts.get("error", 0),
        "warnings": counts.get("warning", 0),
        "notes": counts.get("note", 0),
        "seconds": round(seconds, 2),
        "findings": [finding.as_json() for finding in findings],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
