"""Which sessions of a node must end, and which have ended without a word."""

from collections.abc import Sequence
from dataclasses import replace

from tms_ca.core.facts import Denial
from tms_ca.core.keysessions import why_key_ended
from tms_ca.core.model import Caller, Login, OnRevocation, Tenant
from tms_ca.core.record import record
from tms_ca.core.sessions import why_ended
from tms_ca.services.clock import Clock
from tms_ca.services.journal import event
from tms_ca.store import logins, rows
from tms_ca.store.engine import Database
from tms_ca.store.memory import RememberedFacts
from tms_ca.store.plainkeys import KeyFactsReader

_MOST_NAMED = 20  # login ids in one audit event


@record
class Ending:
    """A session that must end."""

    login_id: str
    reason: str  # the code of the rule
    message: str  # for whoever sits at the terminal
    after_seconds: int  # from now on


class SessionEnds:
    """The answer to a node that says which sessions it has."""

    def __init__(self, database: Database, facts: RememberedFacts, keys: KeyFactsReader, clock: Clock) -> None:
        self._database = database
        self._facts = facts
        self._keys = keys
        self._clock = clock

    async def report(self, caller: Caller, node: str, named: Sequence[str], *, complete: bool = True) -> list[Ending]:
        """Return which of its sessions a node must end; those that a `complete` list leaves out are closed.

        A session is told of again and again until its node reports its end; the warning runs from the first time.
        """
        async with self._database.read() as connection:
            open_ = await logins.open_of_node(connection, caller.tenant, caller.id, node)
            unknown = sorted(set(named) - {one.login_id for one in open_})
            back = await logins.lost_of(connection, caller.tenant, caller.id, node, unknown)
            tenant = await rows.TENANTS.get(connection, caller.tenant)
        there = frozenset(named)
        gone = [one for one in open_ if one.login_id not in there] if complete else []
        if gone or back:
            await self._settle(caller, node, gone, back)
        if tenant is None or tenant.on_revocation is not OnRevocation.END:
            return []
        return await self._endings(caller, tenant, [one for one in (*open_, *back) if one.login_id in there])

    async def _settle(self, caller: Caller, node: str, gone: Sequence[Login], back: Sequence[Login]) -> None:
        """Close what the node has no more, and open again what it has after all."""
        now = self._clock.now()
        async with self._database.transaction() as transaction:
            # What was read is old by now: an end that the node has told of meanwhile stands.
            lost = await logins.lose(transaction.connection, [one.id for one in gone], now)
            found = await logins.take_back(transaction.connection, [one.id for one in back])
            if lost or found:
                transaction.record(
                    event(
                        self._clock,
                        caller,
                        caller.tenant,
                        "logins.settle",
                        f"{caller.id}/{node}",
                        lost=len(lost),
                        found=len(found),
                        logins=[*lost, *found][:_MOST_NAMED],
                    )
                )

    async def _endings(self, caller: Caller, tenant: Tenant, open_: Sequence[Login]) -> list[Ending]:
        now = self._clock.now()
        ends: list[tuple[Login, Denial]] = []
        for one in open_:
            why = await self._why(one, now, at_expiry=tenant.end_at_expiry)
            if why is not None:
                ends.append((one, why))
        fresh = [one.id for one, _ in ends if one.told_at is None]
        if fresh:
            async with self._database.transaction() as transaction:
                told = set(await logins.tell(transaction.connection, fresh, now))
                # Another report may have told of some meanwhile: the warning runs from the first time.
                since = await logins.told_since(transaction.connection, fresh)
                ends = [(replace(one, told_at=since.get(one.id, one.told_at)), why) for one, why in ends]
                for one, why in ends:
                    if one.login_id not in told:
                        continue
                    target = f"{one.account}@{caller.id} {one.used}"
                    transaction.record(
                        event(self._clock, caller, caller.tenant, "logins.must_end", target, login=one.login_id,
                              node=one.node, user=one.user, reason=why.reason)
                    )  # fmt: skip
        return [_ending(one, why, tenant.warning_seconds, now) for one, why in ends]

    async def _why(self, one: Login, now: int, *, at_expiry: bool) -> Denial | None:
        if one.with_plain_key:
            of_key = await self._keys.get(one.tenant, one.host, one.public_key_fingerprint)
            return None if of_key is None else why_key_ended(one, of_key, now, at_expiry=at_expiry)
        facts = await self._facts.for_login(one.tenant, one.host, one.serial)
        return None if facts is None else why_ended(one.host, one.account, facts, now, at_expiry=at_expiry)


def _ending(one: Login, why: Denial, warning: int, now: int) -> Ending:
    left = max(0, warning - (now - (now if one.told_at is None else one.told_at)))
    when = f"in {left} seconds" if left else "now"
    sentence = f"This session ends {when}: {why.detail.partition(';')[0]}"
    return Ending(one.login_id, why.reason, sentence, left)
