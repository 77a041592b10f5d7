"""aiohttp's server and runner, made to use our connections."""

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from tms_ca.http import heads
from tms_ca.http.admission import Admission
from tms_ca.http.context import HANDLE
from tms_ca.http.direct import DIRECT, Direct
from tms_ca.http.guard import GUARD, Guard
from tms_ca.http.protocol import Connection
from tms_ca.http.refusals import Refusals


class _Server(web.Server):
    guard: Guard
    direct: Direct | None

    def __call__(self) -> RequestHandler:
        return Connection(self, self.guard, self.direct, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """web.AppRunner, with our limits, and our answers to what is not HTTP."""

    __slots__ = ("guard",)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        handle = self.app.get(HANDLE, made.request_handler)
        limits = {
            "max_line_size": heads.MOST_LINE_BYTES, "max_field_size": heads.MOST_HEAD_BYTES,
            "max_headers": heads.MOST_FIELDS,
        }  # fmt: skip
        server = _Server(handle, request_factory=made.request_factory, **made._kwargs | limits)  # type: ignore[arg-type] # noqa: SLF001 - no other way in
        server.guard = self.guard = self.app.get(GUARD) or Guard(Admission(), Refusals())
        server.direct = self.app.get(DIRECT)
        self.guard.start(server._connections)  # type: ignore[arg-type] # noqa: SLF001 - a copy for each look would be large
        return server

    async def cleanup(self) -> None:
        """Stop serving."""
        await super().cleanup()
        self.guard.stop()
