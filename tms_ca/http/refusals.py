"""Answers that are given before there is a request: the same problems, as bytes; each is counted and logged."""

import asyncio
import functools
import time
from collections.abc import Callable
from http import HTTPStatus

import orjson
from aiohttp import web

from tms_ca.http import problems
from tms_ca.http.middleware import HEADERS, new_request_id
from tms_ca.observe import Log

STRICT_TRANSPORT = {"Strict-Transport-Security": "max-age=31536000"}
_ID = "@request-id@"


class Refusals:
    """Says no, in one place: what is answered, counted and written down about it.

    Once `closing` is set, every answer is the last on its connection.
    """

    def __init__(
        self,
        log: Log | None = None,
        count: Callable[[str, int, float], None] | None = None,
        closing: asyncio.Event | None = None,
        *,
        tls: bool = False,
    ) -> None:
        self.headers = {**HEADERS, **(STRICT_TRANSPORT if tls else {}), "Cache-Control": "no-store"}
        self._log = log
        self._count = count  # endpoint, status, seconds
        self._prepared: dict[tuple[int, str, bool], tuple[list[bytes], str]] = {}
        self._shed = 0
        self._closing = closing

    @property
    def closing(self) -> bool:
        """Tell whether whatever is said now is the last on its connection."""
        return self._closing is not None and self._closing.is_set()

    def answer(self, error: web.HTTPException, address: str) -> web.Response:
        """Return the last answer on a connection; it is counted and logged."""
        request_id = new_request_id()
        bug = error.status >= 500
        response = problems.of_bug(request_id) if bug else problems.of_http(error, request_id)
        response.headers.update({**self.headers, "X-Request-ID": request_id, "Connection": "close"})
        response.force_close()
        self.note(
            "internal" if bug else problems.code_of_http(error), address, status=response.status, request_id=request_id
        )
        return response

    def raw(self, error: web.HTTPException, address: str) -> bytes:
        """Return the last answer on a connection as bytes; it is counted and logged."""
        request_id = new_request_id()
        data, code = self._bytes(error, request_id, close=True)
        self.note(code, address, status=error.status, request_id=request_id)
        return data

    def shed(self, endpoint: str, retry_after: int, *, close: bool = False) -> bytes:
        """Return the answer to a request that there is no time for; it is counted, `summary` writes it down.

        `retry_after`: seconds. `close`: it is the last on its connection, whatever `closing` says.
        """
        self._shed += 1
        if self._count is not None:
            self._count(endpoint, HTTPStatus.SERVICE_UNAVAILABLE, 0.0)
        return self._bytes(overloaded(retry_after), new_request_id(), close=close or self.closing)[0]

    def shed_parsed(self, endpoint: str, retry_after: int, *, close: bool = False) -> web.Response:
        """Return the same answer to a request that has been parsed."""
        data = self.shed(endpoint, retry_after, close=close)
        head, _, body = data.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        response = web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, body=body, headers=fields)
        if close or self.closing:
            response.force_close()
        return response

    def note(self, code: str, address: str, *, status: int = 0, request_id: str = "") -> None:
        """Count and log what was refused; with status 0 nothing could be said any more."""
        if self._count is not None and status:
            self._count("refused", status, 0.0)
        if self._log is not None:
            line = {"level": "info", "at": round(time.time(), 3), "request_id": request_id or new_request_id()}
            said = {"status": status} if status else {}
            self._log.write(**line, endpoint="refused", **said, code=code, address=address)

    def summary(self, **crowd: int) -> None:
        """Log, in one line, what was shed since the last call, and `crowd`: how it stands now."""
        shed, self._shed = self._shed, 0
        if shed and self._log is not None:
            text = "overloaded: requests were answered 503"
            at = round(time.time(), 3)
            self._log.write(level="warning", at=at, message=text, code="overloaded", shed=shed, **crowd)

    def _bytes(self, error: web.HTTPException, request_id: str, *, close: bool) -> tuple[bytes, str]:
        asked = error.status, error.headers.get("Retry-After", ""), close
        prepared = self._prepared.get(asked)
        if prepared is None:
            prepared = self._prepared[asked] = self._prepare(error, close=close)
        return request_id.encode().join(prepared[0]), prepared[1]

    def _prepare(self, error: web.HTTPException, *, close: bool) -> tuple[list[bytes], str]:
        """Return what stands around the request's id, and the problem's code."""
        response = problems.of_http(error, _ID)
        body = response.body
        assert isinstance(body, bytes)
        length = len(body) - len(_ID) + len(new_request_id())
        fields = {**response.headers, **self.headers, "X-Request-ID": _ID, "Content-Length": str(length)}
        if close:
            fields["Connection"] = "close"
        lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        data = "\r\n".join([*lines, "", ""]).encode() + body
        return data.split(_ID.encode()), str(orjson.loads(body)["code"])


@functools.cache
def overloaded(retry_after: int = 1) -> web.HTTPException:
    """Return the refusal of what there is no time or room for; `retry_after` in seconds."""
    return web.HTTPServiceUnavailable(headers={"Retry-After": str(retry_after)})
