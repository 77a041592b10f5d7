"""Answers that nobody takes: a connection ends when nothing of one has been taken for a while.

A rate would say too much: the other system takes an answer in pieces, whatever its program reads by. Where its buffer
is full it makes room known only when a good part is free again, which on one machine was up to 130 KB.
"""

import asyncio
import fcntl
import socket
import struct
import termios

WINDOW_SECONDS = 60.0
_RESET = struct.pack("ii", 1, 0)  # socket(7), SO_LINGER: what was not taken is forgotten, not kept for minutes


class Unsent:
    """An answer of which a part has not arrived, in this process or in the system's buffer for the connection."""

    __slots__ = ("_moved_at", "left", "transport")

    def __init__(self, transport: asyncio.Transport, now: float) -> None:
        self.transport = transport
        self.left = left(transport)
        self._moved_at = now

    def late(self, now: float) -> bool:
        """Tell whether nothing of it was taken for too long; to be asked every second or so."""
        before, self.left = self.left, left(self.transport)
        if self.left < before:
            self._moved_at = now
        return self.left > 0 and now - self._moved_at >= WINDOW_SECONDS

    def cut_off(self) -> None:
        """End the connection at once."""
        line = self.transport.get_extra_info("socket")
        if line is not None:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()


def left(transport: asyncio.Transport) -> int:
    """Return how many bytes the other side has not confirmed."""
    line = transport.get_extra_info("socket")
    if line is None:
        return transport.get_write_buffer_size()
    held = fcntl.ioctl(line.fileno(), termios.TIOCOUTQ, bytes(4))  # tcp(7), SIOCOUTQ
    return transport.get_write_buffer_size() + int(struct.unpack("i", held)[0])
