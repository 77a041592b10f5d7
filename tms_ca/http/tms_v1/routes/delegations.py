"""delegations: an admin's word that a client may act for a user, on any host and as any account that is not reserved.

What users approved for particular hosts and accounts is not of this wire: /api/v1 shows it.
"""

from schemas.tms_v1.delegations import ReqCreateDelegation, ReqDeleteDelegation, ReqUpdateDelegation
from tms_ca.core.access import Action
from tms_ca.core.errors import NotFound
from tms_ca.core.model import Delegation, DelegationStatus
from tms_ca.core.names import valid_client_id, valid_user
from tms_ca.http.tms_v1.answers import Said, date, until
from tms_ca.http.tms_v1.declare import Call, Kind, v1
from tms_ca.http.tms_v1.listing import listing
from tms_ca.http.tms_v1.names import referring, require_client, require_user
from tms_ca.http.tms_v1.shown import expires_msg, numbered
from tms_ca.services.tms_v1_numbers import NumberOf
from tms_ca.store import rows
from tms_ca.store.grants import ANY
from tms_ca.store.tms_v1 import Number

_ADMIN = (Kind.ADMIN,)


def _can_be(call: Call) -> bool:
    """Tell whether anything can have the names of the body."""
    return valid_client_id(call.body["client_id"]) and valid_user(call.body["client_user_id"])


def _shown(found: Delegation, number: Number) -> dict[str, object]:
    return {
        **numbered(number, found.created_at),
        "tenant": found.tenant,
        "client_id": found.client_id,
        "client_user_id": found.user,
        "expires_at": date(found.expires_at or 0),
    }


@v1("POST", "delegations", needs=Action.DELEGATION_GRANT, kinds=_ADMIN, body=ReqCreateDelegation(), status=201,
    unauthorised="to add a client delegation record in tenant {tenant}.")  # fmt: skip
async def create_delegation(call: Call) -> Said:
    """Let a client act for a user, for a time."""
    client, user = require_client(call.body["client_id"]), require_user(call.body["client_user_id"], "client_user_id")
    end = until(call.context.clock.now(), call.body["ttl_minutes"])
    with referring():
        await call.context.grants.delegate(call.caller, call.tenant, client, user, end)
    return Said({"client_id": client, "client_user_id": user, "expires_at": date(end)})


@v1("GET", "delegations/list", needs=Action.DELEGATION_READ, kinds=_ADMIN,
    unauthorised="to list delegations in tenant {tenant}.")  # fmt: skip
async def list_delegations(call: Call) -> Said:
    """List every delegation of this kind; the members are called as those of userhosts/list."""
    found = await call.context.lists.delegations(call.tenant)
    return await listing(
        call, ("num_users", "users"), NumberOf.DELEGATION, found, lambda one: one.delegation_id, _shown
    )  # fmt: skip


@v1("GET", "delegations/{id}", needs=Action.DELEGATION_READ, kinds=_ADMIN,
    unauthorised="to view client delegation information for record #{id} in tenant {tenant}")  # fmt: skip
async def get_delegation(call: Call) -> Said:
    """Return one."""
    name = await call.context.numbers.name(call.tenant, NumberOf.DELEGATION, call.path["id"])
    missing = NotFound("delegation_unknown", f"no such delegation has the number {call.path['id']}")
    if name is None:
        raise missing
    found = await call.context.directory.get(rows.DELEGATIONS, call.tenant, name)
    if (found.host, found.account, found.status) != (ANY, ANY, DelegationStatus.APPROVED):
        raise missing
    numbers = await call.context.numbers.of(call.tenant, NumberOf.DELEGATION, [found.delegation_id])
    return Said(_shown(found, numbers[found.delegation_id]))


@v1(
    "PATCH", "delegations/upd", needs=Action.DELEGATION_GRANT, kinds=_ADMIN, body=ReqUpdateDelegation(),
    unauthorised="to update delegation for client {client_id} and user {client_user_id} in tenant {tenant}.",
)  # fmt: skip
async def update_delegation(call: Call) -> Said:
    """Set when a delegation ends."""
    client, user, minutes = (call.body[name] for name in ("client_id", "client_user_id", "ttl_minutes"))
    end = until(call.context.clock.now(), minutes)
    there = _can_be(call) and await call.context.grants.move_delegation(call.caller, call.tenant, client, user, end)
    message = f"{int(there)} update(s) to user {user} and client {client} completed"
    return Said({"fields_updated": int(there), "expires_msg": expires_msg(end if there else None)}, message)


@v1(
    "DELETE", "delegations/del", needs=Action.DELEGATION_GRANT, kinds=_ADMIN, body=ReqDeleteDelegation(),
    unauthorised="to delete delegation for user {client_user_id} to client {client_id} in tenant {tenant}.",
)  # fmt: skip
async def delete_delegation(call: Call) -> Said:
    """Delete a delegation with its keys and reservations; its certificates are revoked."""
    client, user = call.body["client_id"], call.body["client_user_id"]
    gone = await call.context.grants.undelegate(call.caller, call.tenant, client, user) if _can_be(call) else 0
    message = f"Delegation to client {client} NOT FOUND for user {user} - Nothing deleted"
    if gone:
        message = f"User delegation deleted for user {user} and client {client}"
    return Said({"num_deleted": gone}, message)


ENDPOINTS = (create_delegation, list_delegations, get_delegation, update_delegation, delete_delegation)
