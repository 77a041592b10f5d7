"""Clients and their secrets."""

from typing import Any

from schemas.base import ListQuery
from schemas.directory import ClientChange, ClientCreate, ClientShape, NewClientShape, NewSecretShape, SecretShape
from tms_ca.core.access import Action, Role
from tms_ca.core.model import Client
from tms_ca.http.endpoint import Call, Page, endpoint
from tms_ca.http.routes.lists import page, with_secret
from tms_ca.services.directory import own_filter
from tms_ca.store import rows


@endpoint("POST", "clients", needs=Action.CLIENT_WRITE, body=ClientCreate(), returns=NewClientShape(), status=201,
          problems=(400, 409))  # fmt: skip
async def create_client(call: Call[dict[str, Any]]) -> dict[str, Any]:
    """Register a client; the secret is shown once."""
    made, secret = await call.context.directory.add_with_secret(
        call.caller, rows.CLIENTS, Role.CLIENT, call.tenant, enabled=True, **call.body
    )
    return with_secret(made, secret)


@endpoint("GET", "clients", needs=Action.CLIENT_READ, query=ListQuery(), returns=ClientShape())
async def list_clients(call: Call[None]) -> Page:
    """List clients; a client sees itself."""
    return await page(call, rows.CLIENTS, {"tenant": call.tenant, **own_filter(call.caller, "client_id")})


@endpoint("GET", "clients/{client_id}", needs=Action.CLIENT_READ, returns=ClientShape(), problems=(404,))
async def get_client(call: Call[None]) -> Client:
    """Return one client."""
    return await call.context.directory.get_own(call.caller, rows.CLIENTS, call.tenant, call.path["client_id"])


@endpoint("PATCH", "clients/{client_id}", needs=Action.CLIENT_WRITE, body=ClientChange(), returns=ClientShape(),
          problems=(400, 404))  # fmt: skip
async def update_client(call: Call[dict[str, Any]]) -> Client:
    """Change a client; disabled, it can do nothing at once."""
    key = (call.tenant, call.path["client_id"])
    return await call.context.directory.change(call.caller, rows.CLIENTS, key, **call.body)


@endpoint("DELETE", "clients/{client_id}", needs=Action.CLIENT_WRITE, problems=(404,))
async def delete_client(call: Call[None]) -> None:
    """Delete a client with its delegations; its certificates are revoked."""
    await call.context.directory.remove(call.caller, rows.CLIENTS, call.tenant, call.path["client_id"])


@endpoint("GET", "clients/{client_id}/secrets", needs=Action.CLIENT_WRITE, returns=SecretShape(), problems=(404,))
async def list_client_secrets(call: Call[None]) -> Page:
    """List the secrets of a client: when they were made, never what they are."""
    directory = call.context.directory
    return Page(await directory.secrets(rows.CLIENTS, Role.CLIENT, call.tenant, call.path["client_id"]))


@endpoint("POST", "clients/{client_id}/secrets", needs=Action.CLIENT_WRITE, returns=NewSecretShape(), status=201,
          problems=(404, 409))  # fmt: skip
async def create_client_secret(call: Call[None]) -> dict[str, str]:
    """Add a second secret, so that it can be rolled out before the first is deleted."""
    directory, client_id = call.context.directory, call.path["client_id"]
    return {"secret": await directory.add_secret(call.caller, rows.CLIENTS, Role.CLIENT, call.tenant, client_id)}


@endpoint("DELETE", "clients/{client_id}/secrets/{credential_id}", needs=Action.CLIENT_WRITE, problems=(404,))
async def delete_client_secret(call: Call[None]) -> None:
    """Take a secret back: it works no more."""
    await call.context.directory.remove_secret(
        call.caller, Role.CLIENT, call.tenant, call.path["client_id"], call.path["credential_id"]
    )


ENDPOINTS = (
    create_client, list_clients, get_client, update_client, delete_client,
    list_client_secrets, create_client_secret, delete_client_secret,
)  # fmt: skip
