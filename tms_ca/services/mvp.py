"""MVP mode: what a key needs and nobody has made yet is made when a client asks for the key."""

import asyncio
from contextlib import suppress
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.facts import DenialReason
from tms_ca.core.model import Caller
from tms_ca.core.names import RESERVED_ACCOUNTS
from tms_ca.core.record import record
from tms_ca.core.times import LAST_SECOND
from tms_ca.services.authentication import ChangedMeanwhile
from tms_ca.services.grants import Grants
from tms_ca.store import grants, plainkeys, rows
from tms_ca.store.engine import Database
from tms_ca.store.tables import delegations

MISSING = frozenset(
    {
        DenialReason.DELEGATION_MISSING,
        DenialReason.USER_UNKNOWN,
        DenialReason.HOST_UNKNOWN,
        DenialReason.LINK_MISSING,
    }
)
_MOST_SECONDS = 2.0


@record
class _Lacking:
    """What is not there."""

    user: bool
    link: bool  # with its host
    delegation: bool


class Mvp:
    """Makes what is missing. What is there stays as it is: whatever is disabled, ended or taken back still refuses."""

    def __init__(self, database: Database, admins_grants: Grants) -> None:
        self._database = database
        self._grants = admins_grants
        self._at_work = 0
        self._settled = asyncio.Event()

    async def settled(self, tenant: str) -> None:
        """Wait until nothing is being made here, but not for long: what is decided meanwhile would be void.

        While `tenant` stands still there is no need to: what is being made waits itself.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_MOST_SECONDS):
                while self._at_work and not self._database.standstill.is_on(tenant):
                    self._settled.clear()
                    await self._settled.wait()

    async def provide(self, caller: Caller, user: str, host: str, account: str) -> Caller:
        """Make, in one transaction, what `user` lacks so that the client `caller` may act as `account` on `host`.

        Returns the caller as of the change that this is. An account of the system is never provided for.

        Raises:
            ChangedMeanwhile: something else in the tenant changed since the credential was checked, too

        """
        if account in RESERVED_ACCOUNTS:
            return caller
        async with self._database.read() as connection:
            lacking = await _lacking(connection, caller, user, host, account)
        if lacking is None:  # before `change`, which would void every decision in flight for nothing
            return caller
        self._at_work += 1
        try:
            return await self._make(caller, user, host, account)
        finally:
            self._at_work -= 1
            self._settled.set()

    async def _make(self, caller: Caller, user: str, host: str, account: str) -> Caller:
        tenant = caller.tenant
        async with self._database.change(tenant, look=True) as transaction:
            connection = transaction.connection
            epoch = await plainkeys.epoch_held(connection, tenant)
            lacking = await _lacking(connection, caller, user, host, account)
            if lacking is None or await rows.CLIENTS.get(connection, tenant, caller.id) is None:
                raise ChangedMeanwhile
            if lacking.user:
                await self._grants.assert_mfa_in(transaction, caller, tenant, user, LAST_SECOND, mvp=True)
            if lacking.link:
                await self._grants.link_in(transaction, caller, tenant, user, host, account, LAST_SECOND, mvp=True)
            if lacking.delegation:
                await self._grants.delegate_in(transaction, caller, tenant, caller.id, user, LAST_SECOND, mvp=True)
        # Made all the same: many clients that begin at once would else stop each other again and again.
        if epoch is None or transaction.before != caller.epoch:
            raise ChangedMeanwhile
        return replace(caller, epoch=epoch)


async def _lacking(connection: AsyncConnection, caller: Caller, user: str, host: str, account: str) -> _Lacking | None:
    """Return what is missing; None where nothing is, or where it would be no use."""
    tenant = caller.tenant
    found = await rows.USERS.get(connection, tenant, user)
    if found is not None and (not found.enabled or found.revocation_id is not None):
        return None
    link = await grants.link_of(connection, tenant, user, host, account)
    c = delegations.c
    which = (c.tenant == tenant, c.client_id == caller.id, c.user == user)
    # Whatever the user said to this client before stands, above all a no.
    said = (await connection.execute(select(c.delegation_id).where(*which).limit(1))).first()
    if found is not None and link is not None and said is not None:
        return None
    return _Lacking(found is None, link is None, said is None)
