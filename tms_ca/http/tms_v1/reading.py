"""Requests as TMS clients send them: headers for credentials, a body wherever one is declared."""

from collections.abc import Mapping
from typing import Any

from aiohttp import hdrs, web
from marshmallow import Schema, ValidationError
from multidict import CIMultiDictProxy

from tms_ca.core.errors import Malformed
from tms_ca.http.body import parse, read
from tms_ca.http.tms_v1.answers import Refused

TENANT, CLIENT_ID, CLIENT_SECRET = "X-TMS-TENANT", "X-TMS-CLIENT-ID", "X-TMS-CLIENT-SECRET"
ADMIN_ID, ADMIN_SECRET = "X-TMS-ADMIN-ID", "X-TMS-ADMIN-SECRET"
_NUMBERS = frozenset({"id", "seqno"})  # parts of a path that are whole numbers


class NotReadable(Exception):
    """What the old server's framework refused, in plain text, before it looked at a credential."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


async def body_of(request: web.Request, schema: Schema) -> dict[str, Any]:
    """Return the members of the body.

    Raises:
        NotReadable: another media type, not JSON, or not of the shape

    """
    raw = await read(request)
    if hdrs.CONTENT_TYPE not in request.headers:
        raise NotReadable(415, "the client request does not include the `Content-Type` header")
    media = request.content_type
    if media != "application/json" and not (media.startswith("application/") and media.endswith("+json")):
        said = ascii(request.headers[hdrs.CONTENT_TYPE][:100])[1:-1]
        raise NotReadable(415, f"the `Content-Type` requested by the client is not supported: {said}")
    if hdrs.CONTENT_ENCODING in request.headers:
        raise NotReadable(415, "send the body as it is, without Content-Encoding")
    shape = f'(occurred while parsing "{type(schema).__name__}")'
    try:
        loaded: dict[str, Any] = schema.load(parse(raw))
    except Malformed as error:
        raise NotReadable(400, f"parse request payload error: {error.detail}") from error
    except ValidationError as error:
        name, text = _first(error)
        where = "" if name == "_schema" else f"{name}: "
        raise NotReadable(400, f"parse request payload error: {where}{text} {shape}") from error
    return loaded


def _first(error: ValidationError) -> tuple[str, str]:
    """Return the first member that is wrong, and why; none is named where the whole is no object."""
    messages = error.messages if isinstance(error.messages, dict) else {"_schema": error.messages}
    name, texts = next(iter(messages.items()))
    return str(name), str(texts[0] if isinstance(texts, list) else texts)


def path_of(parts: Mapping[str, str]) -> dict[str, Any]:
    """Return the parts of the path, numbers as numbers.

    Raises:
        NotReadable: a number that is none, or beyond 32 bits; a NUL, which no name has

    """
    found: dict[str, Any] = dict(parts)
    for name, text in parts.items():
        if "\0" in text:
            raise NotReadable(400, f"failed to parse path `{name}`: a NUL character")
    for name in _NUMBERS & found.keys():
        text = found[name]
        number = int(text) if text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 11 else 2**31
        if not -(2**31) <= number < 2**31:
            raise NotReadable(400, f"failed to parse path `{name}`: expected a 32-bit integer, got {text[:40]!r}")
        found[name] = number
    return found


def query_of(request: web.Request, schema: Schema) -> dict[str, Any]:
    """Return the query; where a name is there twice, the first counts.

    Raises:
        NotReadable: a value of the wrong kind

    """
    first = {name: request.query.getall(name)[0] for name in request.query}
    try:
        loaded: dict[str, Any] = schema.load(first)
    except ValidationError as error:
        name, text = _first(error)
        raise NotReadable(400, f"failed to parse parameter `{name}`: {text}") from error
    return loaded


def needed(headers: CIMultiDictProxy[str], name: str) -> str:
    """Return a header that must be there; it may be empty.

    Raises:
        Refused: absent, or not visible ASCII

    """
    value = headers.get(name)
    if value is None:
        raise Refused(400, f"Required '{name}' HTTP header not found", "header_missing")
    if not _visible(value):
        raise Refused(400, f"Invalid string assigned to header {name}: expected visible ASCII", "header_invalid")
    return value


def held(headers: CIMultiDictProxy[str], name: str) -> str:
    """Return a header of a credential; empty where it is of no use."""
    value = headers.get(name, "")
    return value if _visible(value) else ""


def _visible(value: str) -> bool:
    return all(" " <= character <= "~" for character in value)
