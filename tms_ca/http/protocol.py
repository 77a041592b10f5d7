"""aiohttp's connection, with what it lacks: patience that ends, strict heads, and no for an answer when it is too much.

What is refused before it is a request is a problem like every other, without version, echo or traceback.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import _ErrInfo

from tms_ca.http import heads
from tms_ca.http.direct import Direct
from tms_ca.http.dozing import Dozing
from tms_ca.http.glance import endpoint_of
from tms_ca.http.guard import Guard, TurnedAway, Watch
from tms_ca.http.middleware import peer_address
from tms_ca.http.sent import ENDED, KEPT

_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_now = time.monotonic


class Connection(Dozing):
    """A connection that the guard watches."""

    __slots__ = ("_refused",)

    def __init__(self, manager: web.Server, guard: Guard, direct: Direct | None, **kwargs: Any) -> None:
        super().__init__(manager, guard, direct, **kwargs)
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or turn it away."""
        guard = self._guard
        if not guard.room():
            stream = cast("asyncio.Transport", transport)
            stream.set_protocol(TurnedAway(guard, stream))
            return
        guard.open += 1
        self._came_at = _now()
        self._watch = guard.watched[self] = Watch(self._came_at)
        guard.awake[self] = None
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget it."""
        guard = self._guard
        if self._manager is not None:
            guard.open -= 1
            guard.admission.lost(self._queued)
            self._queued = 0
        guard.awake.pop(self, None)
        guard.dozing.pop(self, None)
        guard.unsent.pop(self, None)
        self._unwatch()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Have it looked at whether what waits here is taken."""
        super().pause_writing()
        self._guard.look_whether_taken(self, _now())

    def resume_writing(self) -> None:
        """Look no more: it is taken."""
        super().resume_writing()
        self._guard.unsent.pop(self, None)

    def data_received(self, data: bytes) -> None:
        """Take bytes: shed, answer at once, or leave to the task."""
        if self._pending is not None:
            self._hold(data)
            return
        admission = self._guard.admission
        if admission.waiting + admission.in_turn >= admission.gate and self._shed(data):
            return
        if self._refused:
            return  # whatever follows what was refused is not looked at
        self._came_at = _now()
        alone = self._alone()
        if (alone or self._parser is None) and self._recognised(data):
            if not alone:
                self._stir()  # who dozes is answered without being woken
            return
        self._read(data, at_once=alone)

    def _read(self, data: bytes, *, at_once: bool) -> None:
        if self._parser is None and not self._force_close:
            self._parse_again()
        self.let_in, self._again = False, self._again or self.let_in
        before = self._request_count
        waiter = self._waiter
        if at_once:
            self._waiter = None  # aiohttp's loop for this connection is not woken for what is answered here
        super().data_received(data)
        new = self._request_count - before
        framing = self._framing
        framing.took(data, [message for message, _ in list(self._messages)[-new:]] if new else ())
        if at_once:
            self._waiter = waiter
            if new:
                if new == 1 and framing.between and len(data) < heads.MOST_HEAD_BYTES and self._answered_at_once(data):
                    return
                if waiter is not None:
                    waiter.set_result(None)
        if new:
            if self._task_handler is None:
                self._wake()
            self._queued += new
            self._guard.admission.came(new)
            message, payload = self._messages[-1]
            whole = self._watch is None and new == 1 and len(data) < heads.MOST_HEAD_BYTES
            if whole and not isinstance(message, _ErrInfo):
                refused = heads.vet(message, self._guard.allowed_hosts)
                if refused is not None:
                    self._refuse(0, refused)
                else:
                    if message.upgrade:
                        self._end_with(message, payload)
                    if payload is not EMPTY_PAYLOAD and not payload.is_eof():
                        self._watch_for(Watch(self._came_at, payload))
            else:
                self._look_closely(new, data)
            if framing.part and self._watch is None and not self._refused:
                self._partial(len(framing.part))
        elif data:
            self._partial(len(data))

    def _look_closely(self, new: int, data: bytes) -> None:
        """Check what came not in one piece, or not alone."""
        long = len(data) + (0 if self._watch is None else self._watch.bytes) >= heads.MOST_HEAD_BYTES
        self._unwatch()
        for place in range(-new, 0):
            message, _ = self._messages[place]
            if isinstance(message, _ErrInfo):
                refused: web.HTTPException | None = heads.of_parser(message.exc, data)
            elif long and heads.length(message) > heads.MOST_HEAD_BYTES:
                refused = heads.too_large()
            else:
                refused = heads.vet(message, self._guard.allowed_hosts)
            if refused is not None:
                self._refuse(-place - 1, refused)
                return
        message, payload = self._messages[-1]
        if isinstance(message, RawRequestMessage) and message.upgrade:
            self._end_with(message, payload)
        if not payload.is_eof():
            self._watch_for(Watch(self._came_at, payload))

    def _partial(self, size: int) -> None:
        """Take note of bytes that did not complete a head."""
        watch = self._watch
        if watch is None:
            if not (self._close or self._force_close or self._upgraded):
                watch = Watch(self._came_at)
                watch.bytes = size
                self._watch_for(watch)
        elif watch.payload is None:
            watch.bytes += size
            if watch.bytes > 2 * heads.MOST_HEAD_BYTES:  # the parser counts each field, and not all of them together
                self.end(heads.too_large())
        elif watch.payload.is_eof():
            self._unwatch()

    def _end_with(self, message: RawRequestMessage, payload: StreamReader) -> None:
        """Look at nothing that comes behind the message that came last, and its body."""
        self._refused = payload.is_eof()  # else the rest of its body is waited for
        self._messages[-1] = heads.last(message), payload

    def _refuse(self, behind: int, answer: web.HTTPException) -> None:
        """Answer the message that has so many behind it in its turn; those behind it are no requests."""
        self._refused = True
        for _ in range(behind):
            self._messages.pop()
        self._messages[-1] = _ErrInfo(400, heads.Refused(answer), ""), EMPTY_PAYLOAD
        self._unwatch()

    def _shed(self, data: bytes) -> bool:
        """Say that there is no time, if it is so, and if it can be said without having parsed `data`."""
        guard, watch = self._guard, self._watch
        if self.let_in or self._paused:
            return False
        if self._queued or self._request_in_progress or self._refused or self._close or self.transport is None:
            return False  # it would be said out of turn, or to nobody
        if not self._framing.between or (watch is not None and (watch.bytes or watch.payload is not None)):
            return False  # it may belong to a request that came in part
        admission, came_at = guard.admission, _now()
        if (endpoint := admission.asked(data)) is None or admission.admit(endpoint):
            return False
        self._came_at = came_at
        self._unwatch()
        self._stir()  # who is refused is not idle
        self._live_on()
        self.transport.write(guard.refusals.shed(endpoint, admission.retry_after))
        if guard.refusals.closing:
            self.force_close()
        elif not admission.refused(_now() - came_at) and not guard.shared(self.peername):
            self._pause_transport_reading()
            guard.held_back.add(self, admission.retry_after)
        return True

    async def _handle_request(
        self, request: web.BaseRequest, start_time: float | None, request_handler: _Handler
    ) -> tuple[web.StreamResponse, bool]:
        self._finished = False
        if self._queued:
            self._queued -= 1
            admission = self._guard.admission
            admission.begun()
            again, self._again = self._again, False
            if admission.waiting >= admission.gate and request_handler is self._request_handler and not again:
                request_handler = self._second_thought(request, request_handler)
        if self._parser is not None and not (self._messages or self._refused or self._reading_paused):
            # The parser stops after so many messages, and miscounts one whose body came after its turn had begun.
            self._read(b"", at_once=False)
        response, reset = await super()._handle_request(request, start_time, request_handler)
        # aiohttp keeps what is returned here until the next request comes, and asks it only this.
        if response.keep_alive:
            self._finished = not reset and request.content.is_eof()
            return KEPT, reset
        self._refused = request.content.is_eof()  # the rest of a body still comes: aiohttp waits for it, then closes
        return ENDED, reset

    def _second_thought(self, request: web.BaseRequest, handler: _Handler) -> _Handler:
        """Return what says that there is no time, where that could not be said before, else `handler`."""
        endpoint = endpoint_of(f"{request.method} {request.raw_path}".encode(errors="replace"))
        admission = self._guard.admission
        if admission.admit(endpoint):
            return handler

        async def say(_: web.BaseRequest) -> web.StreamResponse:
            # As long as an answer takes: where that is too long, whoever asks in this way goes, and those behind it go.
            close = not admission.refused(admission.seconds_each) or bool(self._messages)
            return self._guard.refusals.shed_parsed(endpoint, admission.retry_after, close=close)

        return say

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's signature; it repeats what was sent
    ) -> web.StreamResponse:
        """Return the answer to what is not HTTP, and to a bug."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        # Without the exception's text: it is the line that was sent, and that may hold a credential.
        error = web.HTTPInternalServerError() if status == 500 else heads.of_parser(exc, b"")
        return self._guard.refusals.answer(error, request.remote or "")

    def _stir(self) -> None:
        self._guard.dozing.pop(self, None)
        if not self._paused:  # else what waits here is looked at until it is taken
            self._guard.unsent.pop(self, None)
        self._guard.awake[self] = None

    def _wake(self) -> None:
        self._stir()
        self._task_handler = self._loop.create_task(self.start())

    def end(self, error: web.HTTPException | None) -> None:
        """Close the connection, saying `error` if something came and nothing else is being said."""
        if self._request_in_progress or self._messages or self._pending is not None:
            return  # it is looked at again
        said = self._watch is not None and self._watch.bytes > 0
        if error is not None and self.transport is not None:
            refusals, address = self._guard.refusals, peer_address(self.peername)
            if said:
                self.transport.write(refusals.raw(error, address))
            else:
                refusals.note("silent", address)
        self._unwatch()
        self.force_close()

    def fail_body(self, payload: StreamReader, error: web.HTTPException) -> bool:
        """Tell the handler that the rest of the body will not come; False where nobody waits for it."""
        if not self._request_in_progress:
            return False  # it is answered already, and aiohttp gives the rest ten seconds
        self._watch = None
        self._lingering_time = 0.0
        if self._current_request is not None:
            message = self._current_request._message  # noqa: SLF001 - what the answer's Connection field goes by
            self._current_request._message = message._replace(should_close=True)  # noqa: SLF001
        payload.set_exception(error)
        return True

    def _watch_for(self, watch: Watch) -> None:
        self._watch = self._guard.watched[self] = watch

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch = None
            self._guard.watched.pop(self, None)
