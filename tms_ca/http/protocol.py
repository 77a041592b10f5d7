"""What is refused before it is a request: a problem like every other, without version, echo or traceback."""

import secrets

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from tms_ca.http import problems
from tms_ca.http.context import HANDLE
from tms_ca.http.middleware import HEADERS


class _Protocol(RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's signature; it repeats what was sent
    ) -> web.StreamResponse:
        request_id = secrets.token_hex(6)
        # Without the exception: its text is the line that was sent, and that may hold a credential.
        self.logger.info("%s: not HTTP (%s) from %s", request_id, type(exc).__name__, request.remote)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        response = problems.of_bug(request_id) if status == 500 else problems.of_http(web.HTTPBadRequest(), request_id)
        response.headers.update({**HEADERS, "X-Request-ID": request_id, "Cache-Control": "no-store"})
        response.force_close()
        return response


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """web.AppRunner, with our answers to what is not HTTP."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        handle = self.app.get(HANDLE, made.request_handler)
        return _Server(handle, request_factory=made.request_factory, **made._kwargs)  # type: ignore[arg-type] # noqa: SLF001 - no other way in
