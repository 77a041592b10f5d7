"""The place to go on from in a list: a key of the list's order, as an opaque word."""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import orjson

from tms_ca.core.errors import Invalid


def encode_cursor(key: Sequence[object]) -> str:
    """Return a key as an opaque word for the wire."""
    return base64.urlsafe_b64encode(orjson.dumps(list(key))).decode().rstrip("=")


def _storable(part: int | str) -> bool:
    """Tell whether both databases can compare with `part`."""
    return "\0" not in part if isinstance(part, str) else -(2**63) <= part < 2**63


def decode_cursor(text: str, kinds: Sequence[type]) -> list[Any]:
    """Return the key of a cursor.

    Raises:
        Invalid: it is not one that this list gave out

    """
    try:
        key = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError) as error:
        raise Invalid("bad_cursor", "the cursor is not one that this list gave out; start without one") from error
    if not isinstance(key, list) or [type(part) for part in key] != list(kinds) or not all(map(_storable, key)):
        raise Invalid("bad_cursor", "the cursor is not one that this list gave out; start without one")
    return key
