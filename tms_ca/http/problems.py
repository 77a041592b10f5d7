"""Errors as application/problem+json (RFC 9457): the only place that gives an error its status."""

from collections.abc import Mapping

import orjson
from aiohttp import web

from tms_ca.core import errors

MEDIA_TYPE = "application/problem+json"

STATUS: Mapping[type[errors.TmsError], int] = {
    errors.Malformed: 400,
    errors.Invalid: 400,
    errors.Unauthenticated: 401,
    errors.Denied: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.TooMany: 429,
    errors.Unavailable: 503,
}

_TITLE: Mapping[int, str] = {
    400: "The request is not acceptable",
    401: "A good credential is needed",
    403: "Not allowed",
    404: "Not found",
    405: "The method is not allowed here",
    408: "The request took too long",
    409: "The present state does not allow this",
    413: "The request is too large",
    414: "The address is too long",
    415: "Send application/json",
    417: "The expectation is not known",
    421: "The request is for another host",
    429: "Too many tries",
    431: "The head is too large",
    500: "Something is wrong in the service",
    503: "The service cannot answer now",
}

# What aiohttp itself refuses, before any code of ours.
_OWN_CODES: Mapping[int, tuple[str, str]] = {
    400: ("not_http", "this is not an HTTP request, or one that two readers could read differently"),
    404: ("no_such_path", "there is nothing at this path; /openapi.json lists what there is"),
    405: ("method_not_allowed", "this path does not take this method; the Allow header lists those it takes"),
    408: ("too_slow", "the request came too slowly: expected its head within 15 s, its body within 60 s"),
    413: ("body_too_large", "the body is larger than the service reads"),
    414: ("address_too_long", "the address is longer than the 8 KiB that the service reads"),
    417: ("expectation_unknown", "the only expectation that the service knows is 100-continue"),
    421: ("host_not_allowed", "the service does not answer under this name; listen.allowed_hosts lists those it has"),
    431: ("head_too_large", "the head is larger than 16 KiB, or has more than 100 fields"),
    503: ("overloaded", "more is asked than the service can answer now; try again after the seconds of Retry-After"),
}
_ANY_OTHER = ("refused", "the service does not take this request")


def status_of(error: errors.TmsError) -> int:
    """Return the status of `error`; kinds derive theirs."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return 500


def _response(
    status: int, code: str, detail: str, members: Mapping[str, object], headers: Mapping[str, str]
) -> web.Response:
    title = _TITLE.get(status, "The request was refused")
    body = {"type": f"urn:tms:problem:{code}", "title": title, "status": status, "code": code, "detail": detail}
    return web.Response(
        status=status, body=orjson.dumps({**body, **members}), content_type=MEDIA_TYPE, headers=dict(headers)
    )


def of_error(error: errors.TmsError, request_id: str) -> web.Response:
    """Return the answer to an error of ours."""
    status = status_of(error)
    headers: dict[str, str] = {}
    members: dict[str, object] = {"request_id": request_id, **error.extra}
    if error.fields:
        members["fields"] = error.fields
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if status == 401:  # RFC 9110 section 11.6.1
        headers["WWW-Authenticate"] = 'Basic realm="tms-ca", charset="UTF-8", Bearer realm="tms-ca"'
    return _response(status, error.code, error.detail, members, headers)


def code_of_http(error: web.HTTPException) -> str:
    """Return the code that `of_http` gives."""
    return _OWN_CODES.get(error.status, _ANY_OTHER)[0]


def of_http(error: web.HTTPException, request_id: str) -> web.Response:
    """Return the answer to what was refused before any handler."""
    code, detail = _OWN_CODES.get(error.status, _ANY_OTHER)
    headers = {name: error.headers[name] for name in ("Allow", "Retry-After") if name in error.headers}
    return _response(error.status, code, detail, {"request_id": request_id}, headers)


def of_bug(request_id: str) -> web.Response:
    """Return the answer to an error that nobody expected: nothing of it leaves, the log has it."""
    detail = "the service failed; nothing more is known here, the operator finds the request_id in the log"
    return _response(500, "internal", detail, {"request_id": request_id}, {})
