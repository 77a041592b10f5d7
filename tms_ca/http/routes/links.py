"""Account links."""

from typing import Any

from schemas.directory import LinkChange, LinkCreate, LinkQuery, LinkShape
from tms_ca.core.access import Action
from tms_ca.core.model import AccountLink
from tms_ca.http.endpoint import Call, Page, endpoint
from tms_ca.http.routes.lists import page
from tms_ca.services.directory import own_filter
from tms_ca.services.ids import new_id
from tms_ca.store import rows


@endpoint("POST", "account-links", needs=Action.LINK_WRITE, body=LinkCreate(), returns=LinkShape(), status=201,
          problems=(400, 404, 409))  # fmt: skip
async def create_link(call: Call[dict[str, Any]]) -> AccountLink:
    """Link a user to an account on a host, until a date."""
    values = {**call.body, "starts_at": call.body["starts_at"] or call.context.clock.now()}
    return await call.context.directory.add(call.caller, rows.LINKS, call.tenant, link_id=new_id("lnk"), **values)


@endpoint("GET", "account-links", needs=Action.LINK_READ, query=LinkQuery(), returns=LinkShape())
async def list_links(call: Call[None]) -> Page:
    """List account links; a user sees their own."""
    return await page(call, rows.LINKS, {"tenant": call.tenant, **own_filter(call.caller, "user")})


@endpoint("GET", "account-links/{link_id}", needs=Action.LINK_READ, returns=LinkShape(), problems=(404,))
async def get_link(call: Call[None]) -> AccountLink:
    """Return one account link."""
    return await call.context.directory.get_own(call.caller, rows.LINKS, call.tenant, call.path["link_id"])


@endpoint("PATCH", "account-links/{link_id}", needs=Action.LINK_WRITE, body=LinkChange(), returns=LinkShape(),
          problems=(400, 404))  # fmt: skip
async def update_link(call: Call[dict[str, Any]]) -> AccountLink:
    """Change when a link begins and ends."""
    key = (call.tenant, call.path["link_id"])
    return await call.context.directory.change(call.caller, rows.LINKS, key, **call.body)


@endpoint("DELETE", "account-links/{link_id}", needs=Action.LINK_WRITE, problems=(404,))
async def delete_link(call: Call[None]) -> None:
    """Delete a link; the certificates that rest on it are revoked."""
    await call.context.directory.remove(call.caller, rows.LINKS, call.tenant, call.path["link_id"])


ENDPOINTS = (create_link, list_links, get_link, update_link, delete_link)
