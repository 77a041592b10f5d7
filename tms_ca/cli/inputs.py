"""How inputs are typed on the operator's command line, and what becomes of them before a shape sees them."""

import argparse
import getpass
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tms_ca.settings import SettingsError

FIELD = "field."  # what the parser calls an input, so that `--tenant` and a field `tenant` stay apart
NOTHING = object()  # an input that is given, and is null
_LENGTH = re.compile(r"([0-9]{1,9})([smhd]?)", re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class UsageError(SettingsError):
    """The command line is not usable; exit code 2."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a verb; those with the same `one_of` exclude each other, with `?` at its end none may do."""

    flags: tuple[str, ...]
    keywords: Mapping[str, Any]
    one_of: str = ""


def positional(field: str, text: str, **more: Any) -> Argument:
    """Return an argument without a flag that fills `field`."""
    return Argument((FIELD + field,), {"metavar": field.upper(), "help": text, **more})


def option(flag: str, field: str, text: str, *, one_of: str = "", **more: Any) -> Argument:
    """Return an option that fills `field`."""
    shown = {} if "choices" in more else {"metavar": field.rpartition("_")[2].upper()}
    return Argument((flag,), {"dest": FIELD + field, "help": text, **shown, **more}, one_of)


def constant(flag: str, field: str, value: object, text: str, *, one_of: str = "") -> Argument:
    """Return an option without a value that fills `field` with `value`."""
    keywords = {"dest": FIELD + field, "action": "store_const", "const": value, "help": text}
    return Argument((flag,), keywords, one_of)


def switch(flag: str, name: str, text: str) -> Argument:
    """Return an option that is either there or not, for a `prepare`."""
    return Argument((flag,), {"dest": name, "action": "store_true", "help": text})


def seconds(text: str) -> int:
    """Return a length of time such as 90, 15m, 8h or 30d in seconds."""
    found = _LENGTH.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a length of time such as 90, 15m, 8h or 30d")
    return int(found[1]) * _SECONDS[found[2]]


def days_from_now(text: str) -> str:
    """Return the moment so many days from now as RFC 3339."""
    if re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) is None:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a number of days such as 365")
    return (datetime.now(UTC) + timedelta(days=int(text))).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> str:
    """Return a date as the moment at which it begins, anything else as it is: the shape judges it."""
    return f"{text}T00:00:00Z" if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) else text


UNTIL = (
    option("--until", "expires_at", "a date, or a time such as 2027-01-31T12:00:00Z", type=moment, metavar="DATE",
           one_of="until"),
    option("--days", "expires_at", "so many days from now", type=days_from_now, metavar="N", one_of="until"),
)  # fmt: skip
ENABLED = (
    constant("--enable", "enabled", True, "let it act again", one_of="enabled?"),
    constant("--disable", "enabled", False, "let it do nothing, at once", one_of="enabled?"),
)
DISPLAY_NAME = option("--display-name", "display_name", "a name for people", metavar="TEXT")


def account_at_host(values: dict[str, Any], _: argparse.Namespace) -> None:
    """Take ACCOUNT@HOST apart."""
    together = values.pop("account_at_host")
    account, at, host = together.rpartition("@")
    if not at:
        raise UsageError(f"got {together!r}; expected ACCOUNT@HOST, such as alice@stampede3")
    values.update(account=account, host=host)


PASSWORD_STDIN = switch("--password-stdin", "password_stdin", "read the password from the first line of standard input")


def new_password(values: dict[str, Any], options: argparse.Namespace) -> None:
    """Take the password of a new user, unless they are to have none."""
    if options.password_stdin or not options.no_password:
        values["password"] = _password(options)


def other_password(values: dict[str, Any], options: argparse.Namespace) -> None:
    """Take another password where one is to be set."""
    if options.password_stdin or options.password:
        values["password"] = _password(options)


def _password(options: argparse.Namespace) -> str:
    """Read a password; it is never an argument, which everyone on the machine could read."""
    if options.password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask for a password: give --password-stdin or --no-password")
    password = getpass.getpass("password: ")
    if getpass.getpass("again: ") != password:
        raise UsageError("the two passwords differ; nothing was changed")
    return password


def read_host_keys(values: dict[str, Any], _: argparse.Namespace) -> None:
    """Put the keys of the files given in the place of their names."""
    if "ssh_host_keys" in values:
        lines = [line.strip() for name in values["ssh_host_keys"] for line in Path(name).read_text().splitlines()]
        values["ssh_host_keys"] = [line for line in lines if line and not line.startswith("#")]
