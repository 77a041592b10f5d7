"""What happens around every request: an id, the address, the log line, the metrics, problems and headers."""

import asyncio
import ipaddress
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware
from multidict import CIMultiDictProxy, istr

from tms_ca.core.errors import TmsError
from tms_ca.http import problems
from tms_ca.http.answer import Answer
from tms_ca.http.context import ADDRESS, CAUSE, CONTEXT, KNOWN_PATHS, PROBLEM, REQUEST_ID, Context
from tms_ca.http.endpoint import Endpoint
from tms_ca.http.known import Head
from tms_ca.http.tms_v1.declare import V1Endpoint
from tms_ca.observe import Log, json_line

_FORWARDED = istr("X-Forwarded-For")  # made once: a look-up by a plain word makes one
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {
    # Answers of the API are never pages, so nothing may be loaded from or around them.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Server": "tms-ca",
}


def peer_address(peer: object) -> str:
    """Return the address in the name of a connection's other end; "" where it has none."""
    return str(peer[0]) if isinstance(peer, tuple) else ""


def is_within(text: str, networks: "Networks") -> bool:
    """Tell whether `text` is an address in one of `networks`."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return any(address in network for network in networks)


def _client_address(remote: str, fields: Sequence[str], trusted: "Networks") -> str:
    """Return the address of the client; X-Forwarded-For counts only as far as named proxies wrote it.

    A proxy may add a field of its own behind those of the client: they are one list (RFC 9110 section 5.3).
    """
    forwarded = [part.strip() for part in ",".join(fields).split(",") if part.strip()]
    for hop in [*reversed(forwarded), None]:
        if hop is None or not is_within(remote, trusted):
            return remote[:64]
        remote = hop
    return remote[:64]


def forwarded(headers: CIMultiDictProxy[str]) -> Sequence[str]:
    """Return the X-Forwarded-For fields of a head."""
    return headers.getall(_FORWARDED, ())


Serve = Callable[[web.Request, str, Callable[[], Awaitable[web.StreamResponse]]], Awaitable[web.StreamResponse]]
Networks = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]


class Around:
    """What happens around every request. Once `closing` is set, every answer is the last on its connection."""

    def __init__(
        self, context: Context, log: Log, trusted_proxies: Networks, closing: asyncio.Event, *, tls: bool
    ) -> None:
        self.context = context
        self.closing = closing
        self._log = log
        self._trusted = trusted_proxies
        self._headers = HEADERS | ({"Strict-Transport-Security": "max-age=31536000"} if tls else {})
        constant = {**self._headers, "Cache-Control": "no-store"}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in constant.items()) + "X-Request-ID: "

    def address(self, peer: object, forwarded: Sequence[str]) -> str:
        """Return the address of the client behind the connection's `peer`; `forwarded`: its X-Forwarded-For fields."""
        remote = peer_address(peer)
        return _client_address(remote, forwarded, self._trusted) if self._trusted else remote

    async def serve(
        self, request: web.Request, name: str, answer: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Run `answer` for a request to the endpoint `name`."""
        metrics = self.context.metrics
        begun = time.perf_counter()
        request_id = request[REQUEST_ID] = new_request_id()
        address = request[ADDRESS] = self.address(request._transport_peername, forwarded(request.headers))  # noqa: SLF001 - what request.remote finds by a longer way
        code, cause, alarm = "", "", ""
        metrics.in_flight.inc()
        try:
            response = await answer()
            code, cause = request.get(PROBLEM, ""), request.get(CAUSE, "")
        except TmsError as error:
            code, alarm = error.code, error.alarm
            response = problems.of_error(error, request_id)
            if response.status >= 500:
                cause = repr(error.__cause__ or error)
        except web.HTTPException as error:
            response = problems.of_http(error, request_id)
        except Exception as error:  # noqa: BLE001 - the outermost wrapper: the log gets all of it, the caller none
            code, cause = "internal", _trace(error)
            response = problems.of_bug(request_id)
        finally:
            metrics.in_flight.dec()
        if isinstance(response, Answer):
            self.head(response, request_id)
        else:
            for header, value in self._headers.items():
                response.headers.setdefault(header, value)
            response.headers["X-Request-ID"] = request_id
            response.headers.setdefault("Cache-Control", "no-store")
        if self.closing.is_set():
            response.force_close()
        self.note(request.method, request.path, name, response.status, begun, request_id, address, code, cause,
                  alarm)  # fmt: skip
        return response

    def head(self, answer: Answer, request_id: str) -> None:
        """Give `answer` the constant part of its head."""
        answer.head = f"{self._head}{request_id}\r\n"

    def note_yes(self, head: Head, status: int, begun: float, request_id: str, address: str) -> None:
        """Do the same as `note` for a plain yes; what its line has in common with the last of its kind is kept."""
        if self._trusted:  # a proxy wrote the address, and it may be anything
            self.note(head.method, head.raw_path, head.path.endpoint.name, status, begun, request_id, address)
            return
        seconds = time.perf_counter() - begun
        name = head.path.endpoint.name
        self.context.metrics.answered(name, status, seconds)
        if head.line is None:
            known = {"method": head.method, "path": head.raw_path, "endpoint": name, "status": status}
            head.line = json_line(known).decode()[1:-2]
        self._log.add(
            f'{{"level":"info","at":{time.time():.3f},"request_id":"{request_id}",{head.line},"ms":{seconds * 1e3:.2f},'
            f'"address":"{address}"}}\n'.encode()
        )

    def note(
        self,
        method: str,
        path: str,
        name: str,
        status: int,
        begun: float,
        request_id: str,
        address: str,
        code: str = "",
        cause: str = "",
        alarm: str = "",
    ) -> None:
        """Count and log a request that was answered; `begun` is of time.perf_counter()."""
        metrics = self.context.metrics
        seconds = time.perf_counter() - begun
        metrics.answered(name, status, seconds)
        line: dict[str, object] = {
            "level": "error" if status >= 500 or alarm else "info",
            "at": int(time.time() * 1000) / 1000,
            "request_id": request_id,
            "method": method,
            "path": path,
            "endpoint": name,
            "status": status,
            "ms": int(seconds * 100_000) / 100,
            "address": address,
        }
        if code:
            line["code"] = code
            metrics.problem(code)
        if cause:
            line["error"] = cause
        if alarm:
            line["alarm"] = alarm
        self._log.write(**line)


def middleware(serve: Serve) -> Middleware:
    """Return aiohttp's middleware: `serve` around whatever the router found."""

    @web.middleware
    async def run(request: web.Request, handler: Handler) -> web.StreamResponse:
        endpoint = getattr(request.match_info.handler, "__self__", None)
        name = endpoint.name if isinstance(endpoint, Endpoint | V1Endpoint) else "other"
        return await serve(request, name, lambda: handler(request))

    return run


def shortcut(app: web.Application, serve: Serve) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return the way around aiohttp's router for paths that are known; all others go through it."""
    context, known_paths = app[CONTEXT], app[KNOWN_PATHS]

    async def handle(request: web.Request) -> web.StreamResponse:
        path = known_paths.find(request.method, request.raw_path)
        if path is None or "Expect" in request.headers:
            return await app._handle(request)  # noqa: SLF001 - what aiohttp's own server would call
        return await serve(request, path.endpoint.name, lambda: path.endpoint.run(context, request, path))

    return handle


def _drawn_ids(end: int = 1 << 24) -> Iterator[str]:
    while True:
        drawn = secrets.token_hex(4)[:7]
        for count in range(secrets.randbelow(end >> 8), end):
            yield f"{drawn}{count:06x}"


_ids = _drawn_ids()


def new_request_id() -> str:
    """Return thirteen hexadecimal digits; a key ID, of 128 characters, has no room for more beside the longest names.

    Seven are drawn, by each process and again after 16.7 million requests; the others count.
    """
    return next(_ids)


def _trace(error: Exception) -> str:
    import traceback

    return "".join(traceback.format_exception(error))[-1000:]
