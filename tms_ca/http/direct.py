"""Answer where the bytes arrive: for requests whose answer is a plain yes that takes no waiting, or only its commit.

aiohttp runs each request in a task of its own, which costs more than a login check. What is here says yes only where
the endpoint itself would (Endpoint.run_at_once), and knows no other word: whatever is unusual, refused or in doubt is
left for the task.
"""

import time
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import HttpVersion11, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from multidict import istr

from tms_ca.core.errors import TmsError
from tms_ca.http import problems
from tms_ca.http.answer import Answer
from tms_ca.http.endpoint import Asked, Endpoint, Ready
from tms_ca.http.known import KnownPaths
from tms_ca.http.later import Later
from tms_ca.http.middleware import Around, new_request_id

_EXPECT = istr("Expect")  # made once: a look-up by a plain word makes one

# What is sent for an answer that came later, and whether the connection goes on; None: the long way must be gone.
Send = Callable[[bytes | None, bool], None]


class Direct:
    """The short way."""

    def __init__(self, around: Around, known_paths: KnownPaths) -> None:
        self._around = around
        self._known_paths = known_paths

    def answer(
        self, message: RawRequestMessage, payload: StreamReader, peer: object, send: Send
    ) -> bytes | Later | None:
        """Return a whole answer; or a Later, after which `send` is called with it; or None for the long way.

        `payload` is there, and stays unread.
        """
        path = self._known_paths.find(message.method, message.path)
        if path is None or path.endpoint.at_once is None:
            return None
        around = self._around
        if message.should_close or message.version != HttpVersion11 or around.closing.is_set():
            return None
        begun = time.perf_counter()
        headers, request_id = message.headers, new_request_id()
        if _EXPECT in headers:
            return None  # 100 Continue goes first
        address = around.address(peer, headers)
        try:
            body = b"".join(payload._buffer)  # noqa: SLF001 - reading would leave nothing for the long way
            answer = path.endpoint.run_at_once(around.context, Asked(headers, body, request_id, address), path)
        except Exception:  # noqa: BLE001 - the long way meets it again, and has the words for it
            return None
        if answer is None:
            return None
        asked = _Asked(message.method, message.path, path.endpoint, begun, request_id, address)
        if isinstance(answer, Later):
            around.context.metrics.in_flight.inc()
            answer.deliver = lambda result, error: self._deliver(asked, send, result, error)
            return answer
        return self._sent(asked, answer, keep_alive=True)

    def _deliver(self, asked: "_Asked", send: Send, result: Any, error: TmsError | None) -> None:
        """Send what has come later."""
        around = self._around
        around.context.metrics.in_flight.dec()
        keep_alive = not around.closing.is_set()
        if isinstance(result, Ready):
            answer = Answer(asked.endpoint.status, orjson.dumps(result.fields))
            send(self._sent(asked, answer, keep_alive=keep_alive), keep_alive)
        elif error is not None:
            response = problems.of_error(error, asked.request_id)
            fields = {name: response.headers[name] for name in ("Retry-After",) if name in response.headers}
            assert isinstance(response.body, bytes)
            answer = Answer(response.status, response.body, problems.MEDIA_TYPE.encode(), fields)
            send(self._sent(asked, answer, keep_alive=keep_alive, error=error), keep_alive)
        else:
            send(None, keep_alive)

    def _sent(self, asked: "_Asked", answer: Answer, *, keep_alive: bool, error: TmsError | None = None) -> bytes:
        """Return the bytes of `answer`; it is counted and logged."""
        around = self._around
        around.head(answer, asked.request_id)
        sent = answer.render(keep_alive=keep_alive)
        code = "" if error is None else error.code
        cause = "" if error is None or answer.status < 500 else repr(error.__cause__ or error)
        around.note(
            asked.method, asked.path, asked.endpoint.name, answer.status, asked.begun, asked.request_id, asked.address,
            code, cause,
        )  # fmt: skip
        return sent


class _Asked:
    """What is noted about a request."""

    __slots__ = ("address", "begun", "endpoint", "method", "path", "request_id")

    def __init__(self, method: str, path: str, endpoint: Endpoint, begun: float, request_id: str, address: str) -> None:
        self.method = method
        self.path = path
        self.endpoint = endpoint
        self.begun = begun
        self.request_id = request_id
        self.address = address


DIRECT = web.AppKey("direct", Direct)
