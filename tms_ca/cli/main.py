"""`tms-ca`: parse the command line, run one command, turn errors into sentences and exit codes."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tms_ca import __version__
from tms_ca.cli import (
    directory,
    explain,
    frame,
    import_tms,
    init,
    logins,
    plainkeys,
    reservations,
    serve,
    tidy,
    trust,
    upkeep,
)
from tms_ca.core.errors import TmsError
from tms_ca.settings import SettingsError

USAGE_ERROR = 2
FAILED = 1
UNAVAILABLE = 75  # EX_TEMPFAIL of sysexits.h: try again

_EXAMPLES = """\
examples:
  tms-ca init --data /var/lib/tms-ca            make a data directory; prints the operator's credential once
  tms-ca serve --data /var/lib/tms-ca           run the service
  tms-ca hosts create stampede3                 register a host; prints its credential once
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    top = argparse.ArgumentParser(
        prog="tms-ca",
        description="SSH certificate authority and trust manager",
        epilog=_EXAMPLES,
        formatter_class=frame.Help,
    )
    top.add_argument("--version", action="version", version=f"tms-ca {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    init.add(commands)
    serve.add(commands)
    tidy.add(commands)
    explain.add(commands)
    import_tms.add(commands)
    for own in commands.choices.values():
        own.set_defaults(data=None)  # then TMS_CA_DATA says where
    for noun in (*directory.NOUNS, *trust.NOUNS, *logins.NOUNS, *plainkeys.NOUNS, *reservations.NOUNS, *upkeep.NOUNS):
        frame.add(commands, noun)
    return top


def _data_directory(given: Path | None) -> Path:
    return Path(os.environ.get("TMS_CA_DATA") or "tms-ca-data") if given is None else given


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    arguments = parser().parse_args(argv)
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
