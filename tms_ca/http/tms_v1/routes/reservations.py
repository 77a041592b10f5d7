"""Reservations: a client asks that a key may go on past the end of the user's MFA window, for 48 hours at most."""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from schemas.tms_v1.reservations import ReqCreateReservation, ReqExtendReservation
from tms_ca.core.access import Action
from tms_ca.core.errors import Conflict, Denied, NotFound
from tms_ca.core.facts import LONGEST_RESERVATION_SECONDS
from tms_ca.core.model import Caller, PublicKeyRecord, Reservation
from tms_ca.core.tms_v1 import PURPOSE
from tms_ca.http.tms_v1.answers import NOT_FOUND, Refused, Said, date
from tms_ca.http.tms_v1.declare import Call, K, Kind, v1
from tms_ca.http.tms_v1.dependencies import missing
from tms_ca.http.tms_v1.names import require_host, require_user
from tms_ca.http.tms_v1.shown import numbered
from tms_ca.services.reservations import ReservationWish
from tms_ca.services.tms_v1_numbers import NumberOf

_MISMATCH = "Credential mismatch for client {client_id} in tenant {tenant}."
_ANOTHER = "Path client_id parameter ({client_id}) differs from the client_id in the request header."
_BOTH = (Kind.CLIENT, Kind.ADMIN)
_ID = re.compile(r"[0-9A-Fa-f-]{1,36}")


@v1("POST", "reservations", needs=Action.RESERVATION_CREATE, kinds=(Kind.CLIENT,), order=K, status=201,
    body=ReqCreateReservation(), unauthorised=_MISMATCH, undisturbed=True)  # fmt: skip
async def create_reservation(call: Call) -> Said:
    """Reserve for one of the client's keys, while everything that it rests on stands.

    A negative ttl_minutes, and one beyond 2880, is 48 hours.
    """
    body, key = call.body, await _key(call)
    words = f"{call.caller.id}@{call.tenant} on host {body['host']} with fingerprint {body['public_key_fingerprint']}"
    if key is None:
        raise Refused(404, f"NOT FOUND: No pubkey for client {words}.", "public_key_unknown")
    if key.uses_left is not None and key.uses_left < 1:
        raise Refused(403, f"Pubkey for client {words} has no remaining uses.", "uses_exhausted")
    if call.context.clock.now() >= key.expires_at:
        raise Refused(403, f"Pubkey for client {words} expired at {date(key.expires_at)}.", "public_key_expired")
    minutes = body["ttl_minutes"]
    seconds = LONGEST_RESERVATION_SECONDS if minutes < 0 else min(minutes * 60, LONGEST_RESERVATION_SECONDS)
    with _dependencies(call, key.account):
        made = await call.context.reservations.reserve(call.caller, _wish(call, key, seconds))
    return Said(_made(made))


@v1("POST", "reservations/extend", needs=Action.RESERVATION_CREATE, kinds=(Kind.CLIENT,), order=K, status=201,
    body=ReqExtendReservation(), unauthorised=_MISMATCH, undisturbed=True)  # fmt: skip
async def extend_reservation(call: Call) -> Said:
    """Add a child under a reservation, for the same user, host and key; it ends when its parent does."""
    parent_id = call.body["parent_resid"]
    gone = f"NOT_FOUND: Reservation {parent_id} not found for client {call.caller.id} in tenant {call.tenant}."
    none = Refused(404, f"Missing or expired dependency: {gone}", "reservation_unknown")
    parent = await _own(call, parent_id)
    if parent is None:
        raise none
    with _dependencies(call, parent.account):
        key = await _key(call)
        if key is None:
            raise NotFound("public_key_unknown", "the client has no such public key for this host")
        try:
            made = await call.context.reservations.extend(call.caller, parent_id, _wish(call, key, 0))
        except NotFound as error:  # taken back meanwhile, or its key was
            raise (none if error.code == none.code else error) from error
    return Said(_made(made))


@v1("GET", "reservations/{client_id}/{resid}", needs=Action.RESERVATION_READ, kinds=_BOTH, forbidden=_ANOTHER,
    unauthorised="to view reservation {resid} in tenant {tenant}.")  # fmt: skip
async def get_reservation(call: Call) -> Said:
    """Return a reservation: a client one of its own, an admin any of the tenant."""
    found = await _own(call, call.path["resid"])
    if found is None:
        raise Refused(404, NOT_FOUND, "reservation_unknown")
    name = found.reservation_id
    number = (await call.context.numbers.of(call.tenant, NumberOf.RESERVATION, [name]))[name]
    return Said(
        {
            **_made(found),
            **numbered(number, found.created_at),
            "tenant": found.tenant,
            "client_id": found.client_id,
            "client_user_id": found.user,
            "host": found.host,
            "public_key_fingerprint": found.public_key_fingerprint or "",  # made through the other API
        }
    )


@v1("DELETE", "reservations/del/{client_id}/{resid}", needs=Action.RESERVATION_DELETE, kinds=_BOTH,
    forbidden=_ANOTHER, unauthorised="to delete reservation {resid} in tenant {tenant}.")  # fmt: skip
async def delete_reservation(call: Call) -> Said:
    """Take a reservation back; its children end at once, too."""
    return await _delete(call, "", related=False)


@v1("DELETE", "reservations/del/related/{client_id}/{resid}", needs=Action.RESERVATION_DELETE, kinds=_BOTH,
    forbidden=_ANOTHER, unauthorised="to delete reservation {resid} in tenant {tenant}.")  # fmt: skip
async def delete_related_reservations(call: Call) -> Said:
    """Take a reservation back with all its children; with those that are left, where it is gone itself."""
    return await _delete(call, " along with all its children.", related=True)


async def _delete(call: Call, more: str, *, related: bool) -> Said:
    name, client = call.path["resid"], call.path["client_id"]
    reservations, number = call.context.reservations, 0
    found = await _own(call, name, reservations.get_related if related else reservations.get)
    if found is not None and found.client_id == client:
        remove = reservations.remove_related if related else reservations.remove
        number = await remove(call.caller, "client_id", call.tenant, name)
    none = f"Reservation {name} for {client}@{call.tenant} NOT FOUND - Nothing deleted"
    return Said({"num_deleted": number}, f"Reservation {name} deleted{more}" if number else none)


async def _own(
    call: Call, reservation_id: str, get: Callable[[Caller, str, str, str], Awaitable[Reservation]] | None = None
) -> Reservation | None:
    """Return a reservation that the caller may see; None for what cannot be an id, too."""
    if _ID.fullmatch(reservation_id) is None:
        return None
    try:
        get = get or call.context.reservations.get
        return await get(call.caller, "client_id", call.tenant, reservation_id)
    except NotFound:
        return None


async def _key(call: Call) -> PublicKeyRecord | None:
    """Return the client's key that the body names, if it is one for the host."""
    try:
        found = await call.context.plain_keys.get(
            call.caller, "client_id", call.tenant, call.body["public_key_fingerprint"]
        )
    except NotFound:
        return None
    return found if found.host == call.body["host"] else None


def _wish(call: Call, key: PublicKeyRecord, seconds: int) -> ReservationWish:
    user, host = require_user(call.body["client_user_id"], "client_user_id"), require_host(call.body["host"])
    return ReservationWish(user, host, key.account, seconds, PURPOSE, key.fingerprint)


@contextmanager
def _dependencies(call: Call, account: str) -> Iterator[None]:
    """Answer with 403 where something that the reservation rests on is not there or has ended."""
    try:
        yield
    except Denied as error:
        call.context.metrics.denied.labels("reservations.create", error.code).inc()
        raise missing(call, error, account) from error
    except (NotFound, Conflict) as error:
        raise Refused(403, f"Missing or expired dependency: {error.detail}.", error.code) from error


def _made(made: Reservation) -> dict[str, object]:
    return {
        "resid": made.reservation_id,
        "parent_resid": made.parent_id or made.reservation_id,
        "expires_at": date(made.expires_at),
    }


ENDPOINTS = (
    create_reservation, extend_reservation, get_reservation, delete_reservation, delete_related_reservations,
)  # fmt: skip
