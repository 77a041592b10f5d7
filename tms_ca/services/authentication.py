"""Who is on the line: a credential becomes a Caller, or a refusal that says nothing about why."""

import hmac
from collections.abc import Mapping

from sqlalchemy.exc import IntegrityError

from tms_ca.core.access import Role
from tms_ca.core.errors import Denied, Unauthenticated
from tms_ca.core.facts import DenialReason
from tms_ca.core.model import ALL_TENANTS, Caller
from tms_ca.core.names import valid_tenant
from tms_ca.services.clock import Clock
from tms_ca.services.guesses import MOST_A_MINUTE, Guesses, guessable, needs_a_name
from tms_ca.services.ids import SECRET_PREFIX, secret_digest, tms_digest
from tms_ca.services.journal import event
from tms_ca.store import credentials, rows
from tms_ca.store.engine import Database
from tms_ca.store.facts import Holder
from tms_ca.store.memory import RememberedFacts

_NOT_GOOD = "the credential is not good: wrong, ended or taken back"
_STANDING: Mapping[DenialReason, str] = {
    DenialReason.TENANT_DISABLED: "the tenant is disabled; an operator can enable it",
    DenialReason.CLIENT_DISABLED: "the client is disabled; an admin can enable it",
    DenialReason.CLIENT_REVOKED: "the client is revoked; an admin can lift the revocation",
    DenialReason.CLIENT_EXPIRED: "the client's registration has ended; an admin can extend it",
    DenialReason.HOST_DISABLED: "the host is disabled; an admin can enable it",
    DenialReason.HOST_REVOKED: "the host is revoked; an admin can lift the revocation",
    DenialReason.USER_DISABLED: "the user is disabled; an admin can enable it",
    DenialReason.USER_REVOKED: "the user is revoked; an admin can lift the revocation",
}


class ChangedMeanwhile(Exception):
    """The caller's tenant has changed since its credential was checked: check it again, then decide anew.

    `tenant` is which one, where it is none that was named by who asked.
    """

    def __init__(self, tenant: str = "") -> None:
        super().__init__(tenant)
        self.tenant = tenant


class Authentication:
    """Check credentials. Secrets are random and found by their digest, so that no guess is ever compared."""

    def __init__(self, database: Database, facts: RememberedFacts, clock: Clock) -> None:
        self._database = database
        self._facts = facts
        self._clock = clock
        self._guesses = Guesses(clock)

    async def by_secret(
        self, secret: str, *, name: str | None, tenant: str, request_id: str, address: str, fresh: bool = True
    ) -> Caller:
        """Return the caller that `secret` belongs to; `name` is what came with it, `tenant` what the request is about.

        Unless `fresh`, a client's or host's standing may be one that is remembered: what is decided for such a caller
        must rest on facts of the caller's epoch (`require_epoch`).

        A secret that does not begin as ours do is good with its holder's name only. One that may be a word is good in
        its holder's tenant only, and `guesses` bounds how many are looked at.

        Raises:
            Unauthenticated: not a credential, or not this caller's, or it has ended
            Denied: good, but its holder (or the tenant) is disabled or revoked
            TooMany: too many words were wrong for this name in this minute, so none is looked at

        """
        if not needs_a_name(secret):
            return await self._by_our_secret(secret, name, request_id, address, fresh=fresh)
        if name is None:
            raise Unauthenticated("credential_not_good", _NOT_GOOD)
        if not guessable(secret):
            return await self._by_any_secret(secret, name, request_id, address, fresh=fresh)
        self._guesses.check(tenant, name)
        try:
            caller = await self._by_any_secret(secret, name, request_id, address, fresh=True, tenant=tenant)
        except Unauthenticated:
            if self._guesses.wrong(tenant, name):
                await self._record_limit(tenant, name, request_id, address)
            raise
        except Denied:
            self._guesses.check(tenant, name)
            raise
        self._guesses.check(tenant, name)  # of many at once, as many are answered as of one after the other
        return caller

    async def _by_our_secret(
        self,
        secret: str,
        name: str | None,
        request_id: str,
        address: str,
        *,
        fresh: bool,
        tenant: str | None = None,
    ) -> Caller:
        digest = secret_digest(secret)
        if secret.startswith(SECRET_PREFIX["user"]):
            holder = await self._facts.session(digest)
        else:
            remembered = None if fresh else self.remembered(digest, name, request_id, address)
            if remembered is not None:
                return remembered
            holder = await self._facts.holder(digest)
        return self._caller(holder, digest, name, request_id, address, tenant)

    async def _by_any_secret(
        self, secret: str, name: str, request_id: str, address: str, *, fresh: bool, tenant: str | None = None
    ) -> Caller:
        """Return the caller of a secret that is kept in our way or as SHA-512; `tenant` is the only one, unless None.

        What is asked of the database is the same for whatever is wrong: nothing says whether there is a holder of
        that name.
        """
        try:
            return await self._by_our_secret(secret, name, request_id, address, fresh=fresh, tenant=tenant)
        except Unauthenticated:
            pass
        try:
            return await self._by_old_secret(secret, name, tenant, request_id, address)
        except Unauthenticated:
            # Between the two, another request may have re-stored it.
            return await self._by_our_secret(secret, name, request_id, address, fresh=True, tenant=tenant)

    async def _record_limit(self, tenant: str, name: str, request_id: str, address: str) -> None:
        """Put on record that no further secret is looked at for a name in this minute."""
        async with self._database.transaction() as transaction:
            there = valid_tenant(tenant) and await rows.TENANTS.get(transaction.connection, tenant) is not None
            nobody = Caller(Role.ANYONE, "", ascii(name)[1:-1][:64], request_id=request_id, address=address)
            whose = tenant if there else ALL_TENANTS
            limit = {"wrong": MOST_A_MINUTE}
            transaction.record(event(self._clock, nobody, whose, "credentials.limit", nobody.id, "too_many", **limit))

    async def _by_old_secret(
        self, secret: str, name: str, tenant: str | None, request_id: str, address: str
    ) -> Caller:  # fmt: skip
        """Return the caller whose secret came from a TMS server as SHA-512, and keep it as SHA-256 from now on.

        Such a secret may be a word that people chose, so it is never looked for without the name of its holder.
        """
        old = tms_digest(secret)
        holder = await self._facts.holder(old)
        caller = self._caller(holder, old, name, request_id, address, tenant)
        try:
            async with self._database.transaction() as transaction:
                if await credentials.rekey(transaction.connection, old, secret_digest(secret)):
                    subject = f"{caller.role}:{caller.id}"
                    transaction.record(event(self._clock, caller, caller.tenant, "secrets.rehash", subject))
        except IntegrityError:
            pass  # another holder has the same secret, kept in our way already: this one stays as it is
        return caller

    def known_by(self, secret: str, name: str | None) -> bytes | None:
        """Return what `remembered` finds the holder of `secret` by; None where it must be looked at each time."""
        if needs_a_name(secret) and (name is None or guessable(secret)):
            return None
        return secret_digest(secret)

    def remembered(self, digest: bytes, name: str | None, request_id: str, address: str) -> Caller | None:
        """Return the client or host that a secret belonged to when it was last asked for: see `by_secret`."""
        holder = self._facts.remembered_holder(digest)
        if holder is None:
            return None
        try:
            return self._caller(holder, digest, name, request_id, address)
        except (Unauthenticated, Denied):
            return None  # what is remembered may be of yesterday; a refusal must be of now

    def _caller(
        self,
        holder: Holder | None,
        digest: bytes,
        name: str | None,
        request_id: str,
        address: str,
        tenant: str | None = None,
    ) -> Caller:
        if holder is None:
            raise Unauthenticated("credential_not_good", _NOT_GOOD)
        now = self._clock.now()
        good = hmac.compare_digest(holder.digest, digest) and (name is None or name == holder.subject)
        good = good and (tenant is None or tenant == holder.tenant)
        if not good or (holder.expires_at is not None and now >= holder.expires_at):
            raise Unauthenticated("credential_not_good", _NOT_GOOD)
        self._check_standing(holder, now)
        mfa_until = 0
        if holder.mfa_verified_at is not None:
            mfa_until = holder.mfa_verified_at + holder.mfa_window_seconds
        return Caller(
            role=holder.role,
            tenant=holder.tenant,
            id=holder.subject,
            mfa_until=mfa_until,
            session=digest if holder.role is Role.USER else b"",
            request_id=request_id,
            address=address,
            epoch=holder.epoch or 0,
        )

    def _check_standing(self, holder: Holder, now: int) -> None:
        reason: DenialReason | None = None
        if holder.tenant != ALL_TENANTS and not holder.tenant_enabled:
            reason = DenialReason.TENANT_DISABLED
        elif holder.role in {Role.OPERATOR, Role.ADMIN} and not holder.enabled:
            raise Unauthenticated("credential_not_good", _NOT_GOOD)
        elif holder.revoked:
            reason = DenialReason(f"{holder.role}_revoked")
        elif not holder.enabled:
            reason = DenialReason(f"{holder.role}_disabled")
        elif holder.subject_ends_at is not None and now >= holder.subject_ends_at:
            reason = DenialReason.CLIENT_EXPIRED
        if reason is not None:
            raise Denied(reason, _STANDING[reason])


def require_epoch(caller: Caller, epoch: int) -> None:
    """Return only where the caller's credential was checked at `epoch`, that of the facts of a decision.

    Raises:
        ChangedMeanwhile: it was not; http.endpoint checks the credential again and calls anew

    """
    if caller.epoch != epoch:
        raise ChangedMeanwhile
