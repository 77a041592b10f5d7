"""`tms-ca`: parse the command line, run one command, turn errors into sentences and exit codes."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tms_ca import __version__
from tms_ca.cli import serve
from tms_ca.cli.importing import importing
from tms_ca.cli.usage import Help
from tms_ca.core.errors import TmsError
from tms_ca.settings import SettingsError

USAGE_ERROR = 2
FAILED = 1
UNAVAILABLE = 75  # EX_TEMPFAIL of sysexits.h: try again
_LIGHT = ("serve", "--version")  # need no other command; each process of the service starts here

_EXAMPLES = """\
examples:
  tms-ca init --data /var/lib/tms-ca            make a data directory; prints the operator's credential once
  tms-ca serve --data /var/lib/tms-ca           run the service
  tms-ca hosts create stampede3                 register a host; prints its credential once
"""


def parser(first: str = "") -> argparse.ArgumentParser:
    """Return the parser of every command, or of what a command line needs that begins with the word `first`."""
    top = argparse.ArgumentParser(
        prog="tms-ca",
        description="SSH certificate authority and trust manager",
        epilog=_EXAMPLES,
        formatter_class=Help,
    )
    top.add_argument("--version", action="version", version=f"tms-ca {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    if first in _LIGHT:
        serve.add(commands)
    else:
        _add_all(commands)
    for own in commands.choices.values():
        own.set_defaults(data=None)  # then TMS_CA_DATA says where
    return top


def _add_all(commands: Any) -> None:
    with importing():
        from tms_ca.cli import (
            directory,
            explain,
            frame,
            import_tms,
            init,
            logins,
            plainkeys,
            reservations,
            tidy,
            trust,
            upkeep,
        )

    for one in (init, serve, tidy, explain, import_tms):
        one.add(commands)
    for nouns in (directory, trust, logins, plainkeys, reservations, upkeep):
        for noun in nouns.NOUNS:
            frame.add(commands, noun)


def _data_directory(given: Path | None) -> Path:
    return Path(os.environ.get("TMS_CA_DATA") or "tms-ca-data") if given is None else given


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    words = sys.argv[1:] if argv is None else argv
    arguments = parser(*words[:1]).parse_args(words)
    arguments.data = _data_directory(arguments.data)
    try:
        code: int = arguments.run(arguments)
    except SettingsError as error:
        print(f"tms-ca: {error}", file=sys.stderr)
        return USAGE_ERROR
    except TmsError as error:
        print(f"tms-ca: {error.detail} ({error.code})", file=sys.stderr)
        if error.code == "invalid_request":  # what a shape refuses was typed wrongly
            return USAGE_ERROR
        return UNAVAILABLE if error.retry_after is not None else FAILED
    except BrokenPipeError:  # whoever read the output has had enough of it, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (ValueError, OSError) as error:
        print(f"tms-ca: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
