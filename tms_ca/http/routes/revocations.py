"""Revocations."""

from schemas.operations import RevocationCreate, RevocationQuery, RevocationShape
from tms_ca.core.access import Action
from tms_ca.core.model import Revocation, Selector
from tms_ca.http.endpoint import Call, Page, endpoint
from tms_ca.http.routes.lists import asked


@endpoint("POST", "revocations", needs=Action.REVOCATION_CREATE, body=RevocationCreate(), returns=RevocationShape(),
          status=201, problems=(400, 404, 409))  # fmt: skip
async def revoke(call: Call[tuple[Selector, str, str]]) -> Revocation:
    """Revoke by exactly one selector.

    From this answer on, the next login is refused. A user, client or host is blocked until an admin lifts the
    revocation; everything else is for good. Clients and users revoke what is their own.
    """
    selector, value, reason = call.body
    revocation = await call.context.revocations.revoke(call.caller, call.tenant, selector, value, reason)
    call.context.metrics.revoked.labels(selector).inc()
    return revocation


@endpoint("GET", "revocations", needs=Action.REVOCATION_READ, query=RevocationQuery(), returns=RevocationShape())
async def list_revocations(call: Call[None]) -> Page:
    """List revocations."""
    query, after, limit = asked(call)
    return Page(*await call.context.records.revocations(call.tenant, query, after, limit))


@endpoint("POST", "revocations/{revocation_id}/lift", needs=Action.REVOCATION_LIFT, returns=RevocationShape(),
          problems=(404, 409))  # fmt: skip
async def lift_revocation(call: Call[None]) -> Revocation:
    """Let a user, client or host act again.

    Certificates that the revocation ended stay revoked.
    """
    return await call.context.revocations.lift(call.caller, call.tenant, call.path["revocation_id"])


ENDPOINTS = (revoke, list_revocations, lift_revocation)
