"""Words typed and words shown: lengths of time, ACCOUNT@HOST, fields and tables."""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_LENGTH = re.compile(r"([0-9]{1,9})([smhd]?)", re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
# What the service accepts; looked at here too because both words become arguments of ssh.
_ACCOUNT = re.compile(r"[a-z_*][a-z0-9_.*-]{0,31}", re.ASCII)
_HOST = re.compile(r"[a-z0-9*]([a-z0-9.*-]{0,61}[a-z0-9*])?", re.ASCII)


def seconds(text: str) -> int:
    """Return a length of time such as 90, 15m, 8h or 30d in seconds."""
    found = _LENGTH.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a length of time such as 90, 15m, 8h or 30d")
    return int(found[1]) * _SECONDS[found[2]]


def account_at_host(text: str) -> tuple[str, str]:
    """Return account and host of ACCOUNT@HOST; `*` stands for any characters, where a pattern may stand."""
    account, _, host = text.rpartition("@")
    if not _ACCOUNT.fullmatch(account) or not _HOST.fullmatch(host):
        raise argparse.ArgumentTypeError(f"got {text!r}; expected ACCOUNT@HOST, such as alice@stampede3")
    return account, host


def printable(text: str) -> str:
    """Return `text` without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if not value:
        return "-"
    if isinstance(value, list):
        return ", ".join(_word(one) for one in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_word(one)}" for name, one in value.items() if one) or "-"
    return printable(str(value))


def record(fields: Mapping[str, Any]) -> str:
    """Return aligned `name: value` lines."""
    width = max((len(name) for name in fields), default=0) + 1
    return "".join(f"{name + ':':<{width}} {_word(value)}\n" for name, value in fields.items())


def table(columns: Sequence[str], items: Sequence[Mapping[str, Any]]) -> str:
    """Return aligned columns under their names."""
    lines = [list(columns), *([_word(item.get(name)) for name in columns] for item in items)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    return "".join("  ".join(map(str.ljust, line, widths)).rstrip() + "\n" for line in lines)


def show(fields: Mapping[str, Any], names: Sequence[str], *, as_json: bool) -> None:
    """Print all fields as JSON, or the named ones for people."""
    if as_json:
        print(json.dumps(dict(fields), indent=2))
    else:
        print(record({name: fields.get(name) for name in names}), end="")
