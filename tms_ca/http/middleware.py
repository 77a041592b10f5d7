"""What happens around every request: an id, the address, the log line, the metrics, problems and headers."""

import ipaddress
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware

from tms_ca.core.errors import TmsError
from tms_ca.http import problems
from tms_ca.http.context import ADDRESS, CONTEXT, REQUEST_ID
from tms_ca.http.endpoint import Endpoint
from tms_ca.observe import Log

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {
    # Answers of the API are never pages, so nothing may be loaded from or around them.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Server": "tms-ca",
}


def _client_address(request: web.Request, trusted: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> str:
    """Return the address of the client; X-Forwarded-For counts only as far as named proxies wrote it."""
    remote = request.remote or ""
    if not trusted:
        return remote
    forwarded = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
    for hop in [*reversed(forwarded), None]:
        try:
            address = ipaddress.ip_address(remote)
        except ValueError:
            return remote[:64]
        if hop is None or not any(address in network for network in trusted):
            return remote[:64]
        remote = hop
    return remote[:64]


def around(
    log: Log, trusted_proxies: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network], *, tls: bool
) -> Middleware:
    """Return the one middleware."""
    headers = dict(HEADERS)
    if tls:
        headers["Strict-Transport-Security"] = "max-age=31536000"

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        begun = time.perf_counter()
        metrics = request.config_dict[CONTEXT].metrics
        request_id = request[REQUEST_ID] = secrets.token_hex(6)
        address = request[ADDRESS] = _client_address(request, trusted_proxies)
        endpoint = getattr(request.match_info.handler, "__self__", None)
        name = endpoint.name if isinstance(endpoint, Endpoint) else "other"
        code, cause = "", ""
        metrics.in_flight.inc()
        try:
            response = await handler(request)
        except TmsError as error:
            code = error.code
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
        for header, value in headers.items():
            response.headers.setdefault(header, value)
        response.headers["X-Request-ID"] = request_id
        response.headers.setdefault("Cache-Control", "no-store")
        seconds = time.perf_counter() - begun
        metrics.answered(name, response.status, seconds)
        line: dict[str, object] = {
            "level": "error" if response.status >= 500 else "info",
            "at": round(time.time(), 3),
            "request_id": request_id,
            "method": request.method,
            "path": request.path,
            "endpoint": name,
            "status": response.status,
            "ms": round(seconds * 1000, 2),
            "address": address,
        }
        if code:
            line["code"] = code
        if cause:
            line["error"] = cause
        log.write(**line)
        return response

    return middleware


def _trace(error: Exception) -> str:
    import traceback

    return "".join(traceback.format_exception(error))[-1000:]
