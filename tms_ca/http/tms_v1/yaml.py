"""JSON values as YAML, for the one document that is served so: every scalar is quoted as JSON quotes it."""

import json
from collections.abc import Iterator
from typing import Any


def yaml_of(value: Any) -> str:
    """Return an object or a list as YAML 1.2, whose scalars may be JSON's."""
    return "\n".join(_lines(value)) + "\n"


def _lines(value: Any) -> Iterator[str]:
    """Yield the lines of a collection that is not empty."""
    for lead, inner in [("-", one) for one in value] if isinstance(value, list) else (
        (f"{json.dumps(name)}:", one) for name, one in value.items()
    ):  # fmt: skip
        if inner and isinstance(inner, dict | list):
            yield lead
            yield from (f"  {line}" for line in _lines(inner))
        else:
            yield f"{lead} {json.dumps(inner)}"
