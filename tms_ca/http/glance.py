"""What is asked, at a glance: enough to refuse a request without having parsed it.

A client sends the same head again and again, so one that was looked at is recognised by its bytes.
"""

import hashlib
from collections.abc import Collection

from tms_ca.http import heads

WATCHED = frozenset({"healthz", "readyz", "metrics"})
MOST_HEADS = 8192
_END = b"\r\n\r\n"
_POSTED: Collection[tuple[bytes, str]] = (
    (b"/principals", "check_login"),
    (b"/keys", "login_keys"),
    (b"/certificates", "issue_certificate"),
)
_WATCHED_PATHS = frozenset(b"/" + name.encode() for name in WATCHED)


class Glance:
    """Remembers the heads of whole requests: under their digest, because they hold secrets."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[str, int]] = {}  # the endpoint, and how long the whole request is

    def endpoint(self, data: bytes) -> str | None:
        """Return what `data` asks for, where that is one whole request and nothing else; else None."""
        digest = hashlib.sha256(data[: data.find(_END) + len(_END)]).digest()
        known = self._known.get(digest)
        if known is not None and known[1] == len(data):
            return known[0]
        first_line = heads.whole(data)
        if first_line is None:
            return None
        if len(self._known) >= MOST_HEADS:
            self._known.clear()
        name = endpoint_of(first_line)
        self._known[digest] = name, len(data)
        return name


def endpoint_of(first_line: bytes) -> str:
    """Return the name of what the first line of a request asks for, as far as admission tells them apart."""
    method, _, rest = first_line.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if method == b"POST":
        for end, name in _POSTED:
            if path.endswith(end):
                return name
    elif method in {b"GET", b"HEAD"} and path in _WATCHED_PATHS:
        return path[1:].decode()
    return "other"
