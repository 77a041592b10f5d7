"""The commands about reservations: make one while the user is MFA-current, see them, take one back."""

import argparse
from typing import Any

from tms_ca.client import protocol
from tms_ca.client.application import anyone, service
from tms_ca.client.config import Config
from tms_ca.client.words import account_at_host, seconds, show

_RESERVATION = ("id", "parent_id", "user", "client_id", "account", "host", "purpose", "public_key_fingerprint",
                "expires_at")  # fmt: skip


def reserve(options: argparse.Namespace, found: Config) -> int:
    """Reserve, as the application."""
    account, host = options.where
    with service(found) as at:
        made = at.run(
            protocol.reserve(
                options.user,
                account,
                host,
                options.purpose,
                lifetime_seconds=options.lifetime,
                parent_id=options.under,
                public_key_fingerprint=options.fingerprint,
            )
        )
    show(made, _RESERVATION, as_json=options.json)
    return 0


def unreserve(options: argparse.Namespace, found: Config) -> int:
    """Take a reservation back, as the application or the user who is logged in."""
    with anyone(found) as at:
        at.run(protocol.unreserve(options.id, related=options.related))
    return 0


def add(commands: Any) -> None:
    """Add the commands."""
    makes = commands.add_parser("reserve", help="let certificates go on past the end of the MFA window")
    makes.add_argument("user", metavar="USER", help="the person to act for, as the service names them")
    makes.add_argument("where", type=account_at_host, metavar="ACCOUNT@HOST", help="the account, and the host")
    length = makes.add_mutually_exclusive_group(required=True)
    length.add_argument("--for", dest="lifetime", type=seconds, metavar="TIME", help="such as 8h, at most 48h")
    length.add_argument("--under", metavar="ID", help="make a child of this one, which ends with it")
    makes.add_argument("--purpose", required=True, metavar="TEXT", help="what for; the user reads it")
    makes.add_argument("--fingerprint", metavar="SHA256:...", help="for this plain key instead of certificates")
    makes.set_defaults(run=reserve)
    ends = commands.add_parser("unreserve", help="take a reservation back")
    ends.add_argument("id", metavar="ID")
    ends.add_argument("--related", action="store_true", help="take its children off the record, too; else they end now")
    ends.set_defaults(run=unreserve)
