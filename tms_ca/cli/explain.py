"""`tms-ca explain-login`: would this login be let in now, and if not, which rule refuses it."""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from schemas.base import rfc3339, valid_serial
from tms_ca.app import open_context
from tms_ca.cli import show
from tms_ca.cli.init import FIRST_TENANT
from tms_ca.cli.usage import Help
from tms_ca.core.certificate_lint import MAX_CERTIFICATE_BYTES
from tms_ca.core.errors import Malformed
from tms_ca.core.explain import GOOD
from tms_ca.core.names import valid_account, valid_host
from tms_ca.services.explain import Explanation
from tms_ca.settings import load_settings
from tms_ca.store import migrate
from tms_ca.store.engine import database_url

LET_IN, REFUSED, USAGE = 0, 1, 2
_ABOUT = """\
Ask the rules of a login check, now, about one certificate: what it rests on, the first rule that refuses and what to
do, or the very line that the host's helper would print to sshd. Nothing is recorded and nothing is counted.

Exit code: 0 it would be let in, 1 it would be refused, 2 the question is wrong.
"""
_EXAMPLES = """\
examples:
  tms-ca explain-login stampede3 alice 5093142857120398422
  tms-ca explain-login stampede3 alice id_ed25519-cert.pub
"""
_UNSEEN = """\
Not seen from here: what sshd checks by itself (its own clock, TrustedUserCAKeys, RevokedKeys, the certificate's
options, AllowUsers, PAM). On the host, run: tms-host doctor
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "explain-login", help="say whether a login would be let in now, and which rule refuses", description=_ABOUT,
        epilog=_EXAMPLES, formatter_class=Help,
    )  # fmt: skip
    command.add_argument("host", metavar="HOST", help="the host, as it is registered")
    command.add_argument("account", metavar="ACCOUNT", help="the account on it")
    command.add_argument(
        "what", metavar="SERIAL|FILE", help="a certificate's serial, or a file that holds one; - reads it"
    )
    command.add_argument("--data", type=Path, default=Path("tms-ca-data"), help="the data directory")
    command.add_argument("--tenant", default=FIRST_TENANT, metavar="NAME", help="the tenant (default: default)")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Explain; return the exit code."""
    for valid, value, what in ((valid_host, arguments.host, "host"), (valid_account, arguments.account, "account")):
        if not valid(value):
            print(f"tms-ca: {show.printable(value[:100])!r} cannot be the name of a {what}", file=sys.stderr)
            return USAGE
    try:
        line = None if valid_serial(arguments.what) else _read(arguments.what)
        found = asyncio.run(_explain(arguments, line))
    except (Malformed, OSError, UnicodeDecodeError) as error:
        reason = error.detail if isinstance(error, Malformed) else str(error)
        print(f"tms-ca: {show.printable(arguments.what[:200])} is neither a serial nor a certificate: {reason}",
              file=sys.stderr)  # fmt: skip
        return USAGE
    print(json.dumps(_fields(found), indent=2) if arguments.json else _said(found))
    return REFUSED if found.code else LET_IN


def _read(name: str) -> str:
    """Return the first line of a file, or of standard input, that is not blank."""
    most = 2 * MAX_CERTIFICATE_BYTES
    if name == "-":
        text = sys.stdin.read(most + 1)
    else:
        with Path(name).open(encoding="ascii") as file:
            text = file.read(most + 1)
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


async def _explain(arguments: argparse.Namespace, line: str | None) -> Explanation:
    settings = load_settings(arguments.data.absolute())
    migrate.require(database_url(settings.database_url))
    async with open_context(settings) as context:
        tenant, host, account = arguments.tenant, arguments.host, arguments.account
        if line is None:
            return await context.explain.of_serial(tenant, host, account, int(arguments.what))
        return await context.explain.of_line(tenant, host, account, line)


def _fields(found: Explanation) -> dict[str, Any]:
    return {
        "host": found.host,
        "account": found.account,
        "serial": str(found.serial),
        "allowed": not found.code,
        "code": found.code or None,
        "detail": found.detail or None,
        "lines": list(found.lines),
        "rests_on": [
            {"thing": one.thing, "name": one.name, "state": one.state,
             "ends_at": None if one.ends_at is None else rfc3339(one.ends_at)}
            for one in found.rests
        ],
        "notes": list(found.notes),
    }  # fmt: skip


def _advice(text: str, code: str) -> str:
    return f"{show.printable(text)} (docs/errors.md#{code})" if text else f"see docs/errors.md#{code}"


def _said(found: Explanation) -> str:
    columns = ("thing", "name", "state", "ends_at")
    lines = [f"certificate {found.serial}, account {found.account} on {found.host}, now", ""]
    rests = _fields(found)["rests_on"]
    lines += [("    " if one["state"] == GOOD else "!!  ") + text for one, text in zip(
        [{"state": GOOD}, *rests], show.table(columns, rests).splitlines(), strict=True)]  # fmt: skip
    lines += ["", *(f"note: {show.printable(note)}" for note in found.notes)]
    if found.code:
        why, _, advice = found.detail.partition("; ")
        lines.append(f"refused: {show.printable(why)} ({found.code})")
        lines.append(f"what to do: {_advice(advice, found.code)}")
    else:
        lines.append("would be let in; the helper prints to sshd:")
        lines += [f"    {show.printable(line)}" for line in found.lines]
    return "\n".join([*lines, "", _UNSEEN.rstrip()])
