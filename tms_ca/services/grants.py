"""What an admin vouches for in a user's place: the second factor, an account on a host, a delegation to a client.

Each is one transaction with its audit events, and what races for the same thing comes after it: every change of a
tenant begins with the tenant's row. The forms that end in `_in` take part in a transaction that `Database.change`
opened; whatever they refuse, they refuse before they write.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.exc import IntegrityError

from tms_ca.core.errors import Conflict, NotFound
from tms_ca.core.model import (
    AccountLink,
    Caller,
    Constraints,
    Delegation,
    DelegationStatus,
    PrincipalFormat,
    Selector,
    User,
)
from tms_ca.core.tms_v1 import LINE_EXTENSIONS, MOST_INT, PURPOSE
from tms_ca.services.clock import Clock
from tms_ca.services.delegations import delegation_row
from tms_ca.services.ids import new_id, new_user_code
from tms_ca.services.journal import OK, event
from tms_ca.services.shelved import add_in, remove_in, there, update_in
from tms_ca.services.tms_v1_numbers import NumberOf
from tms_ca.store import grants, revocations, rows, tms_v1
from tms_ca.store.engine import Database, Transaction

_EVERYTHING = Constraints(extensions=LINE_EXTENSIONS)


class Grants:
    """Made, changed and taken back by admins. Times are Unix seconds."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def assert_mfa(self, caller: Caller, tenant: str, user: str, until: int) -> User:
        """Let a user count as MFA-current until `until`; who is not there is made, without a password.

        Raises:
            Conflict: there is such a word, ended or not

        """
        async with self._change(tenant) as transaction:
            return await self.assert_mfa_in(transaction, caller, tenant, user, until)

    async def assert_mfa_in(
        self, transaction: Transaction, caller: Caller, tenant: str, user: str, until: int, **detail: object
    ) -> User:
        """Do so within a transaction; `detail` is what the audit event says besides."""
        connection = transaction.connection
        found = await rows.USERS.get(connection, tenant, user)
        if found is None:
            values = {"user": user, "display_name": "", "enabled": True, "mfa_until": until}
            await add_in(transaction, self._clock, caller, rows.USERS, tenant, values, **detail)
        elif found.mfa_until is not None:
            raise Conflict("exists", f"there is an MFA record of the user {user!r} already")
        else:
            await rows.USERS.update(connection, (tenant, user), mfa_until=until)
        await tms_v1.numbers(connection, tenant, NumberOf.MFA, [user])
        transaction.record(
            event(self._clock, caller, tenant, "mfa.assert", f"user:{user}", OK, until=until, **detail)
        )  # fmt: skip
        return there(rows.USERS, await rows.USERS.get(connection, tenant, user), user)

    async def enable(self, caller: Caller, tenant: str, user: str, *, enabled: bool) -> bool:
        """Enable or disable a user for whom an admin's word stands; False where there is none."""
        async with self._change(tenant) as transaction:
            found = await rows.USERS.get(transaction.connection, tenant, user)
            if found is None or found.mfa_until is None:
                return False
            await update_in(transaction, self._clock, caller, rows.USERS, found, enabled=enabled)
        return True

    async def retract_mfa(self, caller: Caller, tenant: str, user: str) -> bool:
        """Take back an admin's word, and every link, delegation, key and reservation of the user; end certificates.

        A user who is nothing but a name goes wholly. Who has a password, a second factor or an identity keeps the
        account; so does who is revoked, because a user made anew under the name would not be. False where there is
        no such word.
        """
        async with self._change(tenant) as transaction:
            connection = transaction.connection
            found = await rows.USERS.get(connection, tenant, user)
            if found is None or found.mfa_until is None:
                return False
            await grants.forget_numbers(connection, tenant, user, NumberOf.LINK, NumberOf.DELEGATION)
            if not await grants.has_more_than_a_name(connection, found):
                await remove_in(transaction, self._clock, caller, rows.USERS, tenant, user)
                return True
            ended = await revocations.end_certificates(
                connection, tenant, revocations.selected(Selector.USER, user), "deleted:mfa", self._clock.now()
            )
            links, delegations = await grants.remove_of(connection, tenant, user)
            await rows.USERS.update(connection, (tenant, user), mfa_until=None)
            await tms_v1.forget(connection, tenant, NumberOf.MFA, user)
            counted = {"account_links": links, "delegations": delegations, "certificates": ended}
            transaction.record(event(self._clock, caller, tenant, "mfa.retract", f"user:{user}", OK, **counted))
        return True

    async def link(
        self, caller: Caller, tenant: str, user: str, host: str, account: str, until: int
    ) -> AccountLink:  # fmt: skip
        """Link a user to an account on a host, from now; a host that is not there is made, without a credential.

        Raises:
            Conflict: there is such a link, ended or not
            NotFound: no such user

        """
        async with self._change(tenant) as transaction:
            return await self.link_in(transaction, caller, tenant, user, host, account, until)

    async def link_in(
        self,
        transaction: Transaction,
        caller: Caller,
        tenant: str,
        user: str,
        host: str,
        account: str,
        until: int,
        **detail: object,
    ) -> AccountLink:
        """Do so within a transaction; `detail` is what the audit events say besides."""
        connection = transaction.connection
        if await grants.link_of(connection, tenant, user, host, account) is not None:
            raise Conflict("exists", f"there is a link of the user {user!r} to {account}@{host} already")
        there(rows.USERS, await rows.USERS.get(connection, tenant, user), user)
        if await rows.HOSTS.get(connection, tenant, host) is None:
            format_ = PrincipalFormat.ACCOUNT_AT_HOST
            fresh = {"host": host, "addresses": [], "principal_format": format_, "ssh_host_keys": [], "enabled": True}
            await add_in(transaction, self._clock, caller, rows.HOSTS, tenant, fresh, **detail)
        who = {"user": user, "host": host, "account": account}
        values = {**who, "link_id": new_id("lnk"), "starts_at": self._clock.now(), "expires_at": until}
        made = await add_in(
            transaction, self._clock, caller, rows.LINKS, tenant, values, **who, until=until, **detail
        )  # fmt: skip
        await tms_v1.numbers(connection, tenant, NumberOf.LINK, [made.link_id])
        return made

    async def move_link(self, caller: Caller, tenant: str, user: str, host: str, account: str, until: int) -> bool:
        """Set when a link ends; False where there is none."""
        async with self._change(tenant) as transaction:
            found = await grants.link_of(transaction.connection, tenant, user, host, account)
            if found is None:
                return False
            await update_in(transaction, self._clock, caller, rows.LINKS, found, expires_at=until)
        return True

    async def unlink(self, caller: Caller, tenant: str, user: str, host: str, account: str) -> bool:
        """Delete a link with its keys and reservations, and end its certificates; False where there is none."""
        async with self._change(tenant) as transaction:
            found = await grants.link_of(transaction.connection, tenant, user, host, account)
            if found is None:
                return False
            await remove_in(transaction, self._clock, caller, rows.LINKS, tenant, found.link_id)
        return True

    async def delegate(self, caller: Caller, tenant: str, client_id: str, user: str, until: int) -> Delegation:
        """Let a client act for a user on any host, as any account that the user is linked to and that is not reserved.

        Raises:
            Conflict: there is such a delegation, ended or not
            NotFound: no such client or user

        """
        async with self._change(tenant) as transaction:
            return await self.delegate_in(transaction, caller, tenant, client_id, user, until)

    async def delegate_in(
        self,
        transaction: Transaction,
        caller: Caller,
        tenant: str,
        client_id: str,
        user: str,
        until: int,
        **detail: object,
    ) -> Delegation:
        """Do so within a transaction; `detail` is what the audit event says besides."""
        connection = transaction.connection
        if await grants.wide(connection, tenant, client_id, user):
            raise Conflict("exists", f"there is a delegation of the user {user!r} to the client {client_id!r} already")
        there(rows.CLIENTS, await rows.CLIENTS.get(connection, tenant, client_id), client_id)
        there(rows.USERS, await rows.USERS.get(connection, tenant, user), user)
        made = granted(tenant, client_id, user, self._clock.now(), until)
        await rows.DELEGATIONS.add(connection, **delegation_row(made))
        await tms_v1.numbers(connection, tenant, NumberOf.DELEGATION, [made.delegation_id])
        about = {"client": client_id, "user": user, "until": until, **detail}
        transaction.record(event(self._clock, caller, tenant, "delegations.grant", made.delegation_id, OK, **about))
        return made

    async def move_delegation(self, caller: Caller, tenant: str, client_id: str, user: str, until: int) -> bool:
        """Set when a client's delegation for any host and account ends; False where there is none.

        No other of the kind outlasts it.
        """
        async with self._change(tenant) as transaction:
            found = await grants.wide(transaction.connection, tenant, client_id, user)
            for one in [*found[:1], *(other for other in found[1:] if (other.expires_at or 0) > until)]:
                await update_in(transaction, self._clock, caller, rows.DELEGATIONS, one, expires_at=until)
        return bool(found)

    async def undelegate(self, caller: Caller, tenant: str, client_id: str, user: str) -> int:
        """Delete a client's delegations for any host and account, with keys and reservations; end their certificates.

        Returns how many there were.
        """
        async with self._change(tenant) as transaction:
            found = await grants.wide(transaction.connection, tenant, client_id, user)
            for one in found:
                await remove_in(transaction, self._clock, caller, rows.DELEGATIONS, tenant, one.delegation_id)
        return len(found)

    @asynccontextmanager
    async def _change(self, tenant: str) -> AsyncIterator[Transaction]:
        try:
            async with self._database.change(tenant) as transaction:
                yield transaction
        except IntegrityError as error:  # the tenant went while the request waited for its turn
            raise NotFound("tenant_unknown", f"there is no tenant {tenant!r}") from error


def granted(tenant: str, client_id: str, user: str, now: int, until: int) -> Delegation:
    """Return the delegation that an admin's word makes at `now`."""
    return Delegation(
        tenant=tenant,
        delegation_id=new_id("dlg"),
        user=user,
        client_id=client_id,
        host=grants.ANY,
        account=grants.ANY,
        status=DelegationStatus.APPROVED,
        purpose=PURPOSE,
        lifetime_seconds=min(max(until - now, 0), MOST_INT),
        constraints=_EVERYTHING,
        redirect_uri=None,
        user_code=new_user_code(),
        created_at=now,
        pending_until=now,
        decided_at=now,
        starts_at=now,
        expires_at=until,
    )
