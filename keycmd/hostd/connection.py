"""One HTTP/1.1 connection to a service: a request, its whole answer, and the next one over the same connection."""

import asyncio
import time

from keycmd.service import MOST_HEAD_BYTES, ServiceError, read_head

_END = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """What asyncio calls; a byte that was not asked for ends it."""

    def __init__(self, loop):
        self._loop = loop
        self._transport = None
        self._received = bytearray()
        self._head = None
        self._most = 0
        self._waiter = None
        self.idle_since = 0.0
        self.waits_until = 0.0  # what is asked before is not read: a service without time said so, and until when
        self.usable = True

    def connection_made(self, transport):
        """Take the transport."""
        self._transport = transport

    def connection_lost(self, exc):
        """Tell whoever waits that nothing more comes."""
        self.usable = False
        if self._waiter is not None and not self._waiter.done():
            why = "the connection ended: %s" % exc if exc else "the connection ended before the answer did"
            self._waiter.set_exception(ServiceError(why))

    def data_received(self, data):
        """Collect an answer; say when it is whole."""
        if self._waiter is None or self._waiter.done():
            self.close()  # nothing was asked
            return
        self._received += data
        try:
            answer = self._whole()
        except ServiceError as error:
            self.close()
            self._waiter.set_exception(error)
            return
        if answer is not None:
            self._waiter.set_result(answer)

    def _whole(self):
        """Return (status, headers, body), or None while some of it is missing."""
        if self._head is None:
            head, end, rest = self._received.partition(_END)
            if not end:
                if len(self._received) > MOST_HEAD_BYTES:
                    raise ServiceError("the answer has no end of its head")
                return None
            self._head = read_head(bytes(head))
            self._received = rest
            if self._head[2] > self._most:
                raise ServiceError("the answer is larger than any true one: %d bytes" % self._head[2])
        status, headers, length = self._head
        if len(self._received) > length:
            raise ServiceError("the answer is not as long as it says")
        return None if len(self._received) < length else (status, headers, bytes(self._received))

    async def ask(self, request, most):
        """Send `request`; return (status, headers, body of up to `most` bytes).

        Raises:
            ServiceError: the answer is not one, or the connection ended
        """
        if not self.usable:  # it ended after it was chosen: nobody would say so again
            raise ServiceError("the connection ended before the question")
        self._received, self._head, self._most = bytearray(), None, most
        self._waiter = self._loop.create_future()
        try:
            self._transport.write(request)
            answer = await self._waiter
        except BaseException:
            self.close()  # also when the time is over: what comes later is the answer to this question
            raise
        finally:
            self._waiter, self._received = None, bytearray()
        if answer[1].get("connection", "").lower() != "keep-alive" and "connection" in answer[1]:
            self.close()
        self.idle_since = time.monotonic()
        after = answer[1].get("retry-after", "")
        if answer[0] == 503 and after.isdigit() and len(after) < 4:
            self.waits_until = self.idle_since + int(after)
        return answer

    def close(self):
        """End it at once."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()
