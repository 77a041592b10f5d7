"""Who calls, and may they? A credential in the head of a request becomes a caller with its reach, or a refusal."""

import base64
import binascii
from dataclasses import replace

from aiohttp import hdrs, web

from tms_ca.core.access import Action, Reach, Role, reach
from tms_ca.core.errors import Denied, Unauthenticated
from tms_ca.core.model import ALL_TENANTS, Caller
from tms_ca.core.names import valid_tenant
from tms_ca.http.context import ADDRESS, REQUEST_ID, Context
from tms_ca.services.journal import event
from tms_ca.store.hot import Entry


async def authenticate(context: Context, request: web.Request, tenant: str, *, fresh: bool) -> Caller:
    """Return who calls: anyone, where there is no credential; `fresh` as in services.authentication.

    Raises:
        Unauthenticated, Denied: the refusal is on record

    """
    header = request.headers.get(hdrs.AUTHORIZATION)
    request_id, address = request[REQUEST_ID], request[ADDRESS]
    if header is None:
        return Caller(Role.ANYONE, "", "", request_id=request_id, address=address)
    name: str | None = None
    try:
        name, secret = credential(header)
        return await context.authentication.by_secret(
            secret, name=name, tenant=tenant, request_id=request_id, address=address, fresh=fresh
        )
    except (Unauthenticated, Denied) as error:
        nobody = Caller(Role.ANYONE, "", ascii(name or "")[1:-1], request_id=request_id, address=address)
        await record_refusal(context, nobody, tenant, "authentication", error)
        raise


def credential(header: str) -> tuple[str | None, str]:
    """Return name (None for a bearer) and secret of an Authorization header."""
    scheme, _, rest = header.partition(" ")
    if not rest.isascii() or scheme.lower() not in {"basic", "bearer"}:
        raise Unauthenticated("credential_malformed", "expected Authorization: Basic or Bearer, in ASCII")
    return _basic(rest.strip()) if scheme.lower() == "basic" else (None, rest.strip())


def _basic(encoded: str) -> tuple[str, str]:
    """Return name and secret of RFC 7617 credentials."""
    try:
        name, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise Unauthenticated("credential_malformed", "Authorization: Basic is not base64 of name:secret") from error
    if not colon:
        raise Unauthenticated("credential_malformed", "Authorization: Basic is not base64 of name:secret")
    return name, secret


def authorize(context: Context, caller: Caller, needs: Action, tenant: str) -> Caller:
    """Return the caller with its reach.

    Raises:
        Unauthenticated: there was no credential and one is needed
        Denied: another tenant's credential, or no such right, or no MFA

    """
    found = reach(needs, caller.role)
    if found is None and caller.role is Role.ANYONE:
        raise Unauthenticated("credential_needed", "this needs a credential: Authorization: Basic or Bearer")
    error: Denied | None = None
    if tenant and needs is not Action.PUBLIC and caller.tenant not in {tenant, ALL_TENANTS}:
        error = Denied("tenant_mismatch", "the credential belongs to another tenant than the one in the path")
    elif found is None:
        error = Denied("role_not_allowed", f"a {caller.role} may not do this ({needs})")
    elif found is Reach.OWN_MFA and caller.mfa_until <= context.clock.now():
        error = Denied("mfa_required", "this needs multi-factor authentication: verify a code first")
    if error is not None:
        raise error
    assert found is not None
    return caller if caller.reach is found else replace(caller, reach=found)


async def record_refusal(
    context: Context, caller: Caller, asked: str, action: str, error: Denied | Unauthenticated
) -> None:
    """Put a refusal on record, in the caller's tenant; in the one that was asked for where there is no caller."""
    tenant = caller.tenant or (asked if valid_tenant(asked) else ALL_TENANTS)
    await context.commits.submit(Entry(event(context.clock, caller, tenant, action, caller.id[:64], error.code)))
    error.recorded = True
