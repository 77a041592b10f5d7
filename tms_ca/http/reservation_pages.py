"""Reservations on the user's own page: those that carry applications past the MFA window, and how to end one."""

from collections.abc import Mapping, Sequence

from aiohttp import web

from schemas.base import valid_reservation_id
from tms_ca.core.access import Action
from tms_ca.core.errors import NotFound
from tms_ca.core.model import Reservation
from tms_ca.http.browser import Visit, see_other

_MOST_SHOWN = 50


async def live(visit: Visit) -> tuple[Sequence[Reservation], bool]:
    """Return the reservations that act for the user now, the last to end first, and whether there are more."""
    me = await visit.may(Action.RESERVATION_READ)
    found = await visit.context.reservations.live(me, visit.tenant.tenant, _MOST_SHOWN + 1)
    return found[:_MOST_SHOWN], len(found) > _MOST_SHOWN


async def end(visit: Visit, _: Mapping[str, str]) -> web.Response:
    """Take one back, with its children."""
    me = await visit.may(Action.RESERVATION_DELETE)
    name = visit.request.match_info["reservation_id"]
    removed = 0
    if valid_reservation_id(name):
        removed = await visit.context.reservations.remove_related(me, "user", visit.tenant.tenant, name)
    if not removed:
        raise NotFound("reservation_unknown", "there is no such reservation that you may see")
    return see_other(visit.here(""))
