"""Who calls the TMS wire API: headers become a caller, or a refusal that is on record."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from aiohttp import web

from tms_ca.core.access import Action, Role, reach
from tms_ca.core.errors import Denied, NotFound, TooMany, Unauthenticated
from tms_ca.core.facts import DenialReason
from tms_ca.core.model import ALL_TENANTS, Caller
from tms_ca.core.names import valid_tenant
from tms_ca.http.context import ADDRESS, REQUEST_ID, Context
from tms_ca.http.credentials import record_refusal
from tms_ca.http.tms_v1 import reading
from tms_ca.http.tms_v1.answers import Refused
from tms_ca.http.tms_v1.rates import RATES
from tms_ca.store import rows


class Kind(StrEnum):
    """Kinds of credential, in the order in which they are tried."""

    CLIENT = "client"
    ADMIN = "admin"


HEADERS = {
    Kind.CLIENT: (reading.CLIENT_ID, reading.CLIENT_SECRET),
    Kind.ADMIN: (reading.ADMIN_ID, reading.ADMIN_SECRET),
}
_ROLES = {Kind.CLIENT: {Role.CLIENT}, Kind.ADMIN: {Role.ADMIN, Role.OPERATOR}}


def not_enabled() -> Refused:
    """Return what is said of a tenant that is disabled, and of one that is not there."""
    return Refused(400, "Tenant not enabled.", "tenant_disabled")


def nobody(request: web.Request) -> Caller:
    """Return the caller of a request before any credential was looked at."""
    return Caller(Role.ANYONE, "", "", request_id=request[REQUEST_ID], address=request[ADDRESS])


async def find(
    context: Context, request: web.Request, needs: Action, kinds: Sequence[Kind], tenant: str
) -> tuple[Caller, Kind]:
    """Return the caller: the first credential that is good in `tenant` counts, clients' before admins'.

    Raises:
        Unauthenticated: none is good
        Denied: one is, and its holder (or the tenant) is disabled or revoked
        TooMany: see services.authentication; no other is good

    """
    denied: Denied | TooMany | None = None
    for kind in kinds:
        name, secret = (reading.held(request.headers, header) for header in HEADERS[kind])
        if not (name and secret and tenant):
            continue
        try:
            caller = await context.authentication.by_secret(
                secret, name=name, tenant=tenant, request_id=request[REQUEST_ID], address=request[ADDRESS]
            )
        except Unauthenticated:
            continue
        except (Denied, TooMany) as error:
            denied = error
            continue
        found = reach(needs, caller.role)
        if caller.role in _ROLES[kind] and caller.tenant in {tenant, ALL_TENANTS} and found is not None:
            return replace(caller, reach=found), kind
    raise denied or Unauthenticated("credential_not_good", "no credential that is good for this")


async def refusal(
    context: Context, request: web.Request, needs: Action, tenant: str, error: Unauthenticated | Denied, words: str
) -> Refused:
    """Put on record that no credential is good, and return what is said of it.

    That is `words`, behind NOT AUTHORIZED unless they begin with ERROR themselves.

    Raises:
        TooMany: this address has been told so too often; a good credential is never refused for that

    """
    request.config_dict[RATES].take("open", "credential", request[ADDRESS])
    named = [reading.held(request.headers, name) for name in (reading.CLIENT_ID, reading.ADMIN_ID)]
    # No record begins under a name that is nobody's.
    whose = tenant if await _is_there(context, tenant) else ALL_TENANTS
    await record_refusal(context, replace(nobody(request), id=next(filter(None, named), "")), whose, needs, error)
    if isinstance(error, Unauthenticated):
        return Refused(401, words if words.startswith("ERROR") else f"ERROR: NOT AUTHORIZED {words}", error.code)
    if error.code == DenialReason.TENANT_DISABLED:
        return not_enabled()
    # The old server let a disabled client go on; here it learns what stops it.
    return Refused(403, f"ERROR: FORBIDDEN - {error.detail}", error.code)


async def require_enabled(context: Context, tenant: str) -> None:
    """Return only where the tenant is there and enabled.

    Raises:
        Refused: it is not

    """
    try:
        if valid_tenant(tenant) and (await context.directory.get(rows.TENANTS, tenant)).enabled:
            return
    except NotFound:
        pass
    raise not_enabled()


async def _is_there(context: Context, tenant: str) -> bool:
    if not valid_tenant(tenant):
        return False
    try:
        await context.directory.get(rows.TENANTS, tenant)
    except NotFound:
        return False
    return True
