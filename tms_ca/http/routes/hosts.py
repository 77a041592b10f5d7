"""Hosts and their credentials."""

from typing import Any

from schemas.base import ListQuery
from schemas.directory import HostChange, HostCreate, HostShape, NewHostShape, NewSecretShape, SecretShape
from tms_ca.core.access import Action, Role
from tms_ca.core.model import Host
from tms_ca.http.endpoint import Call, Page, endpoint
from tms_ca.http.routes.lists import page, with_secret
from tms_ca.services.directory import own_filter
from tms_ca.store import rows


@endpoint("POST", "hosts", needs=Action.HOST_WRITE, body=HostCreate(), returns=NewHostShape(), status=201,
          problems=(400, 409))  # fmt: skip
async def create_host(call: Call[dict[str, Any]]) -> dict[str, Any]:
    """Register a host; its credential is shown once."""
    made, secret = await call.context.directory.add_with_secret(
        call.caller, rows.HOSTS, Role.HOST, call.tenant, enabled=True, **call.body
    )
    return with_secret(made, secret)


@endpoint("GET", "hosts", needs=Action.HOST_READ, query=ListQuery(), returns=HostShape())
async def list_hosts(call: Call[None]) -> Page:
    """List hosts; a host sees itself."""
    return await page(call, rows.HOSTS, {"tenant": call.tenant, **own_filter(call.caller, "host")})


@endpoint("GET", "hosts/{host}", needs=Action.HOST_READ, returns=HostShape(), problems=(404,))
async def get_host(call: Call[None]) -> Host:
    """Return one host."""
    return await call.context.directory.get_own(call.caller, rows.HOSTS, call.tenant, call.path["host"])


@endpoint("PATCH", "hosts/{host}", needs=Action.HOST_WRITE, body=HostChange(), returns=HostShape(),
          problems=(400, 404))  # fmt: skip
async def update_host(call: Call[dict[str, Any]]) -> Host:
    """Change a host; disabled, it lets nobody in."""
    return await call.context.directory.change_host(call.caller, (call.tenant, call.path["host"]), **call.body)


@endpoint("DELETE", "hosts/{host}", needs=Action.HOST_WRITE, problems=(404,))
async def delete_host(call: Call[None]) -> None:
    """Delete a host with its account links; its certificates are revoked."""
    await call.context.directory.remove(call.caller, rows.HOSTS, call.tenant, call.path["host"])


@endpoint("GET", "hosts/{host}/secrets", needs=Action.HOST_WRITE, returns=SecretShape(), problems=(404,))
async def list_host_secrets(call: Call[None]) -> Page:
    """List the credentials of a host: when they were made, never what they are."""
    directory = call.context.directory
    return Page(await directory.secrets(rows.HOSTS, Role.HOST, call.tenant, call.path["host"]))


@endpoint("POST", "hosts/{host}/secrets", needs=Action.HOST_WRITE, returns=NewSecretShape(), status=201,
          problems=(404, 409))  # fmt: skip
async def create_host_secret(call: Call[None]) -> dict[str, str]:
    """Add a second credential, so that it can be rolled out before the first is deleted."""
    directory, host = call.context.directory, call.path["host"]
    return {"secret": await directory.add_secret(call.caller, rows.HOSTS, Role.HOST, call.tenant, host)}


@endpoint("DELETE", "hosts/{host}/secrets/{credential_id}", needs=Action.HOST_WRITE, problems=(404,))
async def delete_host_secret(call: Call[None]) -> None:
    """Take a credential back: it works no more."""
    await call.context.directory.remove_secret(
        call.caller, Role.HOST, call.tenant, call.path["host"], call.path["credential_id"]
    )


ENDPOINTS = (
    create_host, list_hosts, get_host, update_host, delete_host,
    list_host_secrets, create_host_secret, delete_host_secret,
)  # fmt: skip
