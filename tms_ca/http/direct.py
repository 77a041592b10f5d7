"""Answer where the bytes arrive: for requests whose answer is a plain yes that takes no waiting, or only its commit.

aiohttp runs each request in a task of its own, which costs more than a login check. What is here says yes only where
the endpoint itself would (Endpoint.run_at_once), and knows no other word: whatever is unusual, refused or in doubt is
left for the task.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from aiohttp import HttpVersion11, web
from aiohttp.http_parser import RawRequestMessage
from multidict import istr

from tms_ca.core.errors import TmsError
from tms_ca.http import problems
from tms_ca.http.answer import Answer
from tms_ca.http.endpoint import Ready
from tms_ca.http.known import Head, KnownHeads, KnownPaths
from tms_ca.http.later import Later
from tms_ca.http.middleware import Around, forwarded, new_request_id

# Made once: a look-up by a plain word makes one.
_EXPECT, _CONTENT_LENGTH = istr("Expect"), istr("Content-Length")
_ACCEPT = istr("Accept")

# What is sent for an answer that came later, and whether the connection goes on; None: the long way must be gone.
Send = Callable[[bytes | None, bool], None]


class Direct:
    """The short way."""

    def __init__(self, around: Around, known_paths: KnownPaths) -> None:
        self._around = around
        self._known_paths = known_paths
        self._known_heads = KnownHeads()
        self.find = self._known_heads.find

    def read(self, message: RawRequestMessage) -> Head | None:
        """Return what a head says that was parsed and vetted; None where it needs the long way."""
        path = self._known_paths.find(message.method, message.path)
        if path is None or path.endpoint.at_once is None:
            return None
        headers = message.headers
        if message.should_close or message.version != HttpVersion11 or _EXPECT in headers:
            return None
        try:
            credential = path.endpoint.credential_of(self._around.context, headers)
        except TmsError:
            return None  # the long way meets it again, and has the words for it
        if credential is None:
            return None
        fields: Mapping[str, str] = {"Accept": headers[_ACCEPT]} if _ACCEPT in headers else {}
        head = Head(message.method, message.path, path, credential, fields)
        head.forwarded = tuple(forwarded(headers))
        return head

    def learn(self, data: bytes, message: RawRequestMessage, head: Head, body: bytes) -> None:
        """Remember a head that was answered."""
        if message.headers.getall(_CONTENT_LENGTH, []) == [str(len(body))]:
            self._known_heads.learn(data, head, body)

    def answer(self, head: Head, body: bytes, peer: object, send: Send) -> bytes | Later | None:
        """Return a whole answer; or a Later, after which `send` is called with it; or None for the long way."""
        around = self._around
        if around.closing.is_set():
            return None
        asked = _Asked(head, time.perf_counter(), new_request_id(), around.address(peer, head.forwarded))
        try:
            answer = head.path.endpoint.run_at_once(around.context, head, body, asked.request_id, asked.address)
        except Exception:  # noqa: BLE001 - the long way meets it again, and has the words for it
            return None
        if type(answer) is Answer:
            return self._sent(asked, answer, keep_alive=True)
        if type(answer) is Later:
            around.context.metrics.in_flight.inc()
            answer.deliver = lambda result, error: self._deliver(asked, send, result, error)
            return answer
        return None

    def _deliver(self, asked: "_Asked", send: Send, result: Any, error: TmsError | None) -> None:
        """Send what has come later."""
        around = self._around
        around.context.metrics.in_flight.dec()
        keep_alive = not around.closing.is_set()
        if isinstance(result, Ready):
            answer = Answer(asked.head.path.endpoint.status, orjson.dumps(result.fields))
            send(self._sent(asked, answer, keep_alive=keep_alive), keep_alive)
        elif error is not None:
            response = problems.of_error(error, asked.request_id)
            fields = {name: response.headers[name] for name in ("Retry-After",) if name in response.headers}
            assert isinstance(response.body, bytes)
            answer = Answer(response.status, response.body, problems.MEDIA_TYPE, fields)
            send(self._sent(asked, answer, keep_alive=keep_alive, error=error), keep_alive)
        else:
            send(None, keep_alive)

    def _sent(self, asked: "_Asked", answer: Answer, *, keep_alive: bool, error: TmsError | None = None) -> bytes:
        """Return the bytes of `answer`; it is counted and logged."""
        around, head = self._around, asked.head
        around.head(answer, asked.request_id)
        sent = answer.render(keep_alive=keep_alive)
        if error is None:
            around.note_yes(head, answer.status, asked.begun, asked.request_id, asked.address)
        else:
            cause = repr(error.__cause__ or error) if answer.status >= 500 else ""
            around.note(
                head.method, head.raw_path, head.path.endpoint.name, answer.status, asked.begun, asked.request_id,
                asked.address, error.code, cause,
            )  # fmt: skip
        return sent


class _Asked:
    """What is noted about a request."""

    __slots__ = ("address", "begun", "head", "request_id")

    def __init__(self, head: Head, begun: float, request_id: str, address: str) -> None:
        self.head = head
        self.begun = begun
        self.request_id = request_id
        self.address = address


DIRECT = web.AppKey("direct", Direct)
