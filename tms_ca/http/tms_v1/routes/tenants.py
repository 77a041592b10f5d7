"""Tenants. Those of `default` make new ones; operators of the installation may do all of this in every tenant."""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.tms_v1.tenants import ReqUpdateTenant
from tms_ca.core.access import Action, Role
from tms_ca.core.errors import Denied, NotFound, Unauthenticated
from tms_ca.core.model import ALL_TENANTS, Caller, Tenant
from tms_ca.core.names import valid_tenant
from tms_ca.core.tms_v1 import MOST_INT
from tms_ca.http.tms_v1 import callers, reading
from tms_ca.http.tms_v1.answers import Refused, Said
from tms_ca.http.tms_v1.declare import Call, Kind, Step, v1
from tms_ca.http.tms_v1.names import require_tenant
from tms_ca.http.tms_v1.rates import bound
from tms_ca.http.tms_v1.shown import numbered
from tms_ca.services.tenants import FIRST_ADMIN, FOUNDATION
from tms_ca.services.test_tenant import TENANT as TEST_TENANT
from tms_ca.services.tms_v1_numbers import NumberOf
from tms_ca.store import rows
from tms_ca.store.tms_v1 import Number

_ADMIN = (Kind.ADMIN,)
_CREATE = (Step.TENANT_HEADER, Step.FOUNDATION, Step.ENABLED, Step.AUTHORISED)
_UPDATE = (Step.TENANT_HEADER, Step.SAME_TENANT_OR_FOUNDATION, Step.OPERATED)
_WHY_OPEN = "tms_v1.open_tenants says whether anybody may read names of tenants; else it takes an admin's credential"


def _shown(found: Tenant, number: Number) -> dict[str, Any]:
    return {**numbered(number, found.created_at), "tenant": found.tenant, "enabled": found.enabled}


async def _every(call: Call) -> tuple[Sequence[Tenant], Mapping[str, Number]]:
    """Return every tenant with its number; together, so that older tenants have lower numbers."""
    found, _ = await call.context.directory.page(rows.TENANTS, {}, None, MOST_INT - 1)
    found = sorted(found, key=lambda one: (one.created_at, one.tenant))
    return found, await call.context.numbers.of(ALL_TENANTS, NumberOf.TENANT, [one.tenant for one in found])


@v1("POST", "tenants/{tenant}", needs=Action.TENANT_WRITE, kinds=_ADMIN, order=_CREATE, status=201,
    unauthorised="to add a new tenant.")  # fmt: skip
async def create_tenant(call: Call) -> Said:
    """Make a tenant with CA keys and an administrator, whose secret is shown once."""
    tenant = require_tenant(call.path["tenant"])
    secret = await call.context.tenants.create(call.caller, tenant)
    return Said({"tenant": tenant, "enabled": True, "admin_id": FIRST_ADMIN, "admin_secret": secret})


@v1("GET", "tenants/list", why_open=_WHY_OPEN, optional=_ADMIN)
async def list_tenants(call: Call) -> Said:
    """List tenants; an administrator sees their own, one of `default` sees all."""
    caller = await _reader(call, "tms_v1.list_tenants", "to list tenants.")
    found, numbers = await _every(call)
    seen = [one for one in found if _sees(caller, one.tenant)]
    # In lists, and there alone, the wire has a number.
    shown = [{**_shown(one, numbers[one.tenant]), "enabled": int(one.enabled)} for one in seen]
    return Said({"num_tenants": len(shown), "tenants": sorted(shown, key=lambda one: one["id"])})


@v1("GET", "tenants/{tenant}", why_open=_WHY_OPEN, optional=_ADMIN)
async def get_tenant(call: Call) -> Said:
    """Return one tenant."""
    tenant = call.path["tenant"]
    caller = await _reader(call, "tms_v1.get_tenant", f"to view tenant {tenant}.")
    found, numbers = await _every(call)
    for one in found:
        if one.tenant == tenant and _sees(caller, tenant):
            return Said(_shown(one, numbers[tenant]))
    raise NotFound("tenant_unknown", f"there is no tenant {tenant[:100]!r} that you may see")


async def _reader(call: Call, name: str, words: str) -> Caller | None:
    """Return who reads tenants' names; None where anybody may, who is bound under `name`.

    Raises:
        Refused: it takes a credential, and none is good

    """
    needs, tenant = Action.TENANT_READ, reading.held(call.request.headers, reading.TENANT)
    try:
        caller = (await callers.find(call.context, call.request, needs, _ADMIN, tenant))[0]
        return None if call.settings.open_tenants else caller
    except (Unauthenticated, Denied) as error:
        if call.settings.open_tenants:
            bound(call.request, name)
            return None
        raise await callers.refusal(call.context, call.request, needs, tenant, error, words) from error


def _sees(caller: Caller | None, tenant: str) -> bool:
    return caller is None or caller.role is Role.OPERATOR or caller.tenant in {FOUNDATION, tenant}


@v1("PATCH", "tenants/upd", needs=Action.TENANT_WRITE, kinds=_ADMIN, order=_UPDATE, body=ReqUpdateTenant(),
    unauthorised="to update tenant {tenant}.")  # fmt: skip
async def update_tenant(call: Call) -> Said:
    """Enable or disable a tenant; disabled, nobody can do anything in it.

    Its own administrators can then not enable it again. An operator can, with its own credential; so can an
    administrator of `default`, whose header X-TMS-TENANT says `default` while the body names the tenant.
    """
    tenant, enabled = call.body["tenant"], call.body["enabled"]
    if tenant != call.tenant and not enabled and call.caller.role is not Role.OPERATOR:
        text = (
            f"ERROR: FORBIDDEN - Admin users in the '{FOUNDATION}' tenant can enable tenant {tenant}, not disable it."
        )
        raise Refused(403, text, "tenant_mismatch")
    unwanted = tenant == TEST_TENANT and enabled and not call.settings.test_tenant
    if unwanted and await call.context.seeded_tenant.made_here():
        text = (
            f"ERROR: FORBIDDEN - The test tenant {tenant} is enabled while tms_v1.test_tenant is true, and not by this."
        )
        raise Refused(403, text, "tenant_disabled")
    done = valid_tenant(tenant) and await call.context.tenants.enable(call.caller, tenant, enabled=enabled)
    message = f"{int(done)} update(s) to tenant {tenant} completed, enabled = {str(enabled).lower()}"
    return Said({"fields_updated": int(done)}, message)


@v1("DELETE", "tenants/del/{tenant}", needs=Action.TENANT_WRITE, kinds=_ADMIN,
    unauthorised="to delete tenant {tenant}.")  # fmt: skip
async def delete_tenant(call: Call) -> Said:
    """Delete a tenant in which nothing is left but administrators."""
    tenant = call.path["tenant"]
    count = await call.context.tenants.delete(call.caller, tenant)
    return _deleted(count, f"Tenant {tenant} deleted", tenant)


@v1("DELETE", "tenants/wipe/{tenant}", needs=Action.TENANT_WRITE, kinds=_ADMIN,
    unauthorised="to delete tenant {tenant}.")  # fmt: skip
async def wipe_tenant(call: Call) -> Said:
    """Delete a tenant with everything in it; certificates, logins and audit events stay on record."""
    tenant = call.path["tenant"]
    count = await call.context.tenants.wipe(call.caller, tenant)
    return _deleted(count, f"Tenant {tenant} and dependencies wiped", tenant)


def _deleted(count: int, message: str, tenant: str) -> Said:
    return Said({"num_deleted": count}, message if count else f"Tenant {tenant} NOT FOUND - Nothing deleted")


ENDPOINTS = (create_tenant, list_tenants, get_tenant, update_tenant, delete_tenant, wipe_tenant)
