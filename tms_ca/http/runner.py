"""aiohttp's server and runner, made to use our connections."""

from typing import cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from tms_ca.http import heads
from tms_ca.http.admission import Admission
from tms_ca.http.context import HANDLE
from tms_ca.http.direct import DIRECT, Direct
from tms_ca.http.guard import GUARD, Guard
from tms_ca.http.protocol import Connection
from tms_ca.http.refusals import Refusals


class Server(web.Server):
    """Makes the connections."""

    guard: Guard
    direct: Direct | None

    def __call__(self) -> RequestHandler:
        """Make a connection."""
        return self._make()

    def let_in(self) -> RequestHandler:
        """Make a connection of which the first request may go on, whatever else has come by then."""
        made = self._make()
        made.let_in = True
        return made

    def _make(self) -> Connection:
        return Connection(self, self.guard, self.direct, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """web.AppRunner, with our limits, and our answers to what is not HTTP."""

    __slots__ = ("guard",)

    @property
    def server(self) -> Server | None:
        """Return the server, once it is set up."""
        return cast("Server | None", self._server)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        handle = self.app.get(HANDLE, made.request_handler)
        limits = {
            "max_line_size": heads.MOST_LINE_BYTES, "max_field_size": heads.MOST_HEAD_BYTES,
            "max_headers": heads.MOST_FIELDS,
        }  # fmt: skip
        server = Server(handle, request_factory=made.request_factory, **made._kwargs | limits)  # type: ignore[arg-type] # noqa: SLF001 - no other way in
        server.guard = self.guard = self.app.get(GUARD) or Guard(Admission(), Refusals())
        server.direct = self.app.get(DIRECT)
        self.guard.start(server._connections)  # type: ignore[arg-type] # noqa: SLF001 - a copy for each look would be large
        return server

    async def cleanup(self) -> None:
        """Stop serving."""
        await super().cleanup()
        self.guard.stop()
