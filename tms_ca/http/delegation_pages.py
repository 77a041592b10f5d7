"""The user's own page, and the page on which they approve, deny and revoke a delegation."""

import hmac
from collections.abc import Mapping

from aiohttp import web

from schemas.base import valid_id
from schemas.delegations import ApproveShape
from tms_ca.core.access import Action
from tms_ca.core.errors import Conflict, Invalid, NotFound
from tms_ca.core.model import Delegation, DelegationStatus, Selector
from tms_ca.http import reservation_pages, words
from tms_ca.http.browser import Visit, see_other
from tms_ca.http.endpoint import load
from tms_ca.services.delegations import Narrowing
from tms_ca.store import rows

_APPROVE = ApproveShape()
_MOST_SHOWN = 50
_SECTIONS = (DelegationStatus.PENDING, DelegationStatus.APPROVED, DelegationStatus.DENIED, DelegationStatus.REVOKED)


async def home(visit: Visit) -> web.Response:
    """Show who I am, my MFA window and my delegations."""
    me = await visit.may(Action.DELEGATION_READ)
    now = visit.context.clock.now()
    found: list[Delegation] = []
    more = False
    for status in _SECTIONS:
        page, following = await visit.context.delegations.page(
            me, visit.tenant.tenant, {"status": status}, None, _MOST_SHOWN
        )
        found += page
        more = more or following is not None
    found.sort(key=lambda one: one.created_at, reverse=True)
    lists: dict[str, list[tuple[Delegation, str]]] = {"pending": [], "approved": [], "ended": []}
    for one in found:
        standing = one.status_at(now)
        lists[standing if standing in lists else "ended"].append((one, standing))
    reserved, still_more = await reservation_pages.live(visit)
    more = more or still_more
    return visit.render("home.html", lists=lists, reserved=reserved, more=more, mfa=visit.mfa_current())


async def delegation(visit: Visit) -> web.Response:
    """Show what is asked for, or what was decided."""
    visit.me()
    asked = await _asked(visit)
    if asked.status_at(visit.context.clock.now()) is DelegationStatus.PENDING and not visit.mfa_current():
        return see_other(visit.here("mfa"), next=visit.request.path)
    return await _page(visit, asked)


async def _asked(visit: Visit) -> Delegation:
    """Return the delegation of the path; one that asks another user answers as if there were none."""
    delegation_id = visit.request.match_info["delegation_id"]
    if not valid_id(delegation_id):
        raise _unknown()
    try:
        return await visit.context.delegations.get(
            await visit.may(Action.DELEGATION_READ), visit.tenant.tenant, delegation_id
        )
    except NotFound as error:
        raise _unknown() from error


def _unknown() -> NotFound:
    return NotFound("delegation_unknown", "there is no such delegation that you may see")


async def _client_name(visit: Visit, asked: Delegation) -> str:
    try:
        return (await visit.context.directory.get(rows.CLIENTS, asked.tenant, asked.client_id)).display_name
    except NotFound:
        return ""  # deleted since


async def _page(
    visit: Visit, asked: Delegation, error: Invalid | None = None, typed: Mapping[str, str] | None = None
) -> web.Response:
    standing = asked.status_at(visit.context.clock.now())
    client_name = await _client_name(visit, asked)
    return visit.render(
        "decide.html" if standing is DelegationStatus.PENDING else "decided.html",
        200 if error is None else 400,
        asked=asked,
        standing=str(standing),
        client_name=client_name,
        allowed=words.allowed(asked.constraints),
        refused=words.refused(asked.constraints),
        lifetimes=words.lifetimes(asked),
        lengths=words.certificate_lengths(asked),
        shown=words.hash_of_shown(asked, client_name),
        back=words.back_link(asked) if asked.status in {DelegationStatus.APPROVED, DelegationStatus.DENIED} else "",
        mfa=visit.mfa_current(),
        error=error,
        typed=typed or {},
    )


async def _unchanged(visit: Visit, form: Mapping[str, str]) -> Delegation:
    """Return the delegation of the path, where it still is what the user was shown.

    Raises:
        Conflict: it has changed since

    """
    asked = await _asked(visit)
    shown = words.hash_of_shown(asked, await _client_name(visit, asked))
    if not hmac.compare_digest(form.get("shown", "").encode(), shown.encode()):
        raise Conflict("delegation_changed", "what you were shown has changed since; look at it again")
    return asked


async def approve(visit: Visit, form: Mapping[str, str]) -> web.Response:
    """Approve, narrowed as the form says."""
    me = await visit.may(Action.DELEGATION_DECIDE)
    asked = await _unchanged(visit, form)
    try:
        narrowing = Narrowing(**load(_APPROVE, _wish(form)))
        await visit.context.delegations.approve(me, visit.tenant.tenant, asked.delegation_id, narrowing)
    except Invalid as error:
        return await _page(visit, asked, error, form)
    return see_other(_path(visit, asked))


def _wish(form: Mapping[str, str]) -> dict[str, object]:
    """Return the fields of the form as the API would have them; an empty one keeps what was asked."""
    wish: dict[str, object] = {name: form[name].strip() for name in ("host", "account") if form.get(name, "").strip()}
    for name in ("lifetime_seconds", "max_ttl_seconds", "max_uses"):
        text = form.get(name, "").strip()
        if text:
            wish[name] = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else text
    return wish


async def deny(visit: Visit, form: Mapping[str, str]) -> web.Response:
    """Say no."""
    me = await visit.may(Action.DELEGATION_DECIDE)
    asked = await _unchanged(visit, form)
    await visit.context.delegations.deny(me, visit.tenant.tenant, asked.delegation_id)
    return see_other(_path(visit, asked))


async def revoke(visit: Visit, _: Mapping[str, str]) -> web.Response:
    """Take an approval back; the certificates that rest on it are refused from now on."""
    me = await visit.may(Action.DELEGATION_REVOKE)
    asked = await _asked(visit)
    await visit.context.revocations.revoke(
        me, visit.tenant.tenant, Selector.DELEGATION, asked.delegation_id, "revoked by its user"
    )
    visit.context.metrics.revoked.labels(Selector.DELEGATION).inc()
    return see_other(_path(visit, asked))


def _path(visit: Visit, asked: Delegation) -> str:
    return visit.here(f"delegations/{asked.delegation_id}")
