"""How a worker hands a group to the writer process: length, then one marshalled value, over a Unix socket.

Both ends are processes of one program, started by one supervisor from one release, and the socket lies in a directory
that only their user may enter: the cheapest encoding that Python has will do. It takes plain values only, so `plain`
undresses what a record may hold (an enum is a str to SQLite, and to nobody else).
"""

import marshal
import os
import struct
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

from tms_ca.core.model import Event
from tms_ca.core.record import fields_of

_LENGTH = struct.Struct("!I")
_MOST_PATH_BYTES = 100  # sun_path holds 108 with its closing NUL
event_fields = attrgetter(*fields_of(Event))
PLAIN = frozenset({str, int, bytes, type(None)})

SPOILED = "spoiled"  # the group breaks a rule of the schema; nothing of it was written
FAILED = "failed"  # the database did not take it


def pack(value: Any) -> bytes:
    """Return `value` as one message."""
    try:
        body = marshal.dumps(value)
    except ValueError:
        body = marshal.dumps(plain(value))
    return _LENGTH.pack(len(body)) + body


def plain(value: object) -> Any:
    """Return `value` with every str, int and container of a subclass as the type itself."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, dict):
        return {plain(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, bytes):
        return bytes(value)
    raise TypeError(f"{type(value).__name__} cannot be handed over; expected plain values")


class Unpacker:
    """Turns what a stream brings, in pieces, into messages."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[Any]:
        """Yield each message that is complete now."""
        buffer = self._buffer + data if self._buffer else data
        at = 0
        while len(buffer) - at >= _LENGTH.size:
            end = at + _LENGTH.size + _LENGTH.unpack_from(buffer, at)[0]
            if len(buffer) < end:
                break
            yield marshal.loads(memoryview(buffer)[at + _LENGTH.size : end])  # noqa: S302 - our own process wrote it
            at = end
        self._buffer = buffer[at:]


def reachable(path: Path) -> str:
    """Return an address of the socket `path` that is short enough, however deep the data directory lies."""
    if len(os.fsencode(path)) <= _MOST_PATH_BYTES:
        return str(path)
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)  # stays open: the address goes through it
    return f"/proc/self/fd/{directory}/{path.name}"
