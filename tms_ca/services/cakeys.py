"""CA keys: make, publish, activate, retire - and hand the active one to whoever signs."""

from tms_ca.core.errors import Conflict, NotFound, Unavailable
from tms_ca.core.facts import KeyStanding
from tms_ca.core.model import ALL_TENANTS, CaKey, Caller, KeyPurpose, KeyState, Selector
from tms_ca.services.clock import Clock
from tms_ca.services.journal import event
from tms_ca.signing import Signer, SoftwareSigner
from tms_ca.store import cakeys, enrolment, revocations, rows
from tms_ca.store.engine import Database, Transaction
from tms_ca.vault import Vault


def _sealed_name(tenant: str, fingerprint: str) -> str:
    return f"ca-key:{tenant}:{fingerprint}"


class KeyRing:
    """Signers by fingerprint; a key is unsealed once for each process."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self._signers: dict[str, Signer] = {}

    async def signer(self, tenant: str, fingerprint: str) -> Signer:
        """Return the signer of a key that a decision named.

        Raises:
            Unavailable: it does not open with this master key

        """
        found = self._signers.get(fingerprint)
        if found is None:
            async with self._database.read() as connection:
                sealed = await cakeys.sealed(connection, tenant, fingerprint)
            if sealed is None:
                raise Unavailable("ca_key_missing", "the CA key is gone; try again", retry_after=1)
            found = SoftwareSigner.load(self._vault.unseal(_sealed_name(tenant, fingerprint), sealed))
            self._signers[fingerprint] = found
        return found

    def opened(self, fingerprint: str) -> Signer | None:
        """Return the signer of a key that has been asked for before, None of any other."""
        return self._signers.get(fingerprint)

    async def check_master_key(self) -> None:
        """Refuse a master key that does not open this database's keys, before anything is written under it.

        Raises:
            Unavailable: it is another one
        """
        async with self._database.read() as connection:
            found = await cakeys.any_key(connection)
        if found is not None:
            await self.signer(*found)


class CaKeys:
    """The life of a tenant's CA keys: next -> active -> retiring -> retired."""

    def __init__(self, database: Database, vault: Vault, clock: Clock) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock

    async def create(self, caller: Caller, tenant: str, purpose: KeyPurpose, algorithm: str) -> CaKey:
        """Make a key in the state `next`: published, so that hosts can trust it before it signs."""
        signer = SoftwareSigner.generate(algorithm)
        async with self._database.change(tenant) as transaction:
            return await self.insert(transaction, caller, tenant, purpose, signer, KeyState.NEXT)

    async def insert(
        self,
        transaction: Transaction,
        caller: Caller,
        tenant: str,
        purpose: KeyPurpose,
        signer: SoftwareSigner,
        state: KeyState,
    ) -> CaKey:
        """Insert a key within an open transaction."""
        public = signer.public_key
        key = CaKey(
            tenant, public.fingerprint, purpose, public.algorithm, public.line, state, self._clock.now(), None, None
        )
        sealed = self._vault.seal(_sealed_name(tenant, public.fingerprint), signer.private_bytes())
        await cakeys.insert_key(transaction.connection, key, sealed)
        # No certificate is ever made for a CA key, in any tenant, now or after it has retired.
        await cakeys.forbid(transaction.connection, public.fingerprint, KeyStanding.CA, ALL_TENANTS)
        transaction.record(
            event(self._clock, caller, tenant, "ca-keys.create", public.fingerprint, purpose=purpose, state=state)
        )
        return key

    async def get(self, tenant: str, fingerprint: str) -> CaKey:
        """Return one.

        Raises:
            NotFound: the tenant has no such key

        """
        async with self._database.read() as connection:
            key = await rows.CA_KEYS.get(connection, tenant, fingerprint)
        if key is None:
            raise NotFound("ca_key_unknown", f"there is no CA key {fingerprint!r} in this tenant")
        return key

    async def every(self, tenant: str) -> list[CaKey]:
        """Return every key of the tenant, oldest first."""
        async with self._database.read() as connection:
            return await cakeys.all_keys(connection, tenant)

    async def trusted(self, tenant: str, purpose: KeyPurpose) -> list[CaKey]:
        """Return the keys that hosts (or users) must trust: neither retired nor revoked."""
        return [
            key
            for key in await self.every(tenant)
            if key.purpose is purpose and key.state is not KeyState.RETIRED and key.revocation_id is None
        ]

    async def activate(self, caller: Caller, tenant: str, fingerprint: str) -> CaKey:
        """Let a `next` key sign; the one that signed so far stays trusted as `retiring`, and may be activated again.

        Raises:
            Conflict: it is neither a `next` key nor a `retiring` one

        """
        async with self._database.change(tenant) as transaction:
            key = await self._locked(transaction, tenant, fingerprint)
            # A retiring key is still trusted everywhere: going back to it is as safe as leaving it was.
            if key.state not in {KeyState.NEXT, KeyState.RETIRING} or key.revocation_id:
                raise Conflict(
                    "ca_key_state",
                    f"only a key in the state next or retiring can be activated; this one is {key.state}",
                )
            await cakeys.demote_active(transaction.connection, tenant, key.purpose)
            await rows.CA_KEYS.update(transaction.connection, (tenant, fingerprint), state=KeyState.ACTIVE)
            transaction.record(event(self._clock, caller, tenant, "ca-keys.activate", fingerprint))
        return await self.get(tenant, fingerprint)

    async def retire(self, caller: Caller, tenant: str, fingerprint: str, *, force: bool) -> CaKey:
        """End the trust in a `next` or `retiring` key.

        Raises:
            Conflict: it signs, or certificates of it are still valid and `force` is not set

        """
        async with self._database.change(tenant) as transaction:
            key = await self._locked(transaction, tenant, fingerprint)
            if key.state not in {KeyState.NEXT, KeyState.RETIRING}:
                raise Conflict(
                    "ca_key_state", f"a key in the state {key.state} cannot be retired; activate another first"
                )
            alive = await cakeys.unexpired(transaction.connection, tenant, fingerprint, self._clock.now())
            alive += await enrolment.unexpired(transaction.connection, tenant, fingerprint, self._clock.now())
            if alive and not force:
                raise Conflict(
                    "ca_key_in_use", f"{alive} certificates of this key are still valid; wait, or set force to end them"
                )
            await rows.CA_KEYS.update(transaction.connection, (tenant, fingerprint), state=KeyState.RETIRED)
            # Hosts that cannot ask us go on trusting the key until they fetch the new list: the KRL ends them there.
            ended = await revocations.end_certificates(
                transaction.connection,
                tenant,
                revocations.selected(Selector.CA_KEY, fingerprint),
                f"retired:{fingerprint}",
                self._clock.now(),
            )
            ended += await enrolment.end_selected(
                transaction.connection,
                tenant,
                Selector.CA_KEY,
                fingerprint,
                f"retired:{fingerprint}",
                self._clock.now(),
            )
            transaction.record(event(self._clock, caller, tenant, "ca-keys.retire", fingerprint, certificates=ended))
        return await self.get(tenant, fingerprint)

    async def _locked(self, transaction: Transaction, tenant: str, fingerprint: str) -> CaKey:
        key = await rows.CA_KEYS.get(transaction.connection, tenant, fingerprint)
        if key is None:
            raise NotFound("ca_key_unknown", f"there is no CA key {fingerprint!r} in this tenant")
        return key
