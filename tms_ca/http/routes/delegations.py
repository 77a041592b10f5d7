"""Delegations: asked for by a client, decided by the user."""

from typing import Any

from schemas.delegations import ApproveShape, DelegationQuery, DelegationRequestShape, DelegationShape, RequestedShape
from schemas.logins import RestrictionsChange
from tms_ca.core.access import Action
from tms_ca.core.model import Delegation, Selector
from tms_ca.core.record import fields_of
from tms_ca.http.endpoint import Call, Page, endpoint
from tms_ca.http.routes.lists import asked
from tms_ca.services.delegations import DelegationRequest, Narrowing


def shown(call: Call[Any], delegation: Delegation) -> dict[str, Any]:
    """Return what the shape dumps: the record, with the status as of now."""
    fields = {name: getattr(delegation, name) for name in fields_of(type(delegation))}
    fields["status"] = delegation.status_at(call.context.clock.now())
    return fields


@endpoint("POST", "delegations", needs=Action.DELEGATION_REQUEST, body=DelegationRequestShape(),
          returns=RequestedShape(), status=201, problems=(400, 404))  # fmt: skip
async def request_delegation(call: Call[dict[str, Any]]) -> dict[str, Any]:
    """Ask a user for a delegation.

    Send the user to `approval_url` and show them `user_code`: the page shows the same. `expires_at` is when waiting
    for an answer ends; the delegation's own lifetime begins when the user approves.
    """
    made = await call.context.delegations.request(call.caller, DelegationRequest(**call.body))
    url = f"{call.context.public_url}/t/{call.tenant}/delegations/{made.delegation_id}"
    return {**shown(call, made), "expires_at": made.pending_until, "approval_url": url}


@endpoint("GET", "delegations", needs=Action.DELEGATION_READ, query=DelegationQuery(), returns=DelegationShape())
async def list_delegations(call: Call[None]) -> Page:
    """List delegations.

    Clients see those they asked for, users those that ask them.
    """
    query, after, limit = asked(call)
    found, following = await call.context.delegations.page(call.caller, call.tenant, query, after, limit)
    return Page([shown(call, one) for one in found], following)


@endpoint("GET", "delegations/{delegation_id}", needs=Action.DELEGATION_READ, returns=DelegationShape(),
          problems=(404,))  # fmt: skip
async def get_delegation(call: Call[None]) -> dict[str, Any]:
    """Return one delegation; a client polls this while the user decides."""
    return shown(call, await call.context.delegations.get(call.caller, call.tenant, call.path["delegation_id"]))


@endpoint("POST", "delegations/{delegation_id}/approve", needs=Action.DELEGATION_DECIDE, body=ApproveShape(),
          returns=DelegationShape(), problems=(400, 404, 409))  # fmt: skip
async def approve_delegation(call: Call[dict[str, Any]]) -> dict[str, Any]:
    """Approve, narrowing what was asked for as you wish.

    An empty object approves it as it is. Whatever would widen it is refused.
    """
    narrowing = Narrowing(**call.body)
    approved = await call.context.delegations.approve(call.caller, call.tenant, call.path["delegation_id"], narrowing)
    return shown(call, approved)


@endpoint("POST", "delegations/{delegation_id}/deny", needs=Action.DELEGATION_DECIDE, returns=DelegationShape(),
          problems=(404, 409))  # fmt: skip
async def deny_delegation(call: Call[None]) -> dict[str, Any]:
    """Say no."""
    return shown(call, await call.context.delegations.deny(call.caller, call.tenant, call.path["delegation_id"]))


@endpoint("POST", "delegations/{delegation_id}/revoke", needs=Action.DELEGATION_REVOKE, returns=DelegationShape(),
          problems=(404, 409))  # fmt: skip
async def revoke_delegation(call: Call[None]) -> dict[str, Any]:
    """Take an approval back; the certificates that rest on it are refused from now on."""
    delegation_id = call.path["delegation_id"]
    await call.context.revocations.revoke(
        call.caller, call.tenant, Selector.DELEGATION, delegation_id, "revoked by its user"
    )
    call.context.metrics.revoked.labels(Selector.DELEGATION).inc()
    return shown(call, await call.context.delegations.get(call.caller, call.tenant, delegation_id))


@endpoint("PATCH", "delegations/{delegation_id}/restrictions", needs=Action.DELEGATION_RESTRICT,
          body=RestrictionsChange(), returns=DelegationShape(), problems=(400, 404, 409))  # fmt: skip
async def restrict_delegation(call: Call[dict[str, Any]]) -> dict[str, Any]:
    """Restrict what logins under an approved delegation may do, from the next login on.

    Certificates that were issued before are restricted, too. What is left out stays as it is; what an admin has set,
    only an admin can change.
    """
    changed = await call.context.delegations.restrict(call.caller, call.tenant, call.path["delegation_id"], call.body)
    return shown(call, changed)


ENDPOINTS = (
    request_delegation,
    list_delegations,
    get_delegation,
    approve_delegation,
    deny_delegation,
    revoke_delegation,
    restrict_delegation,
)
