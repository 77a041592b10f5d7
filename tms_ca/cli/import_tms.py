"""`tms-ca import-tms`: bring what an existing TMS server has into this service."""

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from tms_ca.app import open_context
from tms_ca.cli import show
from tms_ca.cli.init import local_operator
from tms_ca.cli.inputs import UsageError
from tms_ca.cli.usage import Help
from tms_ca.services.import_report import Came, ImportReport
from tms_ca.settings import load_settings
from tms_ca.store import migrate
from tms_ca.store.engine import database_url
from tms_ca.store.tms_source import SourceError, read_source
from tms_ca.store.tms_source_rows import Source

WHOLE, LEFT_BEHIND = 0, 3
_ABOUT = """\
Bring tenants, admins, clients, users with their MFA records, user hosts, delegations, live keys, live reservations and
hosts of an existing TMS server here: 0.2 on SQLite or 0.3 on PostgreSQL. The old database is only read, in one moment;
the old server may run on. Secrets go on working. What is here already stays as it is, so that a second run, or a run
after one that was killed, only adds what is missing. Every row that cannot come is named, with the reason.

Exit code: 0 everything came or is here, 3 something stays behind and is named, 2 the question is wrong, 1 it could not
be done: the old database cannot be reached or read, or somebody made the same things meanwhile. Then no row is half
here; do it again. 75 the service's own database does not answer.
"""
_EXAMPLES = """\
examples:
  tms-ca import-tms --from sqlite:////home/tms/.tms/database/tms.db --dry-run
  tms-ca import-tms --from 'postgresql://tms@localhost/tmsdb?password_file=/etc/tms-ca/tms-password'
"""
_HEADINGS = {
    Came.NOT: "left behind",
    Came.IN_PART: "came in part",
    Came.OTHERWISE: "here already, otherwise, and left as it is here",
    Came.NOTED: "came, and is not quite what it was",
}
_WOULD = {Came.IN_PART: "would come in part", Came.NOTED: "would come, and not be quite what it was"}


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "import-tms", help="bring what an existing TMS server has into this service", description=_ABOUT,
        epilog=_EXAMPLES, formatter_class=Help,
    )  # fmt: skip
    command.add_argument(
        "--from", dest="source", required=True, metavar="URL",
        help="the old database: sqlite:///PATH or postgresql://USER@HOST/NAME",
    )  # fmt: skip
    command.add_argument(
        "--tenant", dest="tenants", action="append", default=[], metavar="NAME",
        help="only this tenant; may be repeated (default: all)",
    )  # fmt: skip
    command.add_argument(
        "--adopt-client", dest="adopted", action="append", default=[], metavar="NAME",
        help="a client of this name that is here already is the old server's; may be repeated",
    )  # fmt: skip
    command.add_argument("--dry-run", action="store_true", help="say what would come, and write nothing")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.add_argument("--data", type=Path, default=Path("tms-ca-data"), help="the data directory")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Import; return the exit code."""
    report = asyncio.run(_import(arguments))
    print(json.dumps(report.as_object(), indent=2) if arguments.json else said(report))
    return WHOLE if report.whole else LEFT_BEHIND


async def _import(arguments: argparse.Namespace) -> ImportReport:
    settings = load_settings(arguments.data.absolute())
    migrate.require(database_url(settings.database_url))
    try:
        source = await read_source(arguments.source)
    except SourceError as error:
        raise UsageError(str(error)) from error
    _check_names(source, "tenants", "tenant", arguments.tenants)
    _check_names(source, "clients", "client_id", arguments.adopted)
    async with open_context(settings) as context:
        return await context.importing.run(
            local_operator(), source, arguments.tenants, arguments.adopted, dry_run=arguments.dry_run
        )


def _check_names(source: Source, table: str, column: str, wanted: list[str]) -> None:
    there = sorted({str(getattr(one, column)) for one in source.rows[table]})
    for name in wanted:
        if name not in there:
            some = ", ".join(there[:20]) + (" ..." if len(there) > 20 else "")
            raise UsageError(f"the old database has no {column} {name[:100]!r}; it has {some or 'none'}")


def said(report: ImportReport) -> str:
    """Return what people read."""
    came = "would come" if report.dry_run else "came"
    columns = ("table", "there were", came, "here already", "left behind")
    tables = [
        dict(zip(columns, (name, one.found, one.came, one.here, one.left), strict=True))
        for name, one in report.tables.items()
    ]
    lines = [f"from TMS server {report.version}{', dry run: nothing was written' if report.dry_run else ''}", ""]
    lines.append(show.table(columns, tables).rstrip())
    for how, heading in _HEADINGS.items():
        found = report.of(how)
        if found:
            lines += ["", f"{_WOULD.get(how, heading) if report.dry_run else heading}: {len(found)}"]
            lines += [
                show.printable(f"  {one.table} {one.id}, tenant {one.tenant or '-'}, {one.name}: {one.reason}")
                for one in found
            ]  # fmt: skip
    return "\n".join(lines)
