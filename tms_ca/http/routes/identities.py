"""Identities at external providers."""

from typing import Any

from schemas.directory import IdentityCreate, IdentityQuery, IdentityShape, UserQuery
from tms_ca.core.access import Action
from tms_ca.core.model import Identity
from tms_ca.http.endpoint import Call, Page, endpoint
from tms_ca.http.routes.lists import page
from tms_ca.services.directory import own_filter
from tms_ca.store import rows


@endpoint("POST", "identities", needs=Action.IDENTITY_WRITE, body=IdentityCreate(), returns=IdentityShape(),
          status=201, problems=(400, 404, 409))  # fmt: skip
async def create_identity(call: Call[dict[str, Any]]) -> Identity:
    """Link (issuer, subject) to a user; a pair is linked once."""
    return await call.context.directory.add(call.caller, rows.IDENTITIES, call.tenant, **call.body)


@endpoint("GET", "identities", needs=Action.IDENTITY_READ, query=UserQuery(), returns=IdentityShape())
async def list_identities(call: Call[None]) -> Page:
    """List identities; a user sees their own."""
    return await page(call, rows.IDENTITIES, {"tenant": call.tenant, **own_filter(call.caller, "user")})


@endpoint("DELETE", "identities", needs=Action.IDENTITY_WRITE, query=IdentityQuery(), problems=(400, 404))
async def delete_identity(call: Call[None]) -> None:
    """Unlink an identity."""
    await call.context.directory.remove(
        call.caller, rows.IDENTITIES, call.tenant, call.query["issuer"], call.query["subject"]
    )


ENDPOINTS = (create_identity, list_identities, delete_identity)
