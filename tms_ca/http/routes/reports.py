"""What the machines of hosts report, and which of them enforce a revocation."""

from typing import Any

from schemas.enrolment import EnforcementShape, NodeQuery, NodeShape, ReportCreate, ReportedShape
from tms_ca.core.access import Action
from tms_ca.http.cursors import decode_cursor
from tms_ca.http.endpoint import Call, Page, endpoint
from tms_ca.http.routes.enrolment import own_host
from tms_ca.services.directory import own_filter
from tms_ca.services.reports import Enforcement


@endpoint("POST", "hosts/{host}/reports", needs=Action.HOST_SELF, body=ReportCreate(), returns=ReportedShape(),
          problems=(400,))  # fmt: skip
async def report(call: Call[dict[str, Any]]) -> dict[str, int]:
    """Say what this machine enforces: the CA keys that it trusts, its KRL, its clock."""
    digest, said = own_host(call), dict(call.body)
    return {"received_at": await call.context.reports.take(call.caller, digest, said.pop("node"), said)}


@endpoint("GET", "nodes", needs=Action.HOST_READ, query=NodeQuery(), returns=NodeShape())
async def list_nodes(call: Call[None]) -> Page:
    """List the machines of hosts: what each last reported, and what is wrong with it; a host sees its own."""
    query = {**call.query, **own_filter(call.caller, "host")}
    limit, cursor = query.pop("limit"), query.pop("cursor")
    after = None if cursor is None else decode_cursor(cursor, [str, str])
    return Page(*await call.context.reports.nodes(call.tenant, query, after, limit))


@endpoint("GET", "revocations/{revocation_id}/enforcement", needs=Action.REVOCATION_READ, returns=EnforcementShape(),
          problems=(404,))  # fmt: skip
async def get_enforcement(call: Call[None]) -> Enforcement:
    """Tell which machines enforce a revocation by their KRL, and how fast they had it.

    Where a host asks the service at each login, its next login was refused already, whatever this says.
    """
    return await call.context.reports.enforcement(call.tenant, call.path["revocation_id"])


ENDPOINTS = (report, list_nodes, get_enforcement)
