"""Answers that nobody takes: a connection ends when too little of one leaves, as it does for a body that drips in."""

import asyncio
import fcntl
import socket
import struct
import termios

WINDOW_SECONDS = 20.0
BYTES_A_SECOND = 100
_RESET = struct.pack("ii", 1, 0)  # socket(7), SO_LINGER: what was not taken is forgotten, not kept for minutes


class Unsent:
    """An answer of which a part has not arrived, in this process or in the system's buffer for the connection."""

    __slots__ = ("_marked_at", "left", "transport")

    def __init__(self, transport: asyncio.Transport, now: float) -> None:
        self.transport = transport
        self.left = left(transport)
        self._marked_at = now

    def late(self, now: float) -> bool:
        """Tell whether too little of it was taken since the last look that counted."""
        if now - self._marked_at < WINDOW_SECONDS:
            return False
        before, self.left = self.left, left(self.transport)
        slow = self.left > 0 and before - self.left < BYTES_A_SECOND * (now - self._marked_at)
        self._marked_at = now
        return slow

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
