"""The answer of a hot endpoint: its head is put together once for each status and kind of body."""

from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time

Fields = Mapping[str, str] | None
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
_END, _LAST_END = "\r\n\r\n", "\r\nConnection: close\r\n\r\n"


class Answer(web.StreamResponse):
    """A whole answer, sent in one piece; aiohttp's own way of writing a head costs as much as a decision.

    `head` is the constant part of the answer's head, which http.middleware gives it; `fields` are few and end up
    behind it. Nothing else of StreamResponse is for use.
    """

    def __init__(
        self, status: int, body: bytes, media_type: str = JSON, fields: Mapping[str, str] | None = None
    ) -> None:
        # Without StreamResponse's own: nothing of what it prepares is needed here.
        self._status = status
        self._keep_alive: bool | None = None
        self._body_length = 0
        self.media_type = media_type
        self.content = body
        self.fields = fields
        self.head = ""

    @property
    def status(self) -> int:
        """Return the status."""
        return self._status

    def render(self, *, keep_alive: bool) -> bytes:
        """Return all of it, as it goes on the wire."""
        fields = "".join([field_line(*one) for one in self.fields.items()]) if self.fields else ""
        return (
            f"{status_line(self._status)}{self.head}Content-Type: {self.media_type}\r\nContent-Length: "
            f"{len(self.content)}\r\nDate: {rfc822_formatted_time()}{fields}{_END if keep_alive else _LAST_END}"
        ).encode() + self.content

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Send it."""
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive and request.version >= (1, 1)
        writer: AbstractStreamWriter = request.writer
        await writer.write(self.render(keep_alive=self._keep_alive))
        await writer.drain()  # who does not read its answers is not answered again: they would fill the memory
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: it is sent."""
        assert not data


def field_line(name: str, value: str) -> str:
    """Return a field of a head, with the end of the line before it.

    Raises:
        ValueError: a bug: the value would end the line and begin another

    """
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"{name} has a value that cannot stand in a head")
    return f"\r\n{name}: {value}"


@lru_cache(64)
def status_line(status: int) -> str:
    """Return the first line (RFC 9112 section 4)."""
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
