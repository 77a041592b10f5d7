"""JSON bodies, strictly: one value, no doubled keys, no numbers that are none, not nested without end."""

import json
from typing import Any

import orjson
from aiohttp import web

from tms_ca.core.errors import Malformed

MOST_PLAIN_BYTES = 16 * 1024  # beyond it, aiohttp counts
MOST_DEPTH = 32  # a parser further on must never be the one to find out


async def read(request: web.Request) -> bytes:
    """Return the whole body.

    Raises:
        web.HTTPRequestEntityTooLarge: it is longer than the application takes

    """
    content = request.content
    if content.is_eof() and content.total_bytes <= MOST_PLAIN_BYTES:
        return content.read_nowait()  # it came with the head: nothing to wait for
    return await request.read()


def parse(body: bytes) -> Any:
    """Return the value of a JSON text (RFC 8259).

    Raises:
        Malformed: not JSON, or of a kind that two readers could read differently
    """
    try:
        value = orjson.loads(body)  # refuses NaN, lone surrogates and bytes that are not UTF-8
    except orjson.JSONDecodeError as error:
        raise Malformed("malformed_json", f"the body is not JSON: {error}") from error
    if _flat_without_doubles(body, value):
        return value
    if body.count(b"{") + body.count(b"[") > MOST_DEPTH and _depth(value) > MOST_DEPTH:
        raise Malformed("malformed_json", f"the body is nested deeper than {MOST_DEPTH}")
    # orjson keeps the last of two equal keys without a word; what reads the same bytes elsewhere may keep the first.
    # After the depth: the standard library's parser recurses.
    json.loads(body, object_pairs_hook=_once)
    return value


def _flat_without_doubles(body: bytes, value: Any) -> bool:
    """Tell whether an object of strings and numbers has, in its text, just the quotes that its value needs.

    A key that is there twice leaves quotes over. With a backslash, or anything nested, the count says nothing.
    """
    if type(value) is not dict or b"\\" in body:
        return False
    strings = len(value)
    for inner in value.values():
        kind = type(inner)
        if kind is str:
            strings += 1
        elif kind is dict or kind is list:
            return False
    return body.count(b'"') == 2 * strings


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise Malformed("malformed_json", f"the key {doubled[:100]!r} is there twice")
    return found


def _depth(value: Any) -> int:
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        one, depth = waiting.pop()
        if isinstance(one, dict | list):
            deepest = max(deepest, depth)
            waiting.extend((inner, depth + 1) for inner in (one.values() if isinstance(one, dict) else one))
    return deepest
