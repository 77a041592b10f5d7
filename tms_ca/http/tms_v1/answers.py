"""Answers as TMS clients read them: `result_code` and `result_msg` in each, members in alphabetical order."""

from collections.abc import Mapping
from datetime import UTC, datetime

import orjson
from aiohttp import web

from tms_ca.core.errors import NotFound, TmsError
from tms_ca.core.record import record
from tms_ca.core.times import LAST_SECOND
from tms_ca.http.problems import status_of

NOT_FOUND = "NOT_FOUND"


@record
class Said:
    """What a handler answers beside the status."""

    members: Mapping[str, object]
    message: str = "success"


class Refused(Exception):
    """No, in the words of the old server."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code  # for the log and the metrics; the wire has the status alone


def plain(status: int, text: str) -> web.Response:
    """Return what the old server's framework said before any handler ran."""
    return web.Response(status=status, text=text, content_type="text/plain", charset="utf-8")


def good(status: int, said: Said) -> web.Response:
    """Return a yes."""
    return _json(status, {**said.members, "result_code": "0", "result_msg": said.message})


def refused(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a no: two members."""
    return _json(status, {"result_code": str(status), "result_msg": message}, headers)


def of_error(error: TmsError) -> web.Response:
    """Return the no of a service."""
    message = NOT_FOUND if isinstance(error, NotFound) else f"ERROR: {error.detail}"
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return refused(status_of(error), message, headers)


def too_large(most: int, error: web.HTTPRequestEntityTooLarge) -> web.Response:
    """Return the answer to a body of more than `most` bytes."""
    return refused(413, f"ERROR: the body is longer than the {most} bytes that the service reads", error.headers)


def of_bug() -> web.Response:
    """Return the answer to an error that nobody expected: nothing of it leaves, the log has it."""
    return refused(500, "ERROR: the service failed; the operator finds the request by its X-Request-ID in the log")


def _json(status: int, members: Mapping[str, object], headers: Mapping[str, str] | None = None) -> web.Response:
    body = orjson.dumps(members, option=orjson.OPT_SORT_KEYS)
    response = web.Response(status=status, body=body, headers=headers)
    response.headers["Content-Type"] = "application/json; charset=utf-8"
    return response


def date(moment: int) -> str:
    """Return Unix seconds as the old server wrote a time: RFC 3339 with +00:00, never Z."""
    return datetime.fromtimestamp(min(moment, LAST_SECOND), UTC).isoformat()


def until(now: int, minutes: int) -> int:
    """Return the end, in Unix seconds, of so many minutes from `now`; a negative number never ends."""
    return LAST_SECOND if minutes < 0 else min(now + minutes * 60, LAST_SECOND)
