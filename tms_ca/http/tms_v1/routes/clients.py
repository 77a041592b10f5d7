"""Clients: the applications that ask for keys."""

from typing import Any

from schemas.tms_v1.clients import ReqCreateClient, UpdateClientQuery
from tms_ca.core.access import Action
from tms_ca.core.appversion import check_version_requirement
from tms_ca.core.errors import Denied, Invalid, NotFound, Unauthenticated
from tms_ca.core.model import Caller, Client
from tms_ca.core.names import valid_client_id
from tms_ca.core.tms_v1 import MOST_APP_NAME, MOST_APP_VERSION
from tms_ca.http.tms_v1 import callers, reading
from tms_ca.http.tms_v1.answers import Refused, Said
from tms_ca.http.tms_v1.declare import Call, Kind, v1
from tms_ca.http.tms_v1.listing import listing
from tms_ca.http.tms_v1.names import require_client, require_text
from tms_ca.http.tms_v1.rates import bound
from tms_ca.http.tms_v1.shown import numbered
from tms_ca.services.tms_v1_numbers import NumberOf
from tms_ca.settings_tms_v1 import NewClients
from tms_ca.store import rows
from tms_ca.store.tms_v1 import Number

_BOTH = (Kind.CLIENT, Kind.ADMIN)
_DISALLOWED = (
    "Client creation is disallowed due either to running in MVP mode or by explicit assignment of the new_clients "
    "configuration parameter."
)


def _shown(found: Client, number: Number) -> dict[str, Any]:
    return {
        **numbered(number, found.created_at),
        "tenant": found.tenant,
        "client_id": found.client_id,
        "app_name": found.app_name or "",
        "app_version": found.app_version or "",
        "enabled": found.enabled,
    }


def _listed(found: Client, number: Number) -> dict[str, Any]:
    # In lists, and there alone, the wire has a number.
    return {**_shown(found, number), "enabled": int(found.enabled)}


@v1("POST", "client", body=ReqCreateClient(), status=201, optional=(Kind.ADMIN,),
    why_open="tms_v1.new_clients says whether anybody may register a client; an admin always may")  # fmt: skip
async def create_client(call: Call) -> Said:
    """Register a client; its secret is shown once.

    Without a credential this depends on the service's settings. With an administrator's, in the headers X-TMS-ADMIN-ID
    and X-TMS-ADMIN-SECRET, it does not.
    """
    body, headers = call.body, call.request.headers
    alone = reading.ADMIN_ID not in headers and reading.ADMIN_SECRET not in headers
    if alone:
        bound(call.request, "tms_v1.create_client")
    await callers.require_enabled(call.context, body["tenant"])
    if call.settings.mvp:
        raise Refused(400, _DISALLOWED, "clients_disallowed")
    admin = None if alone else await _admin(call, body["tenant"])
    if admin is None and call.settings.new_clients is NewClients.DISALLOW:
        raise Refused(400, _DISALLOWED, "clients_disallowed")
    try:
        check_version_requirement(body["app_version"])
    except Invalid as error:
        raise Refused(400, error.detail, error.code) from error
    require_text(body["app_version"], "app_version", MOST_APP_VERSION)
    require_text(body["app_name"], "app_name", MOST_APP_NAME)
    secret = await call.context.registration.create(
        admin or call.caller,
        body["tenant"],
        require_client(body["client_id"]),
        body["app_name"],
        body["app_version"],
        enabled=admin is not None or call.settings.new_clients is NewClients.ALLOW,
    )
    return Said({"client_id": body["client_id"], "client_secret": secret})


async def _admin(call: Call, tenant: str) -> Caller:
    """Return the administrator who registers the client.

    Raises:
        Refused: the credential that came is not good in the tenant

    """
    headers = call.request.headers
    needs = Action.CLIENT_WRITE
    try:
        named = tenant if headers.get(reading.TENANT, tenant) == tenant else ""  # of another tenant, none is good
        return (await callers.find(call.context, call.request, needs, (Kind.ADMIN,), named))[0]
    except (Unauthenticated, Denied) as error:
        words = f"to add client {call.body['client_id']} in tenant {tenant}."
        raise await callers.refusal(call.context, call.request, needs, tenant, error, words) from error


@v1("GET", "client/list", needs=Action.CLIENT_READ, kinds=_BOTH, unauthorised="to list clients in tenant {tenant}.")
async def list_clients(call: Call) -> Said:
    """List the clients of the tenant; a client sees itself."""
    found = await call.context.lists.clients(call.caller, call.tenant)
    return await listing(call, ("num_clients", "clients"), NumberOf.CLIENT, found, lambda one: one.client_id, _listed)


@v1("GET", "client/{client_id}", needs=Action.CLIENT_READ, kinds=_BOTH,
    unauthorised="to view client {client_id} in tenant {tenant}.",
    forbidden="Path parameters ({client_id}@{tenant}) differ from those in the request header.")  # fmt: skip
async def get_client(call: Call) -> Said:
    """Return one client, never its secret."""
    client_id = _named(call)
    found = await call.context.directory.get(rows.CLIENTS, call.tenant, client_id)
    numbers = await call.context.numbers.of(call.tenant, NumberOf.CLIENT, [client_id])
    return Said(_shown(found, numbers[client_id]))


@v1("PATCH", "client/upd/{client_id}", needs=Action.CLIENT_SELF, kinds=_BOTH, query=UpdateClientQuery(),
    unauthorised="to update client {client_id} in tenant {tenant}.")  # fmt: skip
async def update_client(call: Call) -> Said:
    """Change the version of a client's application, or whether the client can do anything."""
    client_id = call.path["client_id"]
    values = {name: value for name, value in call.query.items() if value is not None}
    if not values:
        return Said({"fields_updated": 0}, "No updates specified")
    if "app_version" in values:
        require_text(check_version_requirement(values["app_version"]), "app_version", MOST_APP_VERSION)
    there = valid_client_id(client_id) and await call.context.registration.change(
        call.caller, call.tenant, client_id, **values
    )
    count = len(values) if there else 0
    return Said({"fields_updated": count}, f"{count} update(s) to client {client_id} completed")


@v1("PATCH", "client/secret/{client_id}", needs=Action.CLIENT_SELF, kinds=_BOTH,
    unauthorised="to update client {client_id} in tenant {tenant}.")  # fmt: skip
async def rotate_secret(call: Call) -> Said:
    """Give a client a new secret, shown once; whatever it had stops working at once."""
    client_id = _named(call)
    await _not_everybody(call, "rotate its secret")
    secret = await call.context.registration.rotate(call.caller, call.tenant, client_id)
    members = {"client_id": client_id, "tenant": call.tenant, "client_secret": secret}
    return Said(members, f"Secret updated for client {client_id}")


@v1("DELETE", "client/del/{client_id}", needs=Action.CLIENT_SELF, kinds=_BOTH,
    unauthorised="to delete client {client_id} in tenant {tenant}.")  # fmt: skip
async def delete_client(call: Call) -> Said:
    """Delete a client with its delegations, keys and reservations; its certificates are revoked."""
    client_id = call.path["client_id"]
    await _not_everybody(call, "delete itself")
    gone = valid_client_id(client_id) and await call.context.registration.remove(call.caller, call.tenant, client_id)
    message = f"Client {client_id} deleted" if gone else f"Client {client_id} NOT FOUND - Nothing deleted"
    return Said({"num_deleted": int(gone)}, message)


async def _not_everybody(call: Call, what: str) -> None:
    """Return unless the caller is the client whose secret everybody knows.

    Raises:
        Refused: it is

    """
    if await call.context.seeded_tenant.is_everybody(call.caller):
        text = f"ERROR: FORBIDDEN - The client {call.caller.id} of the test tenant cannot {what}: everybody could."
        raise Refused(403, text, "not_yours")


def _named(call: Call) -> str:
    """Return the client of the path where it may be the name of one."""
    client_id: str = call.path["client_id"]
    if not valid_client_id(client_id):
        raise NotFound("client_unknown", f"{client_id[:100]!r} cannot be the name of a client")
    return client_id


ENDPOINTS = (create_client, list_clients, get_client, update_client, rotate_secret, delete_client)
