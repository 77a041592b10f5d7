"""The commands of users: log in, prove a second factor, decide about delegations."""

import argparse
import getpass
import json
import sys
from collections.abc import Mapping
from typing import Any

from tms_ca.client import config, protocol
from tms_ca.client.blocking import Service
from tms_ca.client.config import Config
from tms_ca.client.failures import Refused, Usage
from tms_ca.client.words import seconds, show, table

_DECIDED = ("id", "status", "client_id", "account", "host", "purpose", "constraints", "uses_left", "restrictions",
            "expires_at")  # fmt: skip
_LISTED = ("id", "status", "client_id", "account", "host", "expires_at", "purpose")
_MFA = ("enrolled", "verified_at", "expires_at")


def service(found: Config) -> Service:
    """Return the service, as the user who is logged in."""
    credential = config.user_credential(found)
    if credential is None:
        raise Usage(f"you are not logged in to {found.url} (tenant {found.tenant}): tms login USER")
    return Service(found.url, found.tenant, credential, found.ca_file)


def login(options: argparse.Namespace, found: Config) -> int:
    """Open a session and keep its token in a file of the user's own."""
    code: str | None = options.code
    if options.password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = getpass.getpass("password: ")
        if code is None:
            code = input("code of the second factor (empty: later, with tms mfa verify): ").strip()
    else:
        raise Usage("there is no terminal to ask for the password: give --password-stdin")
    with Service(found.url, found.tenant, None, found.ca_file) as at:
        opened = at.run(protocol.log_in(options.user, password, code or None))
    kept = {"token": opened.token, "user": opened.user, "expires_at": opened.expires_at}
    config.store_session(found, kept)
    shown = {"user": opened.user, "expires_at": opened.expires_at, "mfa_expires_at": opened.mfa_expires_at}
    show(shown, tuple(shown), as_json=options.json)
    return 0


def logout(options: argparse.Namespace, found: Config) -> int:
    """End the session, here and there."""
    with service(found) as at:
        try:
            at.run(protocol.log_out())
        except Refused as error:
            if error.status != 401:  # it ended by itself: all that is left is to forget it
                raise
    config.store_session(found, None)
    if options.json:
        print("{}")
    else:
        print(f"logged out of {found.url}")
    return 0


def whoami(options: argparse.Namespace, found: Config) -> int:
    """Show where you are logged in, as whom and until when."""
    with service(found) as at:
        (person,) = at.run(protocol.listing("users")).items
        mfa = at.run(protocol.mfa_status())
    fields = {
        "user": person.get("user"),
        "tenant": found.tenant,
        "service": found.url,
        "session_expires_at": config.stored_session(found).get("expires_at"),
        "mfa_enrolled": mfa.get("enrolled"),
        "mfa_expires_at": mfa.get("expires_at"),
    }
    show(fields, tuple(fields), as_json=options.json)
    return 0


def mfa(options: argparse.Namespace, found: Config) -> int:
    """Enrol, prove or show the second factor."""
    with service(found) as at:
        if options.what == "enrol":
            show(at.run(protocol.mfa_enrol()), ("seed", "otpauth_uri"), as_json=options.json)
            if not options.json:
                print("put it into your authenticator, then: tms mfa verify CODE", file=sys.stderr)
        elif options.what == "verify":
            if options.code is None:
                raise Usage("which code? tms mfa verify CODE")
            show(at.run(protocol.mfa_verify(options.code)), _MFA, as_json=options.json)
        else:
            show(at.run(protocol.mfa_status()), _MFA, as_json=options.json)
    return 0


def delegations(options: argparse.Namespace, found: Config) -> int:
    """List who may do what for you."""
    items: list[Mapping[str, Any]] = []
    cursor: str | None = None
    with service(found) as at:
        while True:
            page = at.run(protocol.listing("delegations", cursor, status=options.status))
            items += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
    print(json.dumps(items, indent=2) if options.json else table(_LISTED, items), end="\n" if options.json else "")
    return 0


def approve(options: argparse.Namespace, found: Config) -> int:
    """Say yes, perhaps for less long than was asked."""
    call = protocol.decide(options.id, "approve", lifetime_seconds=options.lifetime, max_ttl_seconds=options.max_ttl,
                           max_uses=options.max_uses)  # fmt: skip
    return _decide(options, found, call)


def deny(options: argparse.Namespace, found: Config) -> int:
    """Say no."""
    return _decide(options, found, protocol.decide(options.id, "deny"))


def _decide(options: argparse.Namespace, found: Config, call: protocol.Call[dict[str, Any]]) -> int:
    with service(found) as at:
        show(at.run(call), _DECIDED, as_json=options.json)
    return 0


def revoke(options: argparse.Namespace, found: Config) -> int:
    """Take back a delegation or a certificate; the next login is refused."""
    if options.serial is None:
        return _decide(options, found, protocol.decide(options.id, "revoke"))
    with service(found) as at:
        made = at.run(protocol.revoke("serial", options.serial, options.reason))
    show(made, ("id", "selector", "value", "reason", "certificates", "created_at"), as_json=options.json)
    return 0


def add(commands: Any) -> None:
    """Add the commands of users."""
    one = commands.add_parser("login", help="log in; asks for the password and the code")
    one.add_argument("user", metavar="USER")
    one.add_argument("--password-stdin", action="store_true", help="read the password's line from standard input")
    one.add_argument("--code", metavar="CODE", help="of the second factor")
    one.set_defaults(run=login)
    commands.add_parser("logout", help="end the session").set_defaults(run=logout)
    commands.add_parser("whoami", help="show as whom you are logged in").set_defaults(run=whoami)
    one = commands.add_parser("mfa", help="the second factor: enrol, verify CODE, status")
    one.add_argument("what", choices=["enrol", "verify", "status"])
    one.add_argument("code", nargs="?", metavar="CODE", help="six digits, for verify")
    one.set_defaults(run=mfa)
    one = commands.add_parser("delegations", help="list who may do what for you")
    one.add_argument("--status", choices=["pending", "approved", "denied", "revoked"], help="only these")
    one.set_defaults(run=delegations)
    one = commands.add_parser("approve", help="let an application act for you; needs a current second factor")
    one.add_argument("id", metavar="ID")
    one.add_argument("--for", dest="lifetime", type=seconds, metavar="TIME", help="less long than asked, such as 2h")
    one.add_argument("--max-ttl", type=seconds, metavar="TIME", help="no certificate under it lives longer")
    one.add_argument("--max-uses", type=int, metavar="N", help="no more than N logins")
    one.set_defaults(run=approve)
    one = commands.add_parser("deny", help="refuse what an application asked for")
    one.add_argument("id", metavar="ID")
    one.set_defaults(run=deny)
    one = commands.add_parser("revoke", help="take a delegation or a certificate back")
    which = one.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", metavar="ID", help="of a delegation")
    which.add_argument("--serial", metavar="N", help="of a certificate")
    one.add_argument("--reason", default="revoked by its user", metavar="TEXT", help="of --serial, for the record")
    one.set_defaults(run=revoke)
