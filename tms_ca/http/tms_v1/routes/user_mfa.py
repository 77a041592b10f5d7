"""usermfa: an admin's word that a user counts as MFA-current. It stands beside the user's own second factor."""

from schemas.tms_v1.user_mfa import ReqCreateUserMfa, ReqUpdateUserMfa
from tms_ca.core.access import Action
from tms_ca.core.errors import NotFound
from tms_ca.core.model import User
from tms_ca.core.names import valid_user
from tms_ca.http.tms_v1.answers import Said, date, until
from tms_ca.http.tms_v1.declare import Call, Kind, v1
from tms_ca.http.tms_v1.listing import listing
from tms_ca.http.tms_v1.names import referring, require_user
from tms_ca.http.tms_v1.shown import numbered
from tms_ca.services.tms_v1_numbers import NumberOf
from tms_ca.store import rows
from tms_ca.store.tms_v1 import Number

_ADMIN = (Kind.ADMIN,)


def _shown(found: User, number: Number) -> dict[str, object]:
    return {
        **numbered(number, found.created_at),
        "tenant": found.tenant,
        "tms_user_id": found.user,
        "expires_at": date(found.mfa_until or 0),
        "enabled": found.enabled,
    }


def _listed(found: User, number: Number) -> dict[str, object]:
    # In lists, and there alone, the wire has a number.
    return {**_shown(found, number), "enabled": int(found.enabled)}


@v1("POST", "usermfa", needs=Action.USER_WRITE, kinds=_ADMIN, body=ReqCreateUserMfa(), status=201,
    unauthorised="to add a user MFA record in tenant {tenant}.")  # fmt: skip
async def create_user_mfa(call: Call) -> Said:
    """Let a user count as MFA-current for a time; who is not there is registered, without a password."""
    user, end = require_user(call.body["tms_user_id"]), until(call.context.clock.now(), call.body["ttl_minutes"])
    with referring():
        made = await call.context.grants.assert_mfa(call.caller, call.tenant, user, end)
    return Said({"tms_user_id": made.user, "expires_at": date(end), "enabled": made.enabled})


@v1("GET", "usermfa/list", needs=Action.USER_READ, kinds=_ADMIN,
    unauthorised="to list user MFA information in tenant {tenant}.")  # fmt: skip
async def list_user_mfa(call: Call) -> Said:
    """List every user for whom an admin's word stands."""
    found = await call.context.lists.asserted(call.tenant)
    return await listing(call, ("num_users", "users"), NumberOf.MFA, found, lambda one: one.user, _listed)


@v1("GET", "usermfa/{tms_user_id}", needs=Action.USER_READ, kinds=_ADMIN,
    unauthorised="to view mfa information for record #{tms_user_id} in tenant {tenant}")  # fmt: skip
async def get_user_mfa(call: Call) -> Said:
    """Return one."""
    name = call.path["tms_user_id"]
    missing = NotFound("user_unknown", f"no admin's word stands for a user {name!r}")
    if not valid_user(name):
        raise missing
    found = await call.context.directory.get(rows.USERS, call.tenant, name)
    if found.mfa_until is None:
        raise missing
    numbers = await call.context.numbers.of(call.tenant, NumberOf.MFA, [name])
    return Said(_shown(found, numbers[name]))


@v1("PATCH", "usermfa/upd", needs=Action.USER_WRITE, kinds=_ADMIN, body=ReqUpdateUserMfa(),
    unauthorised="to update MFA for user {tms_user_id} in tenant {tenant}.")  # fmt: skip
async def update_user_mfa(call: Call) -> Said:
    """Enable or disable the user; disabled, nothing is issued for them and no login succeeds."""
    user, enabled = call.body["tms_user_id"], call.body["enabled"]
    there = valid_user(user) and await call.context.grants.enable(call.caller, call.tenant, user, enabled=enabled)
    message = f"{int(there)} update(s) to tms_user_id {user} completed, enabled = {str(enabled).lower()}"
    return Said({"fields_updated": int(there)}, message)


@v1("DELETE", "usermfa/del/{tms_user_id}", needs=Action.USER_WRITE, kinds=_ADMIN,
    unauthorised="to delete MFA for user {tms_user_id} in tenant {tenant}.")  # fmt: skip
async def delete_user_mfa(call: Call) -> Said:
    """Take an admin's word back, with the user's links, delegations, keys and reservations."""
    user = call.path["tms_user_id"]
    gone = valid_user(user) and await call.context.grants.retract_mfa(call.caller, call.tenant, user)
    message = f"MFA user {user} deleted" if gone else f"MFA user {user} NOT FOUND - Nothing deleted"
    return Said({"num_deleted": int(gone)}, message)


ENDPOINTS = (create_user_mfa, list_user_mfa, get_user_mfa, update_user_mfa, delete_user_mfa)
