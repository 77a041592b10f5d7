"""The tms-host command: its words, what it prints, and its exit status.

0 is well, 1 is a problem that it has named, 2 is a command line that it does not understand.
"""

import argparse
import json
import os
import sys
import time

from keycmd.admin.places import AdminError, Places
from keycmd.version import VERSION


def main(arguments=None):
    """Run it; return the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # SSL_CERT_FILE or OPENSSL_CONF would have a say in whom we believe otherwise.
    os.environ.clear()
    os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    if arguments[:1] == ["doctor"]:
        from keycmd.doctor.main import main as doctor

        return doctor(arguments[1:])
    try:
        chosen = _parser().parse_args(arguments)
    except SystemExit as end:
        return end.code or 0
    if chosen.run is None:
        _parser().print_help()
        return 2
    try:
        return chosen.run(chosen, Places(chosen.root))
    except AdminError as error:
        sys.stderr.write("tms-host: %s\n" % error)
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("tms-host: interrupted\n")
        return 1


def _parser():
    parser = argparse.ArgumentParser(prog="tms-host", description="TMS-CA on this host: docs/hosts.md")
    parser.add_argument("--version", action="version", version="tms-host " + VERSION)
    parser.set_defaults(run=None)
    words = parser.add_subparsers(metavar="WORD")
    join = _word(words, "join", _join, "enrol this machine with a token of `tms-ca hosts invite`")
    join.add_argument("url", metavar="URL", help="https://NAME[:PORT]; several addresses in one argument, with blanks")
    join.add_argument("token", metavar="TOKEN", help="tms_j_...; `-` reads it from standard input")
    join.add_argument("--ca-file", default="system", metavar="FILE",
                      help="PEM file with the CA of the service's TLS certificate; default: the machine's")  # fmt: skip
    join.add_argument("--host-ca", action="append", default=[], metavar="SHA256:...",
                      help="take only what this host CA key has signed; may be said more than once")  # fmt: skip
    join.add_argument("--name", metavar="NODE", help="this machine's own name; default: its host name")
    join.add_argument("--replace", action="store_true",
                      help="this machine has new host keys: they take the place of those it joined with")  # fmt: skip
    join.add_argument("--write-sshd", action="store_true", help="write sshd_config.d/50-tms.conf, after `sshd -t`")
    _word(words, "rotate", _rotate, "take a new host credential")
    leave = _word(words, "leave", _leave, "let the service forget this machine, and remove our files")
    leave.add_argument("--force", action="store_true", help="also where the service cannot be told")
    status = _word(words, "status", _status, "what this host trusts and enforces; exit status 1 with problems")
    status.add_argument("--json", action="store_true", help="for programs")
    words.add_parser("doctor", help="what is wrong with this host's sshd, and how to mend it", add_help=False)
    return parser


def _word(words, name, run, text):
    word = words.add_parser(name, help=text, description=text)
    word.add_argument("--root", default="", metavar="DIR", help="every path below DIR: images, tests")
    word.set_defaults(run=run)
    return word


def _join(chosen, places):
    from keycmd.admin import daemon, sshd_lines
    from keycmd.admin.join import join
    from keycmd.config import load_without_token

    token = sys.stdin.readline().strip() if chosen.token == "-" else chosen.token
    joined = join(places, chosen.url, token, chosen.ca_file, chosen.host_ca, chosen.name, replace=chosen.replace)
    out = sys.stdout.write
    out("joined %s as the host %s of the tenant %s\n" % (chosen.url, joined.host, joined.tenant))
    if not chosen.host_ca:
        out("nobody has vouched for the host CA key; compare it with `tms-ca ca list`:\n")
    from keycmd.trustfile import fingerprint

    for key in joined.bundle.host_ca_keys:
        out("host CA key   %s\n" % fingerprint(key))
    for key in joined.bundle.user_ca_keys:
        out("user CA key   %s\n" % fingerprint(key))
    out("KRL           version %d\n" % joined.bundle.krl_version)
    for path, certificate in joined.certificates.items():
        out("certificate   %s for %s\n" % (path, ", ".join(certificate.principals)))
    for name in joined.left_out:
        out("left out      %s: only Ed25519, ECDSA and RSA of 3072 bits are certified\n" % name)
    if joined.not_dropped:
        sys.stderr.write("tms-host: %s. An older credential may still work: tms-host rotate\n" % joined.not_dropped)
    sessions = load_without_token(places.config).sessions
    lines = sshd_lines.lines(places, joined.bundle.user_ca_keys, list(joined.certificates), sessions)
    if chosen.write_sshd:
        sshd_lines.write_snippet(places, lines)
        out("\nwrote %s, and `sshd -t` takes it. Keep a session open, then:\n" % places.snippet)
    else:
        out("\nThese lines are for %s:\n\n%s\nKeep a session open, then:\n" % (places.snippet, lines))
    if daemon.runs(places.run):
        out("    sshd -t && systemctl reload ssh     # or sshd\n")
    else:
        out("    systemctl enable --now tms-hostd\n    sshd -t && systemctl reload ssh     # or sshd\n")
    out("    tms-host doctor\n")
    return 0


def _rotate(_chosen, places):
    from keycmd.admin.rotate import rotate

    rotate(places)
    sys.stdout.write("this host has a new credential; the old one works no more\n")
    return 0


def _leave(chosen, places):
    from keycmd.admin.leave import leave

    left = leave(places, chosen.force)
    for path in left.removed:
        sys.stdout.write("removed %s\n" % path)
    if left.running:
        sys.stdout.write("tms-hostd still runs: systemctl disable --now tms-hostd\n")
    if left.lines:
        sys.stdout.write(
            "PAM and sshd still have these lines; take them out, then `sshd -t && systemctl reload ssh` (or sshd):\n"
        )
        for line in left.lines:
            sys.stdout.write("    %s\n" % line)
    if left.kept:
        text = "%s stays: without it sshd takes no key at all. When sshd was reloaded: `tms-host leave --force`\n"
        sys.stdout.write(text % left.kept)
    return 0


def _status(chosen, places):
    from keycmd.admin.status import as_text, status

    shown = status(places, time.time())
    sys.stdout.write(json.dumps(shown, sort_keys=True, indent=2) + "\n" if chosen.json else as_text(shown))
    return 1 if shown["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
