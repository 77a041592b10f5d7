"""userhosts: account links. A host that is named for the first time is registered, without a credential."""

from typing import TypedDict

from schemas.tms_v1.user_hosts import ReqCreateUserHost, ReqDeleteUserHost, ReqUpdateUserHost
from tms_ca.core.access import Action
from tms_ca.core.errors import NotFound
from tms_ca.core.model import AccountLink
from tms_ca.core.names import RESERVED_ACCOUNTS, valid_account, valid_host, valid_user
from tms_ca.http.tms_v1.answers import Refused, Said, date, until
from tms_ca.http.tms_v1.declare import Call, Kind, v1
from tms_ca.http.tms_v1.listing import listing
from tms_ca.http.tms_v1.names import referring, require_account, require_host, require_user
from tms_ca.http.tms_v1.shown import expires_msg, numbered
from tms_ca.services.tms_v1_numbers import NumberOf
from tms_ca.store import rows
from tms_ca.store.tms_v1 import Number

_ADMIN = (Kind.ADMIN,)


class _Place(TypedDict):
    user: str
    host: str
    account: str


def _place(call: Call) -> _Place | None:
    """Return the place that the body names; None where nothing can have such names."""
    user, host, account = (call.body[name] for name in ("tms_user_id", "host", "host_account"))
    if not (valid_user(user) and valid_host(host) and valid_account(account)):
        return None
    return {"user": user, "host": host, "account": account}


def _shown(link: AccountLink, number: Number) -> dict[str, object]:
    return {
        **numbered(number, link.created_at),
        "tenant": link.tenant,
        "tms_user_id": link.user,
        "host": link.host,
        "host_account": link.account,
        "expires_at": date(link.expires_at),
    }


@v1("POST", "userhosts", needs=Action.LINK_WRITE, kinds=_ADMIN, body=ReqCreateUserHost(), status=201,
    unauthorised="to add a user host record in tenant {tenant}.")  # fmt: skip
async def create_user_host(call: Call) -> Said:
    """Link a user to an account on a host, for a time; accounts of the system are linked with tms-ca only."""
    body = call.body
    user, host = require_user(body["tms_user_id"]), require_host(body["host"])
    account, end = require_account(body["host_account"]), until(call.context.clock.now(), body["ttl_minutes"])
    if account in RESERVED_ACCOUNTS:
        command = f"tms-ca links create {user} {account}@{host} --days N --allow-reserved --tenant {call.tenant}"
        text = f"ERROR: host_account: {account!r} is an account of the system, which an operator links: {command}"
        raise Refused(400, text, "account_reserved")
    with referring():
        await call.context.grants.link(call.caller, call.tenant, user, host, account, end)
    return Said({"tms_user_id": user, "host": host, "host_account": account, "expires_at": date(end)})


@v1("GET", "userhosts/list", needs=Action.LINK_READ, kinds=_ADMIN,
    unauthorised="to list user host information in tenant {tenant}.")  # fmt: skip
async def list_user_hosts(call: Call) -> Said:
    """List every account link."""
    found = await call.context.lists.links(call.tenant)
    return await listing(call, ("num_users", "users"), NumberOf.LINK, found, lambda one: one.link_id, _shown)


@v1("GET", "userhosts/{id}", needs=Action.LINK_READ, kinds=_ADMIN,
    unauthorised="to view host information for record #{id} in tenant {tenant}")  # fmt: skip
async def get_user_host(call: Call) -> Said:
    """Return one."""
    name = await call.context.numbers.name(call.tenant, NumberOf.LINK, call.path["id"])
    if name is None:
        raise NotFound("account_link_unknown", f"no account link has the number {call.path['id']}")
    found = await call.context.directory.get(rows.LINKS, call.tenant, name)
    numbers = await call.context.numbers.of(call.tenant, NumberOf.LINK, [name])
    return Said(_shown(found, numbers[name]))


@v1("PATCH", "userhosts/upd", needs=Action.LINK_WRITE, kinds=_ADMIN, body=ReqUpdateUserHost(),
    unauthorised="to update host for user {tms_user_id} in tenant {tenant}.")  # fmt: skip
async def update_user_host(call: Call) -> Said:
    """Set when a link ends."""
    place, end = _place(call), until(call.context.clock.now(), call.body["ttl_minutes"])
    there = place is not None and await call.context.grants.move_link(call.caller, call.tenant, **place, until=end)
    message = f"{int(there)} update(s) to tms_user_id {call.body['tms_user_id']} completed"
    return Said({"fields_updated": int(there), "expires_msg": expires_msg(end if there else None)}, message)


@v1("DELETE", "userhosts/del", needs=Action.LINK_WRITE, kinds=_ADMIN, body=ReqDeleteUserHost(),
    unauthorised="to delete host {host} for user {tms_user_id} in tenant {tenant}.")  # fmt: skip
async def delete_user_host(call: Call) -> Said:
    """Delete a link with its keys and reservations; its certificates are revoked."""
    place = _place(call)
    user, host, account = (call.body[name] for name in ("tms_user_id", "host", "host_account"))
    gone = place is not None and await call.context.grants.unlink(call.caller, call.tenant, **place)
    message = f"Host {host} NOT FOUND for user {user} - Nothing deleted"
    if gone:
        message = f"User host {host} deleted for user {user} and account {account}"
    return Said({"num_deleted": int(gone)}, message)


ENDPOINTS = (create_user_host, list_user_hosts, get_user_host, update_user_host, delete_user_host)
