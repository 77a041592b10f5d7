"""What every change of a named thing shares, in a transaction that its caller opened: added, changed, removed, found.

So several changes can be one transaction. Whatever is removed takes its certificates with it, for good.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from sqlalchemy.exc import IntegrityError

from tms_ca.core.access import Role
from tms_ca.core.errors import Conflict, NotFound
from tms_ca.core.model import ALL_TENANTS, Caller, Selector
from tms_ca.core.tms_v1 import NumberOf
from tms_ca.services.clock import Clock
from tms_ca.services.journal import OK, event
from tms_ca.store import credentials, enrolment, revocations, rows, tms_v1
from tms_ca.store.engine import Transaction
from tms_ca.store.rows import Shelf

R = TypeVar("R")
_SELECTORS: Mapping[str, Selector] = {
    "client": Selector.CLIENT,
    "user": Selector.USER,
    "host": Selector.HOST,
    "delegation": Selector.DELEGATION,
}
_NUMBERED: Mapping[str, NumberOf] = {
    "tenant": NumberOf.TENANT,
    "client": NumberOf.CLIENT,
    "user": NumberOf.MFA,
    "account link": NumberOf.LINK,
    "delegation": NumberOf.DELEGATION,
}
_ROLES: Mapping[str, Sequence[Role]] = {
    "client": [Role.CLIENT],
    "host": [Role.HOST],
    "admin": [Role.ADMIN, Role.OPERATOR],
}


async def add_in(
    transaction: Transaction,
    clock: Clock,
    caller: Caller,
    shelf: Shelf[R],
    tenant: str,
    values: Mapping[str, object],
    **detail: object,
) -> R:
    """Insert one; `detail` is what its audit event says beside its name.

    Raises:
        Conflict: there is one of this name; nothing was written, so that the transaction can go on
        NotFound: what it refers to is not there

    """
    values = {"created_at": clock.now(), **values}
    key = [tenant if name == "tenant" else values[name] for name in shelf.key]
    if await shelf.get(transaction.connection, *key) is not None:
        raise Conflict("exists", f"there is a {shelf.noun} {key[-1]!r} already")
    try:
        await shelf.add(transaction.connection, **{"tenant": tenant, **values})
    except IntegrityError as error:
        raise _integrity(shelf, error) from error
    await _still_revoked(transaction, shelf, tenant, str(key[-1]))
    transaction.record(event(clock, caller, tenant, f"{plural(shelf)}.create", str(key[-1]), OK, **detail))
    return there(shelf, await shelf.get(transaction.connection, *key), str(key[-1]))


async def _still_revoked(transaction: Transaction, shelf: Shelf[R], tenant: str, name: str) -> None:
    """Put the revocation of one of this name that was deleted on the new one: only lifting it lets the name act."""
    selector = _SELECTORS.get(shelf.noun)
    if selector in revocations.MARKED:
        standing = await revocations.standing_id(transaction.connection, tenant, selector, name)
        if standing is not None:
            await revocations.mark(transaction.connection, tenant, selector, name, standing)


async def remove_in(transaction: Transaction, clock: Clock, caller: Caller, shelf: Shelf[R], *key: str) -> int:
    """Delete one, and end the certificates that rest on it; return how many those were.

    Raises:
        NotFound: there is none

    """
    connection = transaction.connection
    found = there(shelf, await shelf.get(connection, *key), key[-1])
    ended = 0
    selector = _SELECTORS.get(shelf.noun)
    if selector is not None:
        which = revocations.selected(selector, key[-1])
    elif shelf is rows.LINKS:
        which = rows.same_columns(found, ("user", "host", "account"))
    else:
        which = None
    if which is not None:
        ended = await revocations.end_certificates(connection, key[0], which, f"deleted:{shelf.noun}", clock.now())
    if selector is not None:
        ended += await enrolment.end_selected(
            connection, key[0], selector, key[-1], f"deleted:{shelf.noun}", clock.now()
        )
    for role in _ROLES.get(shelf.noun, ()):
        await credentials.remove_all(connection, key[0], role, key[-1])
    if shelf.noun in _NUMBERED:  # upkeep takes back those of what goes with it
        await tms_v1.forget(connection, key[0], _NUMBERED[shelf.noun], key[-1])
    await shelf.remove(connection, *key)
    transaction.record(event(clock, caller, key[0], f"{plural(shelf)}.delete", key[-1], certificates=ended))
    return ended


async def update_in(
    transaction: Transaction, clock: Clock, caller: Caller, shelf: Shelf[R], found: R, **values: object
) -> None:
    """Change what was found, and note when: the TMS wire API shows that of what it changed."""
    connection = transaction.connection
    key = [str(getattr(found, name)) for name in shelf.key]
    await shelf.update(connection, key, **values)
    within = ALL_TENANTS if shelf is rows.TENANTS else key[0]
    await tms_v1.touch(connection, within, _NUMBERED[shelf.noun], key[-1], clock.now())
    changes = {name: [getattr(found, name), value] for name, value in sorted(values.items())}
    transaction.record(event(clock, caller, key[0], f"{plural(shelf)}.update", key[-1], changes=changes))


def plural(shelf: Shelf[R]) -> str:
    """Return what the actions of audit events begin with."""
    return {"identity": "identities", "account link": "account-links"}.get(shelf.noun, f"{shelf.noun}s")


def there(shelf: Shelf[R], found: R | None, name: str) -> R:
    """Return what was found.

    Raises:
        NotFound: nothing was

    """
    if found is None:
        code = shelf.noun.replace(" ", "_") + "_unknown"
        raise NotFound(code, f"there is no {shelf.noun} {name!r} that you may see")
    return found


def _integrity(shelf: Shelf[R], error: IntegrityError) -> Conflict | NotFound:
    text = str(error.orig).lower()
    if "foreign key" in text:
        return NotFound("reference_unknown", f"this {shelf.noun} names something that is not there: see the fields")
    return Conflict("exists", f"there is such a {shelf.noun} already")
