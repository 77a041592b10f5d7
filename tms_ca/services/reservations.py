"""Reservations: a grant made in advance, so that a long workflow goes on past the end of the MFA window.

One is made only where everything stands, the MFA window included: a reservation never leads to another. Taking one back
is a change of its tenant, like the end of whatever else a decision rests on.
"""

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import NoReturn

from tms_ca.core.errors import Conflict, Invalid, NotFound
from tms_ca.core.facts import LONGEST_RESERVATION_SECONDS, Denial, DenialReason, IssueRequest, Limits
from tms_ca.core.keylogin import KEY_USED_UP, KeyRequest, decide_key
from tms_ca.core.keymode import ended_at
from tms_ca.core.model import Caller, Reservation
from tms_ca.core.policy import RESERVATION_ENDED, decide
from tms_ca.core.record import record
from tms_ca.core.tms_v1 import NumberOf
from tms_ca.services.authentication import ChangedMeanwhile, require_epoch
from tms_ca.services.clock import Clock
from tms_ca.services.directory import own_filter
from tms_ca.services.issuance import facts_for, with_reservation
from tms_ca.services.journal import event, refusal
from tms_ca.store import plainkeys, tms_v1
from tms_ca.store import reservations as store
from tms_ca.store.engine import Database, Transaction
from tms_ca.store.hot import Entry, GroupCommit
from tms_ca.store.memory import RememberedFacts
from tms_ca.store.plainkeys import KeyFactsReader
from tms_ca.store.reservations import RESERVATIONS

CREATE, REMOVE = "reservations.create", "reservations.delete"


@record
class ReservationWish:
    """What a client asks for; of a child, `lifetime_seconds` says nothing: it ends with its parent."""

    user: str
    host: str
    account: str
    lifetime_seconds: int
    purpose: str
    public_key_fingerprint: str | None = None  # of the plain key that it is for; None for certificates

    @property
    def place(self) -> tuple[str, str, str, str | None]:
        """Return what a child has in common with its parent."""
        return self.user, self.host, self.account, self.public_key_fingerprint


class Reservations:
    """The life of a reservation."""

    def __init__(
        self,
        database: Database,
        facts: RememberedFacts,
        keys: KeyFactsReader,
        commits: GroupCommit,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self._database = database
        self._facts = facts
        self._keys = keys
        self._commits = commits
        self._limits = limits
        self._clock = clock

    async def reserve(self, caller: Caller, wish: ReservationWish) -> Reservation:
        """Reserve for the client `caller`.

        Raises:
            Invalid: for longer than 48 hours
            NotFound: the client has no such plain key
            Denied: a rule of core.policy refused; the refusal is on record, `extra` may have `ended_at` (Unix seconds)
            ChangedMeanwhile: something in the tenant changed since the credential was checked; nothing was kept

        """
        if not 0 <= wish.lifetime_seconds <= LONGEST_RESERVATION_SECONDS:
            expected = f"expected 0 to {LONGEST_RESERVATION_SECONDS} seconds (48 hours), got {wish.lifetime_seconds}"
            raise Invalid("invalid_request", f"lifetime_seconds: {expected}", fields={"lifetime_seconds": [expected]})
        epoch, delegation_id = await self._stands(caller, wish, None)
        now = self._clock.now()
        made = self._made(caller, wish, delegation_id, now, now + wish.lifetime_seconds)
        async with self._unchanged(caller, epoch) as transaction:
            return await self._keep(transaction, caller, made)

    async def extend(self, caller: Caller, parent_id: str, wish: ReservationWish) -> Reservation:
        """Make a child of a reservation of the client `caller`, for the same place; it ends with its parent.

        Raises:
            NotFound: the client has no such reservation, or no such plain key
            Conflict: the reservation is a child itself
            Denied: the parent has ended or is for another place, or a rule of core.policy refused
            ChangedMeanwhile: see `reserve`

        """
        async with self._database.read() as connection:
            parent = await RESERVATIONS.get(connection, caller.tenant, parent_id)
        if parent is None or parent.client_id != caller.id:
            raise _unknown(parent_id)
        if parent.parent_id is not None:
            raise Conflict(
                "reservation_is_child",
                f"reservation {parent_id!r} is a child of {parent.parent_id!r}, which may have others",
            )
        if (parent.user, parent.host, parent.account, parent.public_key_fingerprint) != wish.place:
            other = f"reservation {parent_id!r} is for user {parent.user!r} and {parent.account}@{parent.host}"
            await self._refuse(caller, wish, Denial(DenialReason.RESERVATION_OTHER, other))
        if self._clock.now() >= parent.expires_at:
            await self._refuse(caller, wish, RESERVATION_ENDED)
        epoch, delegation_id = await self._stands(caller, wish, parent_id)
        async with self._unchanged(caller, epoch) as transaction:
            # It may have been taken back, or ended with another, before the facts were read.
            parent = await RESERVATIONS.get(transaction.connection, caller.tenant, parent_id)
            if parent is None:
                raise _unknown(parent_id)
            made = self._made(caller, wish, delegation_id, self._clock.now(), parent.expires_at)
            return await self._keep(transaction, caller, replace(made, parent_id=parent_id))

    async def _stands(self, caller: Caller, wish: ReservationWish, parent_id: str | None) -> tuple[int, str]:
        """Return the epoch at which everything stands that the reservation will rest on, and the delegation."""
        if wish.public_key_fingerprint is not None:
            return await self._key_stands(caller, wish, wish.public_key_fingerprint, rests=parent_id is not None)
        request = IssueRequest(wish.user, wish.host, wish.account, reservation_id=parent_id)
        facts = await facts_for(self._facts, caller, request, "")
        if parent_id is not None:
            facts = await with_reservation(self._facts, caller, facts, parent_id)
        verdict = decide(request, facts, self._limits, self._clock.now())
        if isinstance(verdict, Denial):
            await self._refuse(caller, wish, verdict)
        return facts.epoch, verdict.delegation_id

    async def _key_stands(
        self, caller: Caller, wish: ReservationWish, fingerprint: str, *, rests: bool
    ) -> tuple[int, str]:  # fmt: skip
        facts = await self._keys.get(caller.tenant, wish.host, fingerprint)
        if facts is None:
            raise NotFound("tenant_unknown", "there is no such tenant")
        require_epoch(caller, facts.around.epoch)
        key = facts.key
        if key is None or key.client_id != caller.id:
            raise NotFound("public_key_unknown", f"there is no public key {fingerprint!r} that you may see")
        if not rests:
            facts = replace(facts, reserved_until=None)
        asked = KeyRequest(wish.host, wish.account, fingerprint, key.key_type)
        verdict = decide_key(asked, facts, self._limits, self._clock.now())
        if isinstance(verdict, Denial):
            await self._refuse(caller, wish, verdict, ended_at(verdict, facts.around))
        if key.user != wish.user:
            other = f"the public key is user {key.user!r}'s, not {wish.user!r}'s"
            await self._refuse(caller, wish, Denial(DenialReason.RESERVATION_OTHER, other))
        if key.uses_left == 0:  # the use of this moment is one that was taken before
            await self._refuse(caller, wish, KEY_USED_UP)
        return facts.around.epoch, key.delegation_id

    def _made(self, caller: Caller, wish: ReservationWish, delegation_id: str, now: int, until: int) -> Reservation:
        return Reservation(
            tenant=caller.tenant,
            reservation_id=str(uuid.uuid4()),
            parent_id=None,
            client_id=caller.id,
            user=wish.user,
            host=wish.host,
            account=wish.account,
            delegation_id=delegation_id,
            public_key_fingerprint=wish.public_key_fingerprint,
            purpose=wish.purpose,
            created_at=now,
            expires_at=until,
        )

    @asynccontextmanager
    async def _unchanged(self, caller: Caller, epoch: int) -> AsyncIterator[Transaction]:
        """Yield a transaction in which the tenant is as it was at `epoch`.

        It does not change the tenant itself: no decision that was made can have been about what is new.
        """
        async with self._database.transaction() as transaction:
            if await plainkeys.epoch_held(transaction.connection, caller.tenant) != epoch:
                raise ChangedMeanwhile
            yield transaction

    async def _keep(self, transaction: Transaction, caller: Caller, made: Reservation) -> Reservation:
        await store.add(transaction.connection, made)
        transaction.record(
            event(self._clock, caller, caller.tenant, CREATE, made.reservation_id, user=made.user, account=made.account,
                  host=made.host, key=made.public_key_fingerprint, delegation=made.delegation_id,
                  parent=made.parent_id, until=made.expires_at)
        )  # fmt: skip
        return made

    async def _refuse(
        self, caller: Caller, wish: ReservationWish, denial: Denial, ended: int | None = None
    ) -> NoReturn:
        target = f"{wish.user} {wish.account}@{wish.host}"
        refused = event(self._clock, caller, caller.tenant, CREATE, target, denial.reason, detail=denial.detail)
        await self._commits.submit(Entry(refused))
        raise refusal(denial, extra=None if ended is None else {"ended_at": ended})

    async def get(self, caller: Caller, own: str, tenant: str, reservation_id: str) -> Reservation:
        """Return one that the caller may see; `own` is the column that makes it theirs.

        Raises:
            NotFound: there is none, or it is another's

        """
        async with self._database.read() as connection:
            found = await RESERVATIONS.get(connection, tenant, reservation_id)
        if found is None or not _is_own(caller, own, found):
            raise _unknown(reservation_id)
        return found

    async def get_related(self, caller: Caller, own: str, tenant: str, reservation_id: str) -> Reservation:
        """Return one that the caller may see, or where it is gone, one of its children.

        Raises:
            NotFound: there is neither, or it is another's

        """
        async with self._database.read() as connection:
            found = await RESERVATIONS.get(connection, tenant, reservation_id)
            if found is None:
                wanted = {"tenant": tenant, "parent_id": reservation_id}
                children, _ = await RESERVATIONS.page(connection, wanted, None, 1)
                found = next(iter(children), None)
        if found is None or not _is_own(caller, own, found):
            raise _unknown(reservation_id)
        return found

    async def page(
        self,
        caller: Caller,
        own: str,
        tenant: str,
        filters: Mapping[str, object],
        after: Sequence[object] | None,
        limit: int,
    ) -> tuple[list[Reservation], list[object] | None]:
        """Return a page of what the caller may see."""
        async with self._database.read() as connection:
            wanted = {"tenant": tenant, **filters, **own_filter(caller, own)}
            return await RESERVATIONS.page(connection, wanted, after, limit)

    async def live(self, caller: Caller, tenant: str, limit: int) -> list[Reservation]:
        """Return up to `limit` that act for the user `caller` and have not ended, the last to end first."""
        async with self._database.read() as connection:
            return await store.live_of_user(connection, tenant, caller.id, self._clock.now(), limit)

    async def remove(self, caller: Caller, own: str, tenant: str, reservation_id: str) -> int:
        """Take one back; its children end now. Return how many were taken off the record: 1, or 0 for none to see."""
        return await self._remove(caller, own, tenant, reservation_id, related=False)

    async def remove_related(self, caller: Caller, own: str, tenant: str, reservation_id: str) -> int:
        """Take one back with its children, or where it is gone, these; return how many that were, 0 for none to see."""
        return await self._remove(caller, own, tenant, reservation_id, related=True)

    async def _remove(self, caller: Caller, own: str, tenant: str, reservation_id: str, *, related: bool) -> int:
        try:
            found = await (self.get_related if related else self.get)(caller, own, tenant, reservation_id)
        except NotFound:
            return 0
        async with self._database.change(tenant) as transaction:
            connection, ended = transaction.connection, 0
            if related:
                removed = await store.remove_related(connection, tenant, reservation_id)
            else:
                removed = int(await RESERVATIONS.remove(connection, tenant, reservation_id))
                ended = await store.end_children(connection, tenant, reservation_id, self._clock.now())
            if removed:
                await tms_v1.forget(connection, tenant, NumberOf.RESERVATION, reservation_id)
                transaction.record(
                    event(self._clock, caller, tenant, REMOVE, reservation_id, user=found.user, account=found.account,
                          host=found.host, removed=removed, children_ended=ended)
                )  # fmt: skip
        return removed


def _is_own(caller: Caller, own: str, found: Reservation) -> bool:
    return all(getattr(found, name) == is_ for name, is_ in own_filter(caller, own).items())


def _unknown(reservation_id: str) -> NotFound:
    return NotFound("reservation_unknown", f"there is no reservation {reservation_id!r} that you may see")
