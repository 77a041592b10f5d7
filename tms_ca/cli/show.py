"""What the operator's commands print: tables and lists of fields for people, JSON for programs."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NONE = "-"


@dataclass(frozen=True, slots=True)
class Listing:
    """The dumped items of a list, and whether there are more of them."""

    items: Sequence[Any]
    more: bool = False


def printable(text: str) -> str:
    """Return `text` without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def word(value: object) -> str:
    """Return a value as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if not value:
        return NONE
    if isinstance(value, list):
        return ", ".join(word(one) for one in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={word(one)}" for name, one in value.items() if one) or NONE
    return printable(str(value))


def record(fields: Mapping[str, Any]) -> str:
    """Return aligned `name: value` lines."""
    width = max(len(name) for name in fields) + 1
    return "".join(f"{name + ':':<{width}} {word(value)}\n" for name, value in fields.items())


def table(columns: Sequence[str], items: Sequence[Mapping[str, Any]]) -> str:
    """Return aligned columns under their names."""
    lines = [list(columns), *([word(item.get(name)) for name in columns] for item in items)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    return "".join("  ".join(map(str.ljust, line, widths)).rstrip() + "\n" for line in lines)


def as_json(result: Any) -> str:
    """Return one JSON object, or an array of a list's items."""
    if isinstance(result, Listing):
        return json.dumps(list(result.items), indent=2) + "\n"
    return json.dumps({} if result is None else result, indent=2) + "\n"


def note_more(listing: Listing) -> None:
    """Tell, beside the output, that a list goes on."""
    if listing.more:
        print(f"tms-ca: the first {len(listing.items)} are shown, there are more: give --limit N", file=sys.stderr)


def note_secret() -> None:
    """Tell, beside the output, that a secret is not shown again."""
    print("tms-ca: the secret is shown this once; it is kept as a digest only", file=sys.stderr)
