"""What was asked before: paths, which the router finds by a regular expression for each endpoint, and whole heads.

A client sends the same head again and again; only the body is another. A head that was parsed, vetted and answered once
is recognised by its bytes, so that nothing but its body is left to be read.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from tms_ca.http.endpoint import Endpoint

MOST_PATHS = 4096
MOST_HEADS = 16_384  # some 8 MB when full
_MOST_CHARACTERS = 256
_END = b"\r\n\r\n"


class KnownPath(dict[str, str]):
    """What a path names; every name has been checked."""

    __slots__ = ("endpoint",)

    def __init__(self, endpoint: "Endpoint", names: dict[str, str]) -> None:
        super().__init__(names)
        self.endpoint = endpoint


class KnownPaths:
    """From the first line of a request to its endpoint; only paths that were answered once are there."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], KnownPath] = {}

    def find(self, method: str, raw_path: str) -> KnownPath | None:
        """Return what the path of a request names, or None where the router must say."""
        return self._known.get((method, raw_path))

    def learn(self, request: web.Request, endpoint: "Endpoint", names: "web.UrlMappingMatchInfo") -> None:
        """Remember what the router found."""
        if len(request.raw_path) <= _MOST_CHARACTERS:
            if len(self._known) >= MOST_PATHS:
                self._known.clear()
            self._known[request.method, request.raw_path] = KnownPath(endpoint, dict(names))


class Head:
    """What a head says that was answered; of its fields, only those that matter later."""

    __slots__ = ("body_bytes", "digest", "fields", "forwarded", "line", "method", "name", "path", "raw_path")

    def __init__(
        self,
        method: str,
        raw_path: str,
        path: KnownPath,
        credential: tuple[str | None, bytes],
        fields: Mapping[str, str],
    ) -> None:
        self.method = method
        self.raw_path = raw_path
        self.path = path
        self.name, self.digest = credential  # who is named, and the digest of the secret; whether it is good, is asked
        self.fields = fields
        self.forwarded: Sequence[str] = ()  # its X-Forwarded-For fields
        self.body_bytes = 0
        self.line: str | None = None  # what the log's lines about a yes have in common


class KnownHeads:
    """From the bytes of a head to what it says. Kept under their digest: they hold a secret."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def find(self, data: bytes) -> tuple[Head, bytes] | None:
        """Return the head and the body of one whole request, neither more nor less, whose head is known."""
        end = data.find(_END) + len(_END)
        if end < len(_END):
            return None
        known = self._known.get(hashlib.sha256(data[:end]).digest())
        return None if known is None or len(data) != end + known.body_bytes else (known, data[end:])

    def learn(self, data: bytes, head: Head, body: bytes) -> None:
        """Remember what the parser made of `data`, one whole request with the length of its `body` in its head."""
        end = len(data) - len(body)
        if data.find(_END) + len(_END) == end and data.endswith(body):
            if len(self._known) >= MOST_HEADS:
                self._known.clear()
            head.body_bytes = len(body)
            self._known[hashlib.sha256(data[:end]).digest()] = head
