"""Revoke: at the next login it is refused. Whatever is revoked ends the certificates that rest on it, for good."""

from collections.abc import Mapping
from dataclasses import replace

from tms_ca.core.access import Reach, Role
from tms_ca.core.errors import Conflict, Denied, NotFound
from tms_ca.core.facts import KeyStanding
from tms_ca.core.model import Caller, DelegationStatus, KeyState, Revocation, Selector
from tms_ca.core.record import fields_of
from tms_ca.services.clock import Clock
from tms_ca.services.ids import new_id
from tms_ca.services.journal import actor, event
from tms_ca.services.key_endings import KeyEndings
from tms_ca.store import cakeys, enrolment, plainkeys, reports, reservations, revocations, rows
from tms_ca.store.engine import Database, Transaction

# What may be revoked by whom beyond admins: only what is their own.
_OWN: Mapping[Role, frozenset[Selector]] = {
    Role.CLIENT: frozenset(
        {Selector.SERIAL, Selector.KEY_ID, Selector.PUBLIC_KEY, Selector.DELEGATION, Selector.CLIENT}
    ),
    Role.USER: frozenset({Selector.SERIAL, Selector.KEY_ID, Selector.PUBLIC_KEY, Selector.DELEGATION, Selector.USER}),
}
_BLOCKING = frozenset({Selector.USER, Selector.CLIENT, Selector.HOST})


class Revocations:
    """Every way to take back trust, and the one way to give some of it again."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._endings = KeyEndings(database, clock)

    async def close(self) -> None:
        """Stop what is at work."""
        await self._endings.close()

    async def revoke(self, caller: Caller, tenant: str, selector: Selector, value: str, reason: str) -> Revocation:
        """Revoke what `selector` and `value` name.

        A user, client or host is blocked until an admin lifts the revocation; the certificates that it had stay
        revoked even then, and its reservations are gone. Certificates, public keys, delegations and CA keys are revoked
        for good. Of a public key, `certificates` is None where they are not all on record as revoked yet; they are
        refused all the same, and asking again goes on.

        Raises:
            NotFound: there is nothing of that name that the caller may revoke
            Denied: a kind of thing that the caller may not revoke at all
            Conflict: it is revoked already

        """
        if caller.reach is not Reach.ANY:
            await self._own(caller, tenant, selector, value)
        if selector is not Selector.PUBLIC_KEY:
            return await self._make(caller, tenant, selector, value, reason)
        try:
            made = await self._make(caller, tenant, selector, value, reason)
        except Conflict as conflict:
            await self._endings.end(caller, tenant, str(conflict.extra["revocation_id"]))
            raise
        # It stands from here on, whatever comes of the rest.
        return await self._endings.end(caller, tenant, made.revocation_id) or replace(made, certificates=None)

    async def _make(self, caller: Caller, tenant: str, selector: Selector, value: str, reason: str) -> Revocation:
        now = self._clock.now()
        which: revocations.Which = revocations.selected(selector, value)
        if selector is Selector.KEY_ID:  # read before the tenant is held, and nobody waits for it
            async with self._database.read() as connection:
                which = await revocations.serials(connection, tenant, revocations.selected(selector, value), now)
        if selector is Selector.PUBLIC_KEY:  # searched for once it is forbidden: see services.key_endings
            which = ()
        async with self._database.change(tenant) as transaction:
            connection = transaction.connection
            standing = await revocations.standing_id(connection, tenant, selector, value)
            if standing:
                raise Conflict(
                    "already_revoked", f"{selector} {value!r} is revoked already", extra={"revocation_id": standing}
                )
            revocation_id = new_id("rev")
            await self._take_effect(transaction, tenant, selector, value, revocation_id)
            ended = await revocations.end_certificates(connection, tenant, which, revocation_id, now)
            ended += await enrolment.end_selected(connection, tenant, selector, value, revocation_id, now)
            ended += await plainkeys.end_selected(connection, tenant, selector, value, revocation_id, now)
            unreserved = await reservations.remove_selected(connection, tenant, selector, value)
            made = Revocation(tenant, revocation_id, selector, value, reason, actor(caller), ended, now, None)
            await rows.REVOCATIONS.add(connection, **{name: getattr(made, name) for name in fields_of(type(made))})
            await reports.note_change(connection, tenant, revocation_id, self._clock.now_ms())
            transaction.record(
                event(
                    self._clock,
                    caller,
                    tenant,
                    "revocations.create",
                    f"{selector}:{value}",
                    revocation=revocation_id,
                    reason=reason,
                    certificates=ended,
                    reservations=unreserved,
                )
            )
        return made

    async def _own(self, caller: Caller, tenant: str, selector: Selector, value: str) -> None:
        if selector not in _OWN.get(caller.role, frozenset()):
            raise Denied("not_yours", f"a {caller.role} cannot revoke by {selector}; ask an admin")
        missing = NotFound("revocation_target_unknown", f"there is no {selector} {value!r} of yours to revoke")
        mine = "client_id" if caller.role is Role.CLIENT else "user"
        if selector in {Selector.CLIENT, Selector.USER}:
            if value != caller.id:
                raise missing
            return
        is_mine = rows.CERTIFICATE_COLUMNS[mine] == caller.id
        async with self._database.read() as connection:
            if selector is Selector.DELEGATION:
                delegation = await rows.DELEGATIONS.get(connection, tenant, value)
                if delegation is None or getattr(delegation, mine) != caller.id:
                    raise missing
                return
            if await plainkeys.selects_any(connection, tenant, selector, value, **{mine: caller.id}):
                return
            if selector is not Selector.PUBLIC_KEY:
                which = revocations.selected(selector, value) & is_mine
                if await revocations.find_certificate(connection, tenant, which) is None:
                    raise missing
                return
        found = False
        before: int | None = revocations.NEWEST
        while not found and before is not None:
            async with self._database.read() as connection:
                found, before = await revocations.key_among(connection, tenant, is_mine, value, before)
        if not found:
            raise missing

    async def _take_effect(
        self, transaction: Transaction, tenant: str, selector: Selector, value: str, revocation_id: str
    ) -> None:
        connection = transaction.connection
        found = True
        if selector in _BLOCKING:
            found = await revocations.mark(connection, tenant, selector, value, revocation_id)
        elif selector is Selector.DELEGATION:
            found = await rows.DELEGATIONS.update(
                connection, (tenant, value), status=DelegationStatus.REVOKED, decided_at=self._clock.now()
            )
        elif selector is Selector.CA_KEY:
            found = await rows.CA_KEYS.update(
                connection, (tenant, value), state=KeyState.RETIRED, revocation_id=revocation_id
            )
        elif selector is Selector.PUBLIC_KEY:
            # A key may be revoked before anyone has had it certified: a leaked key is known by its fingerprint alone.
            await cakeys.forbid(connection, value, KeyStanding.REVOKED, tenant)
        else:
            found = (
                await revocations.find_certificate(connection, tenant, revocations.selected(selector, value))
                is not None
            )
            found = (
                found
                or await enrolment.selects_any(connection, tenant, selector, value)
                or await plainkeys.selects_any(connection, tenant, selector, value)
            )
        if not found:
            raise NotFound("revocation_target_unknown", f"there is no {selector} {value!r} in this tenant")

    async def lift(self, caller: Caller, tenant: str, revocation_id: str) -> Revocation:
        """Let a user, client or host act again; their old certificates stay revoked.

        Raises:
            NotFound: no such revocation
            Conflict: it was lifted before, or is of a kind that is for good

        """
        async with self._database.change(tenant) as transaction:
            connection = transaction.connection
            revocation = await rows.REVOCATIONS.get(connection, tenant, revocation_id)
            if revocation is None:
                raise NotFound("revocation_unknown", f"there is no revocation {revocation_id!r} in this tenant")
            if revocation.selector not in _BLOCKING:
                raise Conflict("revocation_final", f"a revocation by {revocation.selector} is for good")
            if revocation.lifted_at is not None:
                raise Conflict("revocation_lifted", "this revocation was lifted before")
            await revocations.mark(connection, tenant, revocation.selector, revocation.value, None)
            await rows.REVOCATIONS.update(connection, (tenant, revocation_id), lifted_at=self._clock.now())
            transaction.record(
                event(
                    self._clock,
                    caller,
                    tenant,
                    "revocations.lift",
                    f"{revocation.selector}:{revocation.value}",
                    revocation=revocation_id,
                )
            )
            lifted = await rows.REVOCATIONS.get(connection, tenant, revocation_id)
        assert lifted
        return lifted
