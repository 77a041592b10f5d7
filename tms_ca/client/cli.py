"""`tms`: parse the command line, run one command, turn failures into sentences and exit codes."""

import argparse
import os
import sys
from collections.abc import Sequence

from tms_ca import __version__
from tms_ca.client import application, config, person, reserving
from tms_ca.client.failures import Failure, Refused
from tms_ca.client.words import printable

_EPILOG = """\
users:
  tms login alice                                  asks for the password and the code
  tms delegations --status pending                 who asks for what
  tms approve dlg_... --for 2h                     let the application act for you
  tms revoke dlg_...                               and no longer

applications:
  tms delegate alice alice@stampede3 --for 8h --purpose "nightly run"
  tms delegation dlg_... --wait                    until the user has decided
  tms cert alice alice@stampede3 --key id_ed25519.pub --ttl 1h
  tms reserve alice alice@stampede3 --for 48h --purpose "run 7"      then: tms cert ... --reservation ID
  tms ssh alice alice@stampede3 -- squeue          with a key that is gone afterwards

settings: ~/.config/tms/config.toml ($TMS_CONFIG), with url, tenant, client_id, client_secret_file, ca_file;
each also as $TMS_URL and so on. Secrets: $TMS_CLIENT_SECRET, $TMS_TOKEN.
exit codes: 0 done, 1 refused or failed, 2 wrong usage, 75 try again later; `tms ssh` ends as ssh does.
"""


# What a person does next; applications see the code.
_NEXT = {
    "mfa_required": "tms mfa verify CODE",
    "mfa_not_enrolled": "tms mfa enrol",
    "mfa_expired": "the user proves the second factor again: tms mfa verify CODE",
    "mfa_never": "the user enrols a second factor: tms mfa enrol",
    "reservation_expired": "the user proves the second factor again: tms mfa verify CODE; then: tms reserve ...",
    "delegation_missing": 'tms delegate USER ACCOUNT@HOST --for 8h --purpose "..."',
    "delegation_pending": "the user approves it: tms approve ID",
}


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)


def parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    top = argparse.ArgumentParser(
        prog="tms", description="delegated, short-lived SSH certificates", epilog=_EPILOG, formatter_class=_Help
    )
    top.add_argument("--version", action="version", version=f"tms {__version__}")
    commands = top.add_subparsers(dest="name", metavar="COMMAND", required=True)
    person.add(commands)
    application.add(commands)
    reserving.add(commands)
    for one in commands.choices.values():
        one.formatter_class = _Help
        common = one.add_argument_group("of every command")
        common.add_argument("--url", metavar="URL", help="the service, such as https://tms.example.org")
        common.add_argument("--tenant", metavar="NAME", help="(default: default)")
        common.add_argument("--client-id", metavar="NAME", help="the application's name")
        common.add_argument(
            "--ca-file", metavar="FILE", help="trust these CA certificates (PEM) instead of the system's"
        )
        common.add_argument("--json", action="store_true", help="print JSON, as the service answered")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    end = words.index("--") if "--" in words and words[0] == "ssh" else len(words)
    options = parser().parse_args(words[:end])
    options.command = words[end + 1 :]  # for ssh, exactly as it was typed
    try:
        code: int = options.run(options, config.load(vars(options)))
        sys.stdout.flush()
    except Failure as failure:
        print(f"tms: {printable(str(failure))}", file=sys.stderr)
        if isinstance(failure, Refused) and failure.code in _NEXT:
            print(f"next: {_NEXT[failure.code]}", file=sys.stderr)
        return failure.exit_code
    except BrokenPipeError:  # whoever read the output has had enough of it, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
