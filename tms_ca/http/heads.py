"""The head of a request: what this service refuses of what the parser takes, and what the parser's refusals mean."""

import re
from collections.abc import Collection

from aiohttp import hdrs, web
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from multidict import istr
from yarl import URL

MOST_HEAD_BYTES = 16 * 1024
MOST_FIELDS = 100
MOST_LINE_BYTES = 8190  # the first line's target; what proxies in front take by default
METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")  # what some path of the service takes

# Made once: a look-up by str would make one each time.
_AUTHORIZATION, _EXPECT = istr("Authorization"), istr("Expect")
_A_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32} ")  # RFC 9110 section 9.1
_PLAIN_FIELDS = (
    rb"(?:(?!content-length|transfer-encoding|expect|connection: (?!keep-alive)|upgrade)"
    rb"[A-Za-z0-9-]+: [\x20-\x7e]*\r\n)*"
)
# One whole request in one piece, beyond doubt: only such a one is answered without having been parsed. No possessive
# groups: before Python 3.11.5 they do not match what they should.
WHOLE = re.compile(
    rb"((?:GET|POST) /[\x21-\x7e]* HTTP/1\.1\r\n)"
    + _PLAIN_FIELDS
    + rb"(?:content-length: ([0-9]{1,5})\r\n"
    + _PLAIN_FIELDS
    + rb")?\r\n",
    re.IGNORECASE,
)
_FIELD_OVERHEAD = len(": \r\n")


def whole(data: bytes) -> bytes | None:
    """Return the first line of `data`, where that is one whole request and nothing else; else None."""
    found = WHOLE.match(data)
    return found[1] if found is not None and found.end() + int(found[2] or 0) == len(data) else None


class Refused(Exception):
    """A head that is not taken; `answer` says why."""

    def __init__(self, answer: web.HTTPException) -> None:
        super().__init__(type(answer).__name__)
        self.answer = answer


def vet(message: RawRequestMessage, allowed_hosts: Collection[str]) -> web.HTTPException | None:
    """Return why a head that was parsed is refused, None for a good one; `allowed_hosts` empty allows any."""
    headers = message.headers
    if len(headers.getall(_AUTHORIZATION, ())) > 1:
        return web.HTTPBadRequest()  # two readers could each take another one
    if _EXPECT in headers and [value.lower() for value in headers.getall(_EXPECT)] != ["100-continue"]:
        return web.HTTPExpectationFailed()
    if message.chunked and headers[hdrs.TRANSFER_ENCODING].lower() != "chunked":
        return web.HTTPBadRequest()  # "gzip, chunked" is lawful; nothing here unpacks it
    if message.upgrade and message.method == hdrs.METH_CONNECT:
        return not_allowed(message.method)
    if allowed_hosts and not _named(message, allowed_hosts):
        return web.HTTPMisdirectedRequest()
    return None


def last(message: RawRequestMessage) -> RawRequestMessage:
    """Return a message that asked for another protocol as the last of its connection.

    Nothing here speaks another protocol, and the parser takes whatever comes behind for it: another reader, who does
    not, would see requests there.
    """
    return message._replace(should_close=True)


def not_allowed(method: str) -> web.HTTPException:
    """Return the refusal of a method that no path takes."""
    return web.HTTPMethodNotAllowed(method, METHODS)


def length(message: RawRequestMessage) -> int:
    """Return about how many bytes the head had."""
    fields = sum(len(name) + len(value) + _FIELD_OVERHEAD for name, value in message.raw_headers)
    return len(message.method) + len(message.path) + fields


def of_parser(error: BaseException | None, data: bytes) -> web.HTTPException:
    """Return what the parser's `error` at `data` is answered with."""
    if isinstance(error, Refused):
        return error.answer
    if isinstance(error, LineTooLong):
        # The parser says which limit, not of what: the first line's differs from a field's.
        return web.HTTPRequestURITooLong() if MOST_LINE_BYTES in error.args else too_large()
    if isinstance(error, BadHttpMethod) and _A_METHOD.match(data):
        return not_allowed("")
    if "Too many headers" in str(error):
        return too_large()
    return web.HTTPBadRequest()


def too_large() -> web.HTTPException:
    """Return the refusal of a head that is too large."""
    return web.HTTPRequestHeaderFieldsTooLarge()


def _named(message: RawRequestMessage, allowed: Collection[str]) -> bool:
    hosts = [message.headers.get(hdrs.HOST, "")]
    if not message.path.startswith("/"):
        hosts.append(message.url.authority)  # RFC 9112 section 3.2.2: it goes before the Host field
    return all(_name(host) in allowed for host in hosts)


def _name(host: str) -> str:
    """Return the name without its port, in small letters; "" when it is none."""
    try:
        url = URL.build(scheme="http", authority=host)
    except ValueError:
        return ""
    name = "" if url.user is not None else (url.raw_host or "").lower()
    return f"[{name}]" if ":" in name else name
