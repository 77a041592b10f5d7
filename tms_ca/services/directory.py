"""Tenants, admins, clients, users, identities, hosts and account links: made, read, changed, deleted.

Each change is one transaction with its audit event. Whatever is deleted takes its certificates with it, for good.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from tms_ca.core.access import Reach, Role
from tms_ca.core.errors import Conflict, NotFound
from tms_ca.core.facts import KeyStanding
from tms_ca.core.model import Caller, Host, KeyPurpose, KeyState, Restrictions, Tenant
from tms_ca.core.publickey import parse_host_key
from tms_ca.services.cakeys import CaKeys
from tms_ca.services.clock import Clock
from tms_ca.services.ids import new_id, new_secret, secret_digest
from tms_ca.services.journal import event
from tms_ca.services.shelved import add_in, plural, remove_in, there
from tms_ca.signing import SoftwareSigner
from tms_ca.store import cakeys, credentials, people, revocations, rows
from tms_ca.store.engine import Database, Transaction
from tms_ca.store.rows import Shelf

R = TypeVar("R")
DEFAULT_MFA_WINDOW_SECONDS = 12 * 3600
DEFAULT_TTL_SECONDS = 3600
DEFAULT_MAX_TTL_SECONDS = 8 * 3600


class Directory:
    """The named things of the tenants."""

    def __init__(self, database: Database, keys: CaKeys, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock

    async def get(self, shelf: Shelf[R], *key: str) -> R:
        """Return one.

        Raises:
            NotFound: there is none

        """
        async with self._database.read() as connection:
            found = await shelf.get(connection, *key)
        return there(shelf, found, key[-1])

    async def get_own(self, caller: Caller, shelf: Shelf[R], *key: str) -> R:
        """Return one that the caller may see.

        Raises:
            NotFound: there is none, or it is another's

        """
        found = await self.get(shelf, *key)
        owner = "client_id" if caller.role is Role.CLIENT else str(caller.role)
        mine = caller.reach is Reach.ANY or getattr(found, owner) == caller.id
        return there(shelf, found if mine else None, key[-1])

    async def page(
        self, shelf: Shelf[R], filters: Mapping[str, object], after: Sequence[object] | None, limit: int
    ) -> tuple[list[R], list[object] | None]:
        """Return a page, and the key to go on from."""
        async with self._database.read() as connection:
            return await shelf.page(connection, filters, after, limit)

    async def add(self, caller: Caller, shelf: Shelf[R], tenant: str, **values: object) -> R:
        """Insert one.

        Raises:
            Conflict: there is one of this name
            NotFound: what it refers to is not there

        """
        async with self._database.change(tenant) as transaction:
            return await self._add(transaction, caller, shelf, tenant, values)

    async def _add(
        self, transaction: Transaction, caller: Caller, shelf: Shelf[R], tenant: str, values: Mapping[str, object]
    ) -> R:
        return await add_in(transaction, self._clock, caller, shelf, tenant, values)

    async def change(
        self, caller: Caller, shelf: Shelf[R], key: Sequence[str], fits: Callable[[R], None] | None = None,
        **values: object,
    ) -> R:  # fmt: skip
        """Change what `values` names of one, unless `fits` raises for what it would then be.

        Raises:
            NotFound: there is none

        """
        async with self._database.change(key[0]) as transaction:
            before = there(shelf, await shelf.get(transaction.connection, *key), key[-1])
            if values:
                await shelf.update(transaction.connection, key, **values)
            if "password_hash" in values:  # whoever knew the old one is out
                await people.end_other_sessions(transaction.connection, key[0], key[1])
            after = there(shelf, await shelf.get(transaction.connection, *key), key[-1])
            if fits is not None:
                fits(after)
            changes = {
                name: [_plain(getattr(before, name, "hidden")), _plain(getattr(after, name, "hidden"))]
                for name in sorted(values)
            }
            transaction.record(event(self._clock, caller, key[0], f"{plural(shelf)}.update", key[-1], changes=changes))
        return after

    async def remove(self, caller: Caller, shelf: Shelf[R], *key: str) -> None:
        """Delete one, and end the certificates that rest on it.

        Raises:
            NotFound: there is none

        """
        async with self._database.change(key[0]) as transaction:
            await remove_in(transaction, self._clock, caller, shelf, *key)

    async def create_tenant(
        self,
        caller: Caller,
        tenant: str,
        display_name: str,
        mfa_window_seconds: int | None,
        default_ttl_seconds: int | None,
        max_ttl_seconds: int | None,
        ca_algorithm: str,
    ) -> Tenant:
        """Make a tenant with an active user CA key and an active host CA key.

        Raises:
            Conflict: there is one of this name

        """
        signers = new_signers(ca_algorithm)
        async with self._database.change(tenant) as transaction:
            return await self.create_tenant_in(
                transaction,
                caller,
                tenant,
                signers,
                display_name=display_name,
                mfa_window_seconds=mfa_window_seconds,
                default_ttl_seconds=default_ttl_seconds,
                max_ttl_seconds=max_ttl_seconds,
            )

    async def create_tenant_in(
        self,
        transaction: Transaction,
        caller: Caller,
        tenant: str,
        signers: Mapping[KeyPurpose, SoftwareSigner],
        *,
        display_name: str = "",
        mfa_window_seconds: int | None = None,
        default_ttl_seconds: int | None = None,
        max_ttl_seconds: int | None = None,
    ) -> Tenant:
        """Make a tenant within an open `change` of it; its CA keys are `signers`.

        Raises:
            Conflict: there is one of this name

        """
        # Of the two, what was not given follows what was.
        longest = max(DEFAULT_MAX_TTL_SECONDS, default_ttl_seconds or 0) if max_ttl_seconds is None else max_ttl_seconds
        usual = min(DEFAULT_TTL_SECONDS, longest) if default_ttl_seconds is None else default_ttl_seconds
        made = await self._add(
            transaction,
            caller,
            rows.TENANTS,
            tenant,
            {
                "display_name": display_name or tenant,
                "enabled": True,
                "mfa_window_seconds": mfa_window_seconds or DEFAULT_MFA_WINDOW_SECONDS,
                "default_ttl_seconds": usual,
                "max_ttl_seconds": longest,
                "epoch": self._clock.now_ms(),  # beyond that of any tenant of this name before
            },
        )
        await revocations.new_krl_row(transaction.connection, tenant)
        for purpose, signer in signers.items():
            await self._keys.insert(transaction, caller, tenant, purpose, signer, KeyState.ACTIVE)
        return made

    async def add_with_secret(
        self, caller: Caller, shelf: Shelf[R], role: Role, tenant: str, **values: object
    ) -> tuple[R, str]:
        """Insert a client, host or admin with its first secret, which is shown once."""
        async with self._database.change(tenant) as transaction:
            made = await self._add(transaction, caller, shelf, tenant, values)
            subject = str(values[shelf.key[-1]])
            if isinstance(made, Host):
                await self._forbid_host_keys(transaction, tenant, made.ssh_host_keys)
            return made, await self._new_secret(transaction, caller, role, tenant, subject)

    async def change_host(self, caller: Caller, key: Sequence[str], **values: object) -> Host:
        """Change a host; new host keys are barred from user certificates first."""
        if "restrictions" in values:
            given = values["restrictions"]
            wanted = None if not given else Restrictions(**given, by_admin=True)  # type: ignore[arg-type] # by its shape
            values["restrictions"] = rows.restrictions_to_json(wanted)
        keys = values.get("ssh_host_keys")
        if isinstance(keys, tuple | list):
            async with self._database.transaction() as transaction:
                await self._forbid_host_keys(transaction, key[0], tuple(keys))
        return await self.change(caller, rows.HOSTS, key, None, **values)

    async def _forbid_host_keys(self, transaction: Transaction, tenant: str, keys: Sequence[str]) -> None:
        # A host's key in a user certificate would let whoever holds the host pose as the user. The ban
        # outlives the host's registration: the key is still out there. It holds in the tenant alone: nobody has shown
        # that the key is the host's.
        for line in keys:
            await cakeys.forbid(transaction.connection, parse_host_key(line).fingerprint, KeyStanding.HOST, tenant)

    async def add_secret(self, caller: Caller, shelf: Shelf[R], role: Role, tenant: str, subject: str) -> str:
        """Add a secret beside the present ones, so that it can be rolled out before the old one goes.

        Raises:
            NotFound: no such holder
            Conflict: two secrets exist already

        """
        async with self._database.change(tenant) as transaction:
            there(shelf, await shelf.get(transaction.connection, tenant, subject), subject)
            held = await credentials.held(transaction.connection, tenant, role, subject)
            held = [one for one in held if one.node is None]  # the machines of a host have theirs beside these
            if len(held) >= credentials.MOST_HELD:
                raise Conflict("too_many_secrets", f"{subject!r} has {len(held)} secrets; delete one first")
            return await self._new_secret(transaction, caller, role, tenant, subject)

    async def secrets(self, shelf: Shelf[R], role: Role, tenant: str, subject: str) -> list[credentials.Credential]:
        """Return the ids and times of the secrets of one holder, never the secrets."""
        async with self._database.read() as connection:
            there(shelf, await shelf.get(connection, tenant, subject), subject)
            return await credentials.held(connection, tenant, role, subject)

    async def remove_secret(self, caller: Caller, role: Role, tenant: str, subject: str, credential_id: str) -> None:
        """Take a secret back.

        Raises:
            NotFound: there is none of this id

        """
        async with self._database.change(tenant) as transaction:
            if not await credentials.remove(transaction.connection, tenant, role, subject, credential_id):
                raise NotFound("secret_unknown", f"{subject!r} has no secret {credential_id!r}")
            transaction.record(
                event(self._clock, caller, tenant, "secrets.delete", f"{role}:{subject}", credential=credential_id)
            )

    async def _new_secret(self, transaction: Transaction, caller: Caller, role: Role, tenant: str, subject: str) -> str:
        secret, credential_id = new_secret(role), new_id("sec")
        await credentials.add(
            transaction.connection, secret_digest(secret), credential_id, role, tenant, subject, self._clock.now()
        )
        transaction.record(
            event(self._clock, caller, tenant, "secrets.create", f"{role}:{subject}", credential=credential_id)
        )
        return secret


def new_signers(ca_algorithm: str) -> dict[KeyPurpose, SoftwareSigner]:
    """Return new CA keys for a tenant, one for each purpose: made before its transaction, because it takes a while."""
    return {purpose: SoftwareSigner.generate(ca_algorithm) for purpose in KeyPurpose}


def own_filter(caller: Caller, column: str) -> dict[str, object]:
    """Return the filter that narrows a list to the caller's own, where the caller reaches no further."""
    return {} if caller.reach is Reach.ANY else {column: caller.id}


def _plain(value: object) -> object:
    """Return what an audit event says of a field."""
    return rows.restrictions_to_json(value) if isinstance(value, Restrictions) else value
