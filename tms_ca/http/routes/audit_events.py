"""The audit trail."""

from schemas.operations import AuditEventShape, AuditQuery
from tms_ca.core.access import Action
from tms_ca.http.cursors import decode_cursor
from tms_ca.http.endpoint import Call, Page, endpoint


@endpoint("GET", "audit-events", needs=Action.AUDIT_READ, query=AuditQuery(), returns=AuditEventShape())
async def list_audit_events(call: Call[None]) -> Page:
    """List audit events, newest first."""
    query = dict(call.query)
    limit, cursor = query.pop("limit"), query.pop("cursor")
    before = None if cursor is None else decode_cursor(cursor, [int, str, int])
    return Page(*await call.context.auditing.page(call.tenant, query, before, limit))


ENDPOINTS = (list_audit_events,)
