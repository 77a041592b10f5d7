"""A connection that answers at once what it can (http.direct), before aiohttp's loop for it is woken.

Where an answer waits for its commit, nothing else is read from the connection: whatever comes behind is held back,
and the answers leave in the order of the requests.
"""

import time
from typing import Any

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler

from tms_ca.http import heads
from tms_ca.http.direct import Direct
from tms_ca.http.framing import Framing
from tms_ca.http.guard import Guard, Watch
from tms_ca.http.later import Later
from tms_ca.http.middleware import peer_address
from tms_ca.http.refusals import overloaded

_now = time.monotonic


class AtOnce(RequestHandler):
    """What Connection builds on."""

    __slots__ = (
        "_again",
        "_came_at",
        "_direct",
        "_finished",
        "_framing",
        "_guard",
        "_held",
        "_pending",
        "_queued",
        "_watch",
        "let_in",
    )

    def __init__(self, manager: web.Server, guard: Guard, direct: Direct | None, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._guard = guard
        self._direct = direct
        self._watch: Watch | None = None
        self._queued = 0  # requests that have arrived and have not begun
        self._came_at = 0.0
        self._pending: bytes | None = None  # what is answered when it is durable
        self._held = b""  # what came meanwhile
        self._framing = Framing()
        self._again = False  # what is parsed was let in once already
        self._finished = False  # the last answer that aiohttp gave is sent, and nothing has begun since
        self.let_in = False  # the first request was, at the door

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget it; a certificate that was waited for is on record all the same."""
        self._pending = None
        self._held = b""
        super().connection_lost(exc)

    def _read(self, data: bytes, *, at_once: bool) -> None:
        """Parse what came; Connection knows how."""
        raise NotImplementedError

    def _alone(self) -> bool:
        """Tell whether nothing is asked here, so that what is answered at once is answered in its turn.

        aiohttp's loop for the connection waits for the next request, or will: it looks one turn after its answer,
        and who asks again within a turn would never come back to being answered at once.
        """
        if self._direct is None or self._queued or self._messages:
            return False
        return self._finished or (self._waiter is not None and not self._waiter.done())

    def _hold(self, data: bytes) -> None:
        """Keep what came behind a request that waits for its commit; no more than this is read."""
        self._held += data
        self._pause_transport_reading()

    def read_again(self) -> None:
        """Go on reading."""
        if not (self._reading_paused or self._buffer_paused):
            self._resume_transport_reading()

    def _recognised(self, data: bytes) -> bool:
        """Answer one whole request without parsing it, if its head is known and the answer takes no waiting.

        Its bytes are a request only where the parser stands between two: else they belong to one that came in part.
        """
        if (
            not self._framing.between
            or self._watch is not None
            or self._force_close
            or self._close
            or self._direct is None
        ):
            return False
        found = None if self._paused else self._direct.find(data)
        return found is not None and self._answered(self._direct.answer(*found, self.peername, self._send_later), data)

    def _answered_at_once(self, data: bytes) -> bool:
        """Answer the one request that has come, if that takes no waiting; the next like it is recognised."""
        message, payload = self._messages[0]
        if type(message) is not RawRequestMessage or payload is EMPTY_PAYLOAD or not payload.is_eof():
            return False
        if self._watch is not None or self._upgraded or self._paused or self._direct is None:
            return False
        if message.upgrade or heads.vet(message, self._guard.allowed_hosts) is not None:
            return False
        head = self._direct.read(message)
        if head is None:
            return False
        body = b"".join(payload._buffer)  # noqa: SLF001 - reading would leave nothing for the long way
        if not self._answered(self._direct.answer(head, body, self.peername, self._send_later), data):
            return False
        self._direct.learn(data, message, head, body)
        self._again = False
        self._messages.clear()
        if self._parser is not None:
            self._parser.message_consumed()
        return True

    def _answered(self, answer: bytes | Later | None, data: bytes) -> bool:
        """Send what there is; False where nothing is said to `data` yet, and nothing will be."""
        if answer is None or self.transport is None:
            return False
        if type(answer) is bytes:
            self.transport.write(answer)
        else:
            self._pending = data
        self._live_on()
        admission = self._guard.admission
        if not admission.in_turn:
            self._loop.call_soon(self._guard.turned)
        admission.took(_now() - self._came_at)
        return True

    def _live_on(self) -> None:
        """Let an idle connection end at its time, as aiohttp's own loop does after each answer."""
        self._keepalive = True
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)

    def _send_later(self, data: bytes | None, keep_alive: bool) -> None:  # noqa: FBT001 - see direct.Send
        """Send an answer that has come, or go the long way after all; then go on with what came meanwhile."""
        pending = self._pending
        if pending is None or self.transport is None:
            return  # the connection is lost, the certificate is on record
        self._pending = None
        if data is None and (self._force_close or self._close):  # nothing more is parsed
            self.transport.write(self._guard.refusals.raw(overloaded(), peer_address(self.peername)))
            self.force_close()
            return
        if data is None:
            self._again = True
            self._read(pending, at_once=False)
        else:
            self.transport.write(data)
            if not keep_alive:
                self.force_close()
                return
            self._came_at = _now()
            self._live_on()
        if self._held:
            held, self._held = self._held, b""
            self.read_again()
            self.data_received(held)

    def close(self) -> None:
        """Take no more requests; what waits for its commit is answered first, and its answer is the last."""
        if self._pending is None:  # else aiohttp's loop for the connection stays, and whoever stops the service waits
            super().close()
