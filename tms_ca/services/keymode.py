"""Key mode: key pairs made here for clients, and the keys' lives through the TMS wire API."""

from dataclasses import replace

from tms_ca.core.access import Reach
from tms_ca.core.errors import NotFound
from tms_ca.core.facts import Denial, Facts, Grant, IssueRequest, Limits
from tms_ca.core.keymode import decide_key_mode, ended_at, lifetime
from tms_ca.core.model import Caller, PublicKeyRecord
from tms_ca.core.publickey import parse_public_key
from tms_ca.core.record import record
from tms_ca.core.tms_v1 import MOST_INT
from tms_ca.keypairs import KeyPair, KeyPairs, OnePair
from tms_ca.services.clock import Clock
from tms_ca.services.journal import event, refusal
from tms_ca.services.mvp import MISSING, Mvp
from tms_ca.services.plainkeys import KeyWish, PlainKeys
from tms_ca.store import plainkeys, rows
from tms_ca.store.engine import Database, Transaction
from tms_ca.store.plainkeys import KEYS

UPDATE = "public-keys.update"


@record
class KeyModeWish:
    """What a client asks for."""

    user: str
    host: str
    account: str
    ttl_seconds: int  # from now
    max_uses: int | None  # None: any number


@record
class KeyPlace:
    """How the wire API names a key: by all of these."""

    tenant: str
    client_id: str
    host: str
    fingerprint: str


class KeyMode:
    """The life of a key whose pair was made here; the keys are those of PlainKeys."""

    def __init__(self, database: Database, keys: PlainKeys, mvp: Mvp, limits: Limits, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._mvp = mvp
        self._pairs = KeyPairs()
        self._limits = limits
        self._clock = clock

    async def create(
        self, caller: Caller, wish: KeyModeWish, once: OnePair, *, provide: bool = False
    ) -> tuple[PublicKeyRecord, KeyPair]:
        """Make a key pair for the client `caller` and escrow its public half; the private half is kept nowhere.

        `provide` makes what is missing for it first: see services.mvp.

        Raises:
            Denied: a rule of core.policy refused; the refusal is on record, `extra` may have `ended_at` (Unix seconds)
            Unavailable: too many wait for a key pair
            ChangedMeanwhile: something in the tenant changed since the credential was checked; nothing was kept, and
                with the same `once` the next try makes no other pair

        """
        request = IssueRequest(wish.user, wish.host, wish.account)
        if provide:
            await self._mvp.settled(caller.tenant)
        facts, verdict = await self._decided(caller, request)
        if provide and isinstance(verdict, Denial) and verdict.reason in MISSING:
            caller = await self._mvp.provide(caller, wish.user, wish.host, wish.account)
            facts, verdict = await self._decided(caller, request)
        if isinstance(verdict, Denial):
            await self._keys.record_refusal(caller, request, verdict)
            at = ended_at(verdict, facts)
            raise refusal(verdict, extra=None if at is None else {"ended_at": at})
        pair = await once.get(self._pairs, (caller.tenant, caller.id))
        now = self._clock.now()
        delegation = next(one for one in facts.delegations if one.delegation_id == verdict.delegation_id)
        client_most = None if facts.client is None else facts.client.max_ttl_seconds
        ends, limited_by = lifetime(now, wish.ttl_seconds, delegation.constraints, client_most)
        kept = await self._keys.keep(
            caller,
            replace(request, ttl_seconds=wish.ttl_seconds if wish.ttl_seconds <= MOST_INT else None),
            KeyWish(pair.public_key, wish.max_uses),
            parse_public_key(pair.public_key),
            replace(verdict, valid_before=ends, limited_by=limited_by),
            facts.epoch,
            pair_made=str(pair.kind),
        )
        return kept, pair

    async def _decided(self, caller: Caller, request: IssueRequest) -> tuple[Facts, Grant | Denial]:
        facts = await self._keys.facts(caller, request, "")  # no key yet: who may not have one costs none
        return facts, decide_key_mode(request, facts, self._limits, self._clock.now())

    async def update(
        self, caller: Caller, place: KeyPlace, *, max_uses: int | None = None, ttl_seconds: int | None = None
    ) -> None:
        """Set how many uses a key is for, those that were used included, and its end from now; None leaves it.

        Raises:
            NotFound: there is no such key that the caller may see

        """
        async with self._database.transaction() as transaction:
            before = await self._found(transaction, caller, place)
            now = self._clock.now()
            ends = None
            if ttl_seconds is not None:
                delegation = await rows.DELEGATIONS.get(transaction.connection, place.tenant, before.delegation_id)
                client = await rows.CLIENTS.get(transaction.connection, place.tenant, before.client_id)
                bounds = None if delegation is None else delegation.constraints
                ends, _ = lifetime(now, ttl_seconds, bounds, None if client is None else client.max_ttl_seconds)
            after = await plainkeys.change(transaction.connection, before, now, max_uses=max_uses, expires_at=ends)
            if after is None:
                raise _unknown(place)
            changes = {
                name: [getattr(before, name), getattr(after, name)]
                for name in ("max_uses", "uses_left", "expires_at")
                if getattr(before, name) != getattr(after, name)
            }
            transaction.record(
                event(self._clock, caller, place.tenant, UPDATE, after.key_id, key=after.fingerprint, changes=changes)
            )

    async def remove(self, caller: Caller, place: KeyPlace) -> bool:
        """Take a key back: from the next login on it opens nothing; False where there is none."""
        named = {"client_id": place.client_id, "host": place.host}
        try:
            await self._keys.remove(caller, "client_id", place.tenant, place.fingerprint, **named)
        except NotFound:
            return False
        return True

    def close(self) -> None:
        """Make no more key pairs."""
        self._pairs.close()

    async def _found(self, transaction: Transaction, caller: Caller, place: KeyPlace) -> PublicKeyRecord:
        found = await KEYS.get(transaction.connection, place.tenant, place.fingerprint)
        named = found is not None and (found.client_id, found.host) == (place.client_id, place.host)
        if found is None or not named or (caller.reach is not Reach.ANY and found.client_id != caller.id):
            raise _unknown(place)
        return found


def _unknown(place: KeyPlace) -> NotFound:
    return NotFound(
        "public_key_unknown",
        f"client {place.client_id!r} has no public key {place.fingerprint!r} for host {place.host!r}",
    )
