"""`tms-ca upkeep`: the service's own upkeep, by hand."""

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from tms_ca.app import open_context
from tms_ca.cli import show
from tms_ca.cli.init import local_operator
from tms_ca.cli.usage import Help
from tms_ca.core.errors import Conflict
from tms_ca.services.upkeep import Report
from tms_ca.settings import load_settings
from tms_ca.store import migrate
from tms_ca.store.engine import database_url
from tms_ca.store.jobs_lock import JobsLock

_ABOUT = """\
Delete what ended long ago: certificates and audit events by the settings in [retention], delegations that nothing
rests on, sessions, secrets and counts of failures. The service does the same by itself every hour.
"""
_EXAMPLES = """\
examples:
  tms-ca upkeep --dry-run      say what would be deleted, and delete nothing
  tms-ca upkeep --json         what a monitoring system reads
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "upkeep", help="delete what ended long ago; --dry-run only says what that would be", description=_ABOUT,
        epilog=_EXAMPLES, formatter_class=Help,
    )  # fmt: skip
    command.add_argument("--data", type=Path, default=Path("tms-ca-data"), help="the data directory")
    command.add_argument("--dry-run", action="store_true", help="count, and delete nothing")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Tidy; 1 where an audit chain does not hold."""
    report = asyncio.run(_tidy(arguments.data.absolute(), dry_run=arguments.dry_run))
    if arguments.json:
        done = {"dry_run": report.dry_run, "deleted": report.deleted, "faults": report.faults}
        print(json.dumps(done, indent=2))
    else:
        print(_said(report), end="")
    return 1 if report.faults else 0


async def _tidy(data: Path, *, dry_run: bool) -> Report:
    settings = load_settings(data)
    migrate.require(database_url(settings.database_url))
    async with (
        open_context(settings) as context,
        JobsLock(database_url(settings.database_url)).only_here("upkeep") as here,
    ):
        if not here:
            raise Conflict("upkeep_running", "another process is at the upkeep of this database; let it finish")
        return await context.upkeep.run(local_operator(), dry_run=dry_run)


def _said(report: Report) -> str:
    verb = "would delete" if report.dry_run else "deleted"
    lines = [f"{verb} {count} {name}" for name, count in report.deleted.items() if count]
    lines = lines or [f"{verb} nothing"]
    lines += [f"left alone: {show.printable(fault)}; see: tms-ca audit verify" for fault in report.faults]
    return "".join(f"{line}\n" for line in lines)
