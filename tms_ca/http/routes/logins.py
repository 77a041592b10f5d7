"""Real logins: told by hosts, read by those whom they concern."""

from typing import Any

from schemas.logins import (
    EndingsShape,
    LoginEnd,
    LoginOpen,
    LoginOpenedShape,
    LoginQuery,
    LoginRecordShape,
    SessionReport,
)
from tms_ca.core.access import Action
from tms_ca.core.errors import Denied
from tms_ca.http.cursors import decode_cursor
from tms_ca.http.endpoint import Call, Page, endpoint
from tms_ca.http.routes.certificates import own_column
from tms_ca.http.routes.enrolment import own_host
from tms_ca.services.keylogins import OpenedByKey
from tms_ca.services.sessions import Opened, OpenedAnswer


@endpoint("POST", "hosts/{host}/logins", needs=Action.LOGIN_REPORT, body=LoginOpen(), returns=LoginOpenedShape(),
          status=201, problems=(400, 409))  # fmt: skip
async def open_login(call: Call[dict[str, Any]]) -> OpenedAnswer:
    """Tell of a login whose session is about to begin.

    sshd has let it in, on a certificate or a plain key; the service decides once more and counts it. 403 with the
    `code` of the rule: there must be no session. The same `login_id` again gets the same answer and counts no more.
    """
    await call.context.reports.require_node(own_host(call), call.body["node"])
    try:
        if "public_key" in call.body:
            fields = {name: value for name, value in call.body.items() if name != "late"}
            return await call.context.key_logins.open(call.caller, OpenedByKey(**fields))
        return await call.context.sessions.open(call.caller, Opened(**call.body))
    except Denied as error:
        call.context.metrics.denied.labels("logins.open", error.code).inc()
        raise


@endpoint("POST", "hosts/{host}/logins/{login_id}/end", needs=Action.LOGIN_REPORT, body=LoginEnd(),
          problems=(400, 404))  # fmt: skip
async def end_login(call: Call[dict[str, Any]]) -> None:
    """Tell of the end of a session; a second time changes nothing."""
    await call.context.sessions.end(call.caller, own_host(call), call.path["login_id"], **call.body)


@endpoint("POST", "hosts/{host}/sessions", needs=Action.LOGIN_REPORT, body=SessionReport(), returns=EndingsShape(),
          problems=(400,))  # fmt: skip
async def report_sessions(call: Call[dict[str, Any]]) -> dict[str, Any]:
    """Say which sessions a node has, and learn which of them must end.

    A session must end when something that it rests on was taken back and the tenant's `on_revocation` is `end`. It is
    named again until its end is told. Open logins of the node that the list leaves out are closed as `lost`.
    """
    body = call.body
    await call.context.reports.require_node(own_host(call), body["node"])
    return {"end": await call.context.session_ends.report(call.caller, body["node"], body["open"],
                                                          complete=body["complete"])}  # fmt: skip


@endpoint("GET", "logins", needs=Action.LOGIN_READ, query=LoginQuery(), returns=LoginRecordShape())
async def list_logins(call: Call[None]) -> Page:
    """List logins, newest first.

    Clients and users see their own.
    """
    query = dict(call.query)
    limit, cursor = query.pop("limit"), query.pop("cursor")
    before = None if cursor is None else decode_cursor(cursor, [int])[0]
    own = own_column(call.caller.role)
    found, following = await call.context.records.logins(call.caller, own, call.tenant, query, before, limit)
    return Page(found, None if following is None else [following])


ENDPOINTS = (open_login, end_login, report_sessions, list_logins)
