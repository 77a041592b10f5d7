"""Plain keys: escrow one for hosts and clients that cannot use certificates, and find it at a login."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tms_ca.core.errors import Conflict, NotFound
from tms_ca.core.facts import Denial, Facts, Grant, IssueRequest, Limits
from tms_ca.core.keylogin import KeyFacts, KeyGrant, KeyRequest, decide_escrow, decide_key
from tms_ca.core.model import Caller, PublicKeyRecord
from tms_ca.core.publickey import PublicKey, parse_public_key
from tms_ca.core.record import record
from tms_ca.core.tms_v1 import NumberOf
from tms_ca.services.authentication import ChangedMeanwhile, require_epoch
from tms_ca.services.clock import Clock
from tms_ca.services.directory import own_filter
from tms_ca.services.ids import new_id
from tms_ca.services.issuance import facts_for
from tms_ca.services.journal import event, refusal
from tms_ca.store import plainkeys, tms_v1
from tms_ca.store.engine import Database, Transaction
from tms_ca.store.hot import Entry, GroupCommit
from tms_ca.store.memory import RememberedFacts
from tms_ca.store.plainkeys import KEYS, KeyFactsReader

ESCROW, REMOVE, CHECK = "public-keys.create", "public-keys.delete", "logins.key"
Judge = Callable[[KeyRequest, KeyFacts, Limits, int], KeyGrant | Denial]


@record
class KeyWish:
    """What a client asks for beside the request itself."""

    public_key: str
    max_uses: int | None = None


class PlainKeys:
    """The life of an escrowed key."""

    def __init__(
        self,
        database: Database,
        facts: RememberedFacts,
        reader: KeyFactsReader,
        commits: GroupCommit,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self._database = database
        self._facts = facts
        self._reader = reader
        self._commits = commits
        self._limits = limits
        self._clock = clock

    async def escrow(self, caller: Caller, request: IssueRequest, wish: KeyWish) -> PublicKeyRecord:
        """Escrow a key for the client `caller`; the same key for the same place again begins anew.

        Raises:
            Invalid: the public key is not one that is taken
            Denied: a rule of core.policy refused; the refusal is on record
            Conflict: the key is escrowed for another user, client or place
            ChangedMeanwhile: something in the tenant changed since the credential was checked; nothing was kept

        """
        key = parse_public_key(wish.public_key)
        facts = await self.facts(caller, request, key.fingerprint)
        verdict = decide_escrow(request, facts, self._limits, self._clock.now())
        if isinstance(verdict, Denial):
            await self.record_refusal(caller, request, verdict, key=key.fingerprint)
            raise refusal(verdict)
        return await self.keep(caller, request, wish, key, verdict, facts.epoch)

    async def facts(self, caller: Caller, request: IssueRequest, fingerprint: str) -> Facts:
        """Return what an escrow is decided on; `fingerprint` is empty where there is no key yet.

        Raises:
            ChangedMeanwhile: something in the tenant changed since the credential was checked

        """
        return await facts_for(self._facts, caller, request, fingerprint)

    async def record_refusal(self, caller: Caller, request: IssueRequest, denial: Denial, **more: object) -> None:
        """Put on record that a key was not escrowed."""
        target = f"{request.user} {request.account}@{request.host}"
        await self._record(caller, ESCROW, target, denial, **more)

    async def keep(
        self,
        caller: Caller,
        request: IssueRequest,
        wish: KeyWish,
        key: PublicKey,
        grant: Grant,
        epoch: int,
        **more: object,
    ) -> PublicKeyRecord:
        """Keep a key as it was granted on facts of `epoch`; `more` goes on record.

        Raises:
            Conflict: the key is escrowed for another user, client or place
            ChangedMeanwhile: something in the tenant changed meanwhile; nothing was kept

        """
        async with self._database.transaction() as transaction:
            if await plainkeys.epoch_held(transaction.connection, caller.tenant) != epoch:
                raise ChangedMeanwhile
            return await self._keep(transaction, caller, request, wish, key, grant, more)

    async def _keep(
        self,
        transaction: Transaction,
        caller: Caller,
        request: IssueRequest,
        wish: KeyWish,
        key: PublicKey,
        grant: Grant,
        more: Mapping[str, Any],
    ) -> PublicKeyRecord:
        there = await KEYS.get(transaction.connection, caller.tenant, key.fingerprint)
        place = (request.user, caller.id, request.host, request.account)
        if there is not None and (there.user, there.client_id, there.host, there.account) != place:
            raise Conflict(
                "public_key_taken",
                "this public key is escrowed for another user, client, host or account; make a new key pair",
            )
        now = self._clock.now()
        kept = PublicKeyRecord(
            tenant=caller.tenant,
            fingerprint=key.fingerprint,
            key_id=new_id("key"),
            key_type=key.algorithm,
            public_key=key.line.split(" ")[1],
            user=request.user,
            client_id=caller.id,
            host=request.host,
            account=request.account,
            delegation_id=grant.delegation_id,
            critical_options=grant.critical_options,
            extensions=grant.extensions,
            valid_after=grant.valid_after,
            expires_at=grant.valid_before,
            limited_by=grant.limited_by,
            ttl_seconds=request.ttl_seconds,
            max_uses=wish.max_uses,
            uses_left=wish.max_uses,
            used_at=None,
            created_at=now if there is None else there.created_at,
            updated_at=now,
        )
        if not await plainkeys.put(transaction.connection, kept, None if there is None else there.key_id):
            raise ChangedMeanwhile  # taken back or escrowed by another since it was looked for
        transaction.record(
            event(
                self._clock,
                caller,
                caller.tenant,
                ESCROW,
                kept.key_id,
                user=kept.user,
                account=kept.account,
                host=kept.host,
                key=kept.fingerprint,
                delegation=kept.delegation_id,
                until=kept.expires_at,
                replaced=None if there is None else there.key_id,
                **more,
            )
        )
        return kept

    async def check(
        self,
        caller: Caller,
        account: str,
        fingerprint: str,
        key_type: str | None,
        judge: Judge = decide_key,
        *,
        reports_logins: bool = False,
    ) -> KeyGrant:
        """Return the line for the host `caller`, whose sshd was offered a key; nothing is remembered.

        `key_type` None is whichever the key has. What `judge` forgave is on record, too. A host that reports its logins
        tells of this one to services.keylogins, which takes its use.

        Raises:
            Denied: the key does not open the account, for a reason of core.policy; the refusal is on record
            ChangedMeanwhile: something that it rests on changed since the credential was checked

        """
        facts = await self._reader.get(caller.tenant, caller.id, fingerprint)
        if facts is None:
            raise NotFound("tenant_unknown", "there is no such tenant")
        require_epoch(caller, facts.around.epoch)
        now = self._clock.now()
        if key_type is None:
            key_type = "" if facts.key is None else facts.key.key_type
        asked = KeyRequest(caller.id, account, fingerprint, key_type, reports_logins)
        verdict = judge(asked, facts, self._limits, now)
        if isinstance(verdict, KeyGrant) and verdict.takes_use and facts.key is not None and not reports_logins:
            await self._use(caller, fingerprint, facts.key.key_id, now)
        target = f"{account}@{caller.id} key:{fingerprint}"
        if isinstance(verdict, Denial):
            await self._record(caller, CHECK, target, verdict)
            raise refusal(verdict)
        if verdict.forgiven is not None:
            await self._commits.submit(
                Entry(event(self._clock, caller, caller.tenant, CHECK, target, lenient=verdict.forgiven))
            )
        return verdict

    async def _use(self, caller: Caller, fingerprint: str, key_id: str, now: int) -> None:
        async with self._database.transaction() as transaction:
            left = await plainkeys.take_use(transaction.connection, caller.tenant, fingerprint, key_id, now)
            if left is None:
                raise ChangedMeanwhile  # the last was taken, or the key is another: decided anew, it is a no
            transaction.record(
                event(self._clock, caller, caller.tenant, CHECK, f"key:{fingerprint}", key_id=key_id, uses_left=left)
            )

    async def _record(self, caller: Caller, action: str, target: str, denial: Denial, **more: object) -> None:
        refused = event(self._clock, caller, caller.tenant, action, target, denial.reason, detail=denial.detail, **more)
        await self._commits.submit(Entry(refused))

    async def get(self, caller: Caller, own: str, tenant: str, fingerprint: str) -> PublicKeyRecord:
        """Return a key that the caller may see; `own` is the column that makes it theirs.

        Raises:
            NotFound: there is none, or it is another's

        """
        async with self._database.read() as connection:
            found = await KEYS.get(connection, tenant, fingerprint)
        return _visible(caller, own, found, fingerprint, {})

    async def page(
        self,
        caller: Caller,
        own: str,
        tenant: str,
        filters: Mapping[str, object],
        after: Sequence[object] | None,
        limit: int,
    ) -> tuple[list[PublicKeyRecord], list[object] | None]:
        """Return a page of what the caller may see."""
        wanted = {"tenant": tenant, **filters, **own_filter(caller, own)}
        async with self._database.read() as connection:
            return await KEYS.page(connection, wanted, after, limit)

    async def remove(self, caller: Caller, own: str, tenant: str, fingerprint: str, **place: str) -> None:
        """Take a key back: from the next login on it opens nothing. `place` are columns that it must have besides.

        Raises:
            NotFound: there is none, or it is another's

        """
        async with self._database.transaction() as transaction:
            found = await KEYS.get(transaction.connection, tenant, fingerprint)
            gone = _visible(caller, own, found, fingerprint, place)
            if not await KEYS.remove(transaction.connection, tenant, fingerprint):
                raise _unknown(fingerprint)  # another was quicker
            await tms_v1.forget(transaction.connection, tenant, NumberOf.KEY, fingerprint)
            transaction.record(
                event(self._clock, caller, tenant, REMOVE, gone.key_id, user=gone.user, account=gone.account,
                      host=gone.host, key=fingerprint)
            )  # fmt: skip


def _visible(
    caller: Caller, own: str, found: PublicKeyRecord | None, fingerprint: str, place: Mapping[str, str]
) -> PublicKeyRecord:
    wanted = (*own_filter(caller, own).items(), *place.items())
    if found is None or any(getattr(found, name) != is_ for name, is_ in wanted):
        raise _unknown(fingerprint)
    return found


def _unknown(fingerprint: str) -> NotFound:
    return NotFound("public_key_unknown", f"there is no public key {fingerprint!r} that you may see")
