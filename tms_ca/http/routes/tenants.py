"""Tenants and their admins."""

from typing import Any

from schemas.base import ListQuery
from schemas.directory import AdminCreate, AdminShape, NewAdminShape, TenantChange, TenantCreate, TenantShape
from tms_ca.core.access import Action, Role
from tms_ca.core.errors import Invalid
from tms_ca.core.model import Tenant
from tms_ca.http.endpoint import Call, Page, endpoint
from tms_ca.http.routes.lists import page, with_secret
from tms_ca.store import rows


@endpoint("POST", "/api/v1/tenants", needs=Action.TENANT_MANAGE, body=TenantCreate(), returns=TenantShape(),
          status=201, problems=(400, 409))  # fmt: skip
async def create_tenant(call: Call[dict[str, Any]]) -> Tenant:
    """Make a tenant with CA keys of its own."""
    _coherent(call.body.get("default_ttl_seconds"), call.body.get("max_ttl_seconds"))
    return await call.context.directory.create_tenant(call.caller, **call.body)


@endpoint("GET", "/api/v1/tenants", needs=Action.TENANT_MANAGE, query=ListQuery(), returns=TenantShape())
async def list_tenants(call: Call[None]) -> Page:
    """List tenants."""
    return await page(call, rows.TENANTS, {})


@endpoint("GET", "/api/v1/tenants/{tenant}", needs=Action.TENANT_READ, returns=TenantShape(), problems=(404,))
async def get_tenant(call: Call[None]) -> Tenant:
    """Return one tenant."""
    return await call.context.directory.get(rows.TENANTS, call.tenant)


@endpoint("PATCH", "/api/v1/tenants/{tenant}", needs=Action.TENANT_WRITE, body=TenantChange(), returns=TenantShape(),
          problems=(400, 404))  # fmt: skip
async def update_tenant(call: Call[dict[str, Any]]) -> Tenant:
    """Change a tenant; a shorter MFA window ends longer ones at once."""

    def fits(tenant: Tenant) -> None:
        _coherent(tenant.default_ttl_seconds, tenant.max_ttl_seconds)

    return await call.context.directory.change(call.caller, rows.TENANTS, (call.tenant,), fits, **call.body)


def _coherent(default_ttl: int | None, max_ttl: int | None) -> None:
    if default_ttl is not None and max_ttl is not None and default_ttl > max_ttl:
        raise Invalid(
            "invalid_request",
            f"default_ttl_seconds ({default_ttl}) is longer than max_ttl_seconds ({max_ttl})",
            fields={"default_ttl_seconds": [f"at most max_ttl_seconds, {max_ttl}"]},
        )


@endpoint("POST", "admins", needs=Action.ADMIN_MANAGE, body=AdminCreate(), returns=NewAdminShape(), status=201,
          problems=(400, 409))  # fmt: skip
async def create_admin(call: Call[dict[str, Any]]) -> dict[str, Any]:
    """Make an admin of this tenant; the secret is shown once."""
    made, secret = await call.context.directory.add_with_secret(
        call.caller, rows.ADMINS, Role.ADMIN, call.tenant, enabled=True, **call.body
    )
    return with_secret(made, secret)


@endpoint("GET", "admins", needs=Action.ADMIN_MANAGE, query=ListQuery(), returns=AdminShape())
async def list_admins(call: Call[None]) -> Page:
    """List the admins of this tenant."""
    return await page(call, rows.ADMINS, {"tenant": call.tenant})


@endpoint("DELETE", "admins/{admin_id}", needs=Action.ADMIN_MANAGE, problems=(404,))
async def delete_admin(call: Call[None]) -> None:
    """Delete an admin; their secrets work no more."""
    await call.context.directory.remove(call.caller, rows.ADMINS, call.tenant, call.path["admin_id"])


ENDPOINTS = (
    create_tenant, list_tenants, get_tenant, update_tenant, create_admin, list_admins, delete_admin,
)  # fmt: skip
