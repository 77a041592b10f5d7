"""Reservations: made by clients, seen and ended by whom they concern."""

from typing import Any

from schemas.reservations import RelatedQuery, ReservationCreate, ReservationQuery, ReservationShape
from tms_ca.core.access import Action
from tms_ca.core.errors import Denied, NotFound
from tms_ca.core.model import Reservation
from tms_ca.http.endpoint import Call, Page, endpoint
from tms_ca.http.routes.certificates import own_column
from tms_ca.http.routes.lists import asked
from tms_ca.services.reservations import ReservationWish


@endpoint("POST", "reservations", needs=Action.RESERVATION_CREATE, body=ReservationCreate(), undisturbed=True,
          returns=ReservationShape(), status=201, problems=(400, 404, 409))  # fmt: skip
async def create_reservation(call: Call[dict[str, Any]]) -> Reservation:
    """Reserve, so that certificates or a plain key go on past the end of the user's MFA window.

    The rules are those of `POST certificates`, at this moment and without any reservation. It replaces the MFA window
    and nothing else. With `parent_id`, a child is made, which ends with its parent.
    """
    body = {"lifetime_seconds": 0, **call.body}
    parent_id = body.pop("parent_id")
    wish, reservations = ReservationWish(**body), call.context.reservations
    try:
        if parent_id is None:
            return await reservations.reserve(call.caller, wish)
        return await reservations.extend(call.caller, parent_id, wish)
    except Denied as error:
        call.context.metrics.denied.labels("reservations.create", error.code).inc()
        raise


@endpoint("GET", "reservations", needs=Action.RESERVATION_READ, query=ReservationQuery(), returns=ReservationShape())
async def list_reservations(call: Call[None]) -> Page:
    """List reservations, ended ones too.

    Clients and users see their own.
    """
    query, after, limit = asked(call)
    own = own_column(call.caller.role)
    return Page(*await call.context.reservations.page(call.caller, own, call.tenant, query, after, limit))


@endpoint("GET", "reservations/{reservation_id}", needs=Action.RESERVATION_READ, returns=ReservationShape(),
          problems=(404,))  # fmt: skip
async def get_reservation(call: Call[None]) -> Reservation:
    """Return one reservation."""
    own = own_column(call.caller.role)
    return await call.context.reservations.get(call.caller, own, call.tenant, call.path["reservation_id"])


@endpoint("DELETE", "reservations/{reservation_id}", needs=Action.RESERVATION_DELETE, query=RelatedQuery(),
          problems=(404,))  # fmt: skip
async def delete_reservation(call: Call[None]) -> None:
    """Take a reservation back; its children end at the same moment.

    Nothing is issued under it any more. What was issued under it opens nothing once the MFA window has ended.
    """
    reservations, name = call.context.reservations, call.path["reservation_id"]
    remove = reservations.remove_related if call.query["related"] else reservations.remove
    if not await remove(call.caller, own_column(call.caller.role), call.tenant, name):
        raise NotFound("reservation_unknown", f"there is no reservation {name!r} that you may see")


ENDPOINTS = (create_reservation, list_reservations, get_reservation, delete_reservation)
