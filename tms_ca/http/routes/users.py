"""Users."""

from typing import Any

from schemas.base import ListQuery
from schemas.directory import UserChange, UserCreate, UserShape
from tms_ca.core.access import Action
from tms_ca.core.model import User
from tms_ca.http.endpoint import Call, Page, endpoint
from tms_ca.http.routes.lists import page
from tms_ca.services.directory import own_filter
from tms_ca.store import rows


async def _hashed(call: Call[dict[str, Any]]) -> dict[str, Any]:
    """Return the body with the hash in the place of the password."""
    values = dict(call.body)
    password = values.pop("password", None)
    if password is not None:
        values["password_hash"] = await call.context.people.hash_password(password)
    return values


@endpoint("POST", "users", needs=Action.USER_WRITE, body=UserCreate(), returns=UserShape(), status=201,
          problems=(400, 409))  # fmt: skip
async def create_user(call: Call[dict[str, Any]]) -> User:
    """Register a user; without a password they cannot log in yet."""
    return await call.context.directory.add(call.caller, rows.USERS, call.tenant, enabled=True, **await _hashed(call))


@endpoint("GET", "users", needs=Action.USER_READ, query=ListQuery(), returns=UserShape())
async def list_users(call: Call[None]) -> Page:
    """List users; a user sees themself."""
    return await page(call, rows.USERS, {"tenant": call.tenant, **own_filter(call.caller, "user")})


@endpoint("GET", "users/{user}", needs=Action.USER_READ, returns=UserShape(), problems=(404,))
async def get_user(call: Call[None]) -> User:
    """Return one user."""
    return await call.context.directory.get_own(call.caller, rows.USERS, call.tenant, call.path["user"])


@endpoint("PATCH", "users/{user}", needs=Action.USER_WRITE, body=UserChange(), returns=UserShape(),
          problems=(400, 404))  # fmt: skip
async def update_user(call: Call[dict[str, Any]]) -> User:
    """Change a user; disabled, nothing is issued for them and no login succeeds."""
    key = (call.tenant, call.path["user"])
    return await call.context.directory.change(call.caller, rows.USERS, key, **await _hashed(call))


@endpoint("DELETE", "users/{user}", needs=Action.USER_WRITE, problems=(404,))
async def delete_user(call: Call[None]) -> None:
    """Delete a user with everything that is theirs; their certificates are revoked."""
    await call.context.directory.remove(call.caller, rows.USERS, call.tenant, call.path["user"])


@endpoint("DELETE", "users/{user}/mfa", needs=Action.MFA_RESET, problems=(404,))
async def reset_mfa(call: Call[None]) -> None:
    """Forget a user's second factor, MFA window and lock-outs."""
    await call.context.people.reset_mfa(call.caller, call.tenant, call.path["user"])


ENDPOINTS = (create_user, list_users, get_user, update_user, delete_user, reset_mfa)
