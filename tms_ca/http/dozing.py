"""A connection that idles: what it lets go of after a while, and makes anew when it is asked again.

The task that waits for the next request holds all of the last, and the parser keeps the last head; both together are
more than half of what an idle connection weighs.
"""

from collections import deque
from typing import Any, cast

from aiohttp import web
from aiohttp.http_parser import HttpRequestParser
from aiohttp.web_protocol import RequestPayloadError, _MsgType

from tms_ca.http.at_once import AtOnce
from tms_ca.http.direct import Direct
from tms_ca.http.guard import Guard

# Requests that wait on one connection; beyond it none is read: all of them wait before everybody else's.
MOST_QUEUED = 4

_NONE = cast("deque[_MsgType]", ())  # nothing can be put there by mistake


class Dozing(AtOnce):
    """What Connection builds on."""

    __slots__ = ("_auto_decompress",)

    def __init__(self, manager: web.Server, guard: Guard, direct: Direct | None, **kwargs: Any) -> None:
        super().__init__(manager, guard, direct, **kwargs)
        self._auto_decompress: bool = kwargs.get("auto_decompress", True)
        self._max_msg_queue_size, self._msg_queue_resume_size = MOST_QUEUED, MOST_QUEUED // 2
        self._parser = None  # aiohttp's own lets 32 wait

    def idle_since(self) -> float | None:
        """Return since when nothing has been asked, None while something is."""
        if self._watch is not None or self._messages or self._pending is not None:
            return None
        idle = self._task_handler is None or (self._waiter is not None and not self._waiter.done())
        return self._came_at if idle else None

    def doze(self) -> None:
        """Let go of what waits for the next request; of the parser, where it is beyond doubt between two."""
        if self._waiter is not None:
            self._waiter.cancel()
        if self._keepalive_handle is not None:
            self._keepalive_handle.cancel()
            self._keepalive_handle = None
        self._task_handler = None
        self._finished = False
        if self._framing.between and not self._upgraded:
            self._parser = None
            self._messages = _NONE

    def close(self) -> None:
        """Take no more requests; who stops the service waits for each task, so what waits for its commit has one."""
        if self._pending is not None and self._task_handler is None:
            self._task_handler = self._loop.create_task(self.start())
        super().close()

    def _parse_again(self) -> None:
        """Have a parser for what comes."""
        self._messages = deque()
        self._parser = HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=RequestPayloadError,
            auto_decompress=self._auto_decompress,
            max_msg_queue_size=self._max_msg_queue_size,
        )
