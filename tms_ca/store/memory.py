"""Facts kept in memory, each for as long as its tenant's epoch is the one that it was read at.

Every change of what a decision rests on adds one to its tenant's epoch, in the transaction of the change. A decision
reads the epoch after its request has arrived, together with what is never kept (a key's standing, a certificate's
record and revocation), and takes from memory only what was read at that very epoch: so memory never says anything
that the database would not have said at that moment, whoever changed it, on whichever machine, and however long this
process was stopped. Only `remembered_holder` and `for_issue_at_once` answer without asking: see there.
"""

from typing import Any

from tms_ca.core.access import Role
from tms_ca.core.facts import Facts, IssuedFacts, LoginFacts
from tms_ca.store.facts import FactsReader, Holder, IssuedNow, ReservedNow, StandingNow
from tms_ca.store.snapshot import Snapshot

MOST_TENANTS = 1_000
MOST_ENTRIES = 50_000  # of a tenant, and of holders: some 30 MB each when full
MOST_SERIAL = 2**63 - 1  # a certificate may say more; no database takes it, and none of ours says it
_NOBODYS = 0
_NO_KEY = ""  # which is never forbidden

_Key = tuple[str | int | None, ...]


class _Tenant:
    """What is known of one tenant at one epoch."""

    __slots__ = ("entries", "epoch")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.entries: dict[_Key, Any] = {}


def _alike(host: str, issued: IssuedFacts) -> _Key:
    """Return what certificates have in common whose logins on `host` rest on the same."""
    return (
        host, issued.client_id, issued.user, issued.host, issued.account, issued.delegation_id, issued.ca_fingerprint,
        issued.reservation_id,
    )  # fmt: skip


class RememberedFacts:
    """FactsReader with a memory."""

    def __init__(self, reader: FactsReader) -> None:
        self._reader = reader
        self._tenants: dict[str, _Tenant] = {}
        self._holders: dict[bytes, Holder] = {}
        self._now = Snapshot(reader.version)

    def remembered_holder(self, digest: bytes) -> Holder | None:
        """Return whose credential this digest was when it was last asked for, by a client or a host.

        Nothing says that it still is: whoever decides on it compares the holder's epoch with that of the facts
        (services.authentication.require_epoch).
        """
        return self._holders.get(digest)

    async def holder(self, digest: bytes) -> Holder | None:
        """Return whose credential has this digest, now."""
        found = await self._reader.holder(digest)
        if found is None:
            self._holders.pop(digest, None)
        elif found.role in {Role.CLIENT, Role.HOST}:
            if len(self._holders) >= MOST_ENTRIES:
                self._holders.clear()
            self._holders[digest] = found
        return found

    async def session(self, digest: bytes) -> Holder | None:
        """Return whose session has this digest; people are asked about seldom, and nothing of them is kept."""
        return await self._reader.session(digest)

    async def for_issue(
        self, tenant: str, client_id: str, user: str, host: str, account: str, fingerprint: str
    ) -> Facts | None:
        """Return the facts for an issue; None when there is no such tenant."""
        now = await self._reader.standing(tenant, fingerprint)
        if now is None:
            return None
        epoch, standing = now
        key = (client_id, user, host, account)
        known: Facts | None = self._known(tenant, epoch, key)
        if known is not None and standing is None:
            return known
        found = await self._reader.for_issue(tenant, client_id, user, host, account, fingerprint)
        if found is not None and found.key_standing is None:
            self._keep(tenant, found.epoch, key, found)
        return found

    async def reservation(self, tenant: str, client_id: str, reservation_id: str) -> ReservedNow | None:
        """Return the tenant's epoch and a reservation of a client's; nothing of it is kept."""
        return await self._reader.reservation(tenant, client_id, reservation_id)

    def for_issue_at_once(self, tenant: str, client_id: str, user: str, host: str, account: str) -> Facts | None:
        """Return the facts for an issue where that takes no waiting; None says nothing.

        Of what is remembered nothing is asked: it may be of an older epoch. Nor is it asked whether a key is forbidden.
        The commit of what rests on them asks for both.
        """
        last, key = self._tenants.get(tenant), (client_id, user, host, account)
        known: Facts | None = None if last is None else last.entries.get(key)
        if known is None:
            known = self._reader.for_issue_at_once(tenant, client_id, user, host, account, _NO_KEY)
            if known is not None:
                self._keep(tenant, known.epoch, key, known)
        return known

    async def for_login(self, tenant: str, host: str, serial: int) -> LoginFacts | None:
        """Return the facts for a login check; None when there is no such tenant."""
        if serial > MOST_SERIAL:
            serial = _NOBODYS
        before = self._asked_before(tenant, host, serial)
        if before is not None:
            known = self._still(tenant, host, serial, await self._reader.standing(tenant, before))
            if known is not None:
                return known
        now = await self._reader.issued(tenant, serial)
        if now is not None and (put_together := self._login(tenant, host, serial, now)) is not None:
            return put_together
        found = await self._reader.for_login(tenant, host, serial)
        if found is not None and found.issued is not None:
            self._keep(tenant, found.epoch, _alike(host, found.issued), found)
        return found

    def for_login_at_once(self, tenant: str, host: str, serial: int) -> LoginFacts | None:
        """Return the facts for a login check where that takes no waiting; None says nothing."""
        if serial > MOST_SERIAL:
            return None
        known: LoginFacts | None = self._now.get((tenant, host, serial), self._login_at_once, tenant, host, serial)
        return known

    def _login_at_once(self, tenant: str, host: str, serial: int) -> LoginFacts | None:
        before = self._asked_before(tenant, host, serial)
        if before is not None:
            known = self._still(tenant, host, serial, self._reader.standing_at_once(tenant, before))
            if known is not None:
                return known
        now = self._reader.issued_at_once(tenant, serial)
        return None if now is None else self._login(tenant, host, serial, now)

    def _asked_before(self, tenant: str, host: str, serial: int) -> str | None:
        """Return the fingerprint of the certificate's key where its facts are remembered: sshd asks twice a login."""
        known = self._tenants.get(tenant)
        facts: LoginFacts | None = None if known is None else known.entries.get((host, serial))
        return None if facts is None or facts.issued is None else facts.issued.public_key_fingerprint

    def _still(self, tenant: str, host: str, serial: int, now: StandingNow | None) -> LoginFacts | None:
        """Return what is remembered of a certificate if it is all true at the epoch and with the standing of now."""
        if now is None:
            return None
        known: LoginFacts | None = self._known(tenant, now[0], (host, serial))
        return known if known is not None and known.key_standing is now[1] else None

    def _login(self, tenant: str, host: str, serial: int, now: IssuedNow) -> LoginFacts | None:
        """Put a certificate's record together with what is known of everything that it rests on, if it is."""
        epoch, standing, issued = now
        known: LoginFacts | None = self._known(tenant, epoch, _alike(host, issued))
        if known is None:
            return None
        found = LoginFacts(
            known.tenant, known.host, issued, known.client, known.user, known.link, known.delegation,
            known.ca_key_state, known.ca_key_revoked, standing, epoch, known.reservation,
        )  # fmt: skip
        self._keep(tenant, epoch, (host, serial), found)
        return found

    def _known(self, tenant: str, epoch: int, key: _Key) -> Any:
        known = self._tenants.get(tenant)
        if known is None or known.epoch == epoch:
            return None if known is None else known.entries.get(key)
        if known.epoch > epoch:
            # Asked before a change that another request has seen already; or a backup was put back, a standby lost the
            # last changes: then the same numbers will be counted once more, for other facts.
            del self._tenants[tenant]
            self._holders.clear()
        return None

    def _keep(self, tenant: str, epoch: int, key: _Key, facts: Facts | LoginFacts) -> None:
        known = self._tenants.get(tenant)
        if known is None or known.epoch < epoch:
            if len(self._tenants) >= MOST_TENANTS:
                self._tenants.clear()
            known = self._tenants[tenant] = _Tenant(epoch)
        elif known.epoch > epoch:
            return  # read before a change that another request has seen already
        elif len(known.entries) >= MOST_ENTRIES:
            known.entries.clear()
        known.entries[key] = facts
