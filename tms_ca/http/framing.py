"""Where a connection's bytes stand between requests: only there may bytes be taken for a request unparsed.

The parser says what it found, and not how far it came. It is followed by the lengths that it found, for as long as
there is no doubt; after a doubt nothing is known of that connection any more.
"""

from collections.abc import Sequence

from aiohttp.http_parser import RawRequestMessage
from multidict import istr

_END = b"\r\n\r\n"
_CONTENT_LENGTH = istr("Content-Length")  # made once: a look-up by a plain word makes one
_MOST_BYTES = 128 * 1024  # of what was not yet found to be a request


class Framing:
    """Follows the parser of one connection."""

    __slots__ = ("_owed", "certain", "part")

    def __init__(self) -> None:
        self.certain = True
        self.part = b""  # what has come of requests that the parser has not told of
        self._owed = 0  # bytes of the last one's body that are still to come

    @property
    def between(self) -> bool:
        """Tell whether all that has come is whole requests, beyond doubt."""
        return self.certain and not self.part and not self._owed

    def took(self, data: bytes, messages: Sequence[object]) -> None:
        """Follow the parser, which took `data` and then told of `messages`."""
        if not self.certain:
            return
        body = min(self._owed, len(data))
        self._owed -= body
        part = self.part + data[body:]
        for message in messages:
            end = part.find(_END) + len(_END)
            plain = isinstance(message, RawRequestMessage) and not message.chunked and not message.upgrade
            if not plain or self._owed or end < len(_END) or not part.startswith(message.method.encode()):  # type: ignore[attr-defined] # it is one where `plain`
                self._doubt()
                return
            length = int(message.headers.get(_CONTENT_LENGTH, "0"))  # type: ignore[attr-defined] # as above
            self._owed = max(end + length - len(part), 0)
            part = part[end + length :]
        if len(part) > _MOST_BYTES:
            self._doubt()
            return
        self.part = part

    def _doubt(self) -> None:
        self.certain = False
        self.part = b""
