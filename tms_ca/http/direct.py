"""Answer where the bytes arrive: for requests whose answer is a plain yes that takes no waiting.

aiohttp runs each request in a task of its own, which costs more than a login check. What is here says yes only where
the endpoint itself would (Endpoint.run_at_once), and knows no other word: whatever is unusual, refused or in doubt is
left for the task.
"""

import time

from aiohttp import HttpVersion11, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from multidict import istr

from tms_ca.http.endpoint import Asked
from tms_ca.http.known import KnownPaths
from tms_ca.http.middleware import Around, new_request_id

_EXPECT = istr("Expect")  # made once: a look-up by a plain word makes one


class Direct:
    """The short way."""

    def __init__(self, around: Around, known_paths: KnownPaths) -> None:
        self._around = around
        self._known_paths = known_paths

    def answer(self, message: RawRequestMessage, payload: StreamReader, peer: object) -> bytes | None:
        """Return a whole answer, or None where the long way must be gone; `payload` is there and stays unread."""
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
        around.head(answer, request_id)
        sent = answer.render(keep_alive=True)
        around.note(message.method, message.path, path.endpoint.name, answer.status, begun, request_id, address)
        return sent


DIRECT = web.AppKey("direct", Direct)
