"""The trust bundle: what hosts must trust now, signed by the tenant's host CA key; and lines for known_hosts.

Anyone may ask, and each signature costs: the last one is handed out again for a few seconds, but never once anything
in the tenant has changed since. So a bundle has every revocation that was answered before it was asked for.
"""

import asyncio
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.errors import NotFound, Unavailable
from tms_ca.core.model import CaKey, KeyPurpose, KeyState
from tms_ca.core.sshsig import armored, signed_data
from tms_ca.core.trust import NAMESPACE, TrustBundle, host_names, known_hosts_lines
from tms_ca.services.cakeys import KeyRing
from tms_ca.services.clock import Clock
from tms_ca.services.krl import Krl, Krls
from tms_ca.store import cakeys, rows
from tms_ca.store.engine import Database
from tms_ca.store.trust import TrustReader, TrustState

SAME_SECONDS = 5  # how long one signature serves while nothing changes
_MOST_TENANTS = 1000
_HOSTS_AT_A_TIME = 1000


@dataclass(frozen=True, slots=True)
class Signed:
    """A bundle as hosts fetch it."""

    bundle: str
    signature: str
    epoch: int
    krl_version: int
    issued_at: int


@dataclass(slots=True)
class _Memory:
    """What this process signed and wrote last for one tenant."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    signed: Signed | None = None
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    known_hosts: tuple[int, int, str] | None = None  # the epoch, when it was written, and the text


def trusted(keys: list[CaKey], purpose: KeyPurpose) -> list[CaKey]:
    """Return the keys of `purpose` that are neither retired nor revoked, in the order given."""
    return [key for key in keys if key.purpose is purpose and key.state is not KeyState.RETIRED and not
            key.revocation_id]  # fmt: skip


class Trust:
    """Hand out what to trust."""

    def __init__(self, database: Database, reader: TrustReader, ring: KeyRing, krls: Krls, clock: Clock) -> None:
        self._database = database
        self._reader = reader
        self._ring = ring
        self._krls = krls
        self._clock = clock
        self._memories: dict[str, _Memory] = {}

    async def bundle(self, tenant: str) -> Signed:
        """Return a signed bundle with everything that was changed before this call.

        Raises:
            NotFound: no such tenant
            Unavailable: the database does not answer, or no host CA key is active

        """
        state = await self._state(tenant)
        memory = self._memory(tenant)
        if state.krl_fresh(self._clock.now()) and (found := self._still(memory.signed, state.epoch, state.krl_version)):
            return found
        krl = await self._krls.get(tenant)
        async with memory.turn:
            found = self._still(memory.signed, state.epoch, krl.version)  # whoever was in here before may have made it
            if found is None:
                memory.signed = found = await self._sign(tenant, state.epoch, krl)
            return found

    def _still(self, signed: Signed | None, epoch: int, krl_version: int) -> Signed | None:
        if signed is None or (signed.epoch, signed.krl_version) != (epoch, krl_version):
            return None
        return signed if 0 <= self._clock.now() - signed.issued_at < SAME_SECONDS else None

    async def _sign(self, tenant: str, epoch: int, krl: Krl) -> Signed:
        # The epoch was read first: whatever changed since may be in the bundle, and nothing before it is missing.
        async with self._database.read() as connection:
            keys = await cakeys.all_keys(connection, tenant)
        hosts = trusted(keys, KeyPurpose.HOST)
        active = next((key for key in hosts if key.state is KeyState.ACTIVE), None)
        if active is None:
            raise Unavailable("ca_key_missing", "no host CA key is active; an admin makes one and activates it")
        now = self._clock.now()
        text = TrustBundle(
            tenant=tenant,
            epoch=epoch,
            issued_at=now,
            user_ca_keys=tuple(key.public_key for key in trusted(keys, KeyPurpose.USER)),
            host_ca_keys=tuple(key.public_key for key in hosts),
            krl_version=krl.version,
            krl=krl.blob,
        ).text
        signer = await self._ring.signer(tenant, active.fingerprint)
        signature = await signer.sign(signed_data(text.encode(), NAMESPACE))
        return Signed(text, armored(signer.public_key, NAMESPACE, signature), epoch, krl.version, now)

    async def known_hosts(self, tenant: str) -> str:
        """Return the lines of known_hosts for every host of the tenant that may be logged in to.

        They may be SAME_SECONDS old: with ten thousand hosts, writing them after each change would be worth an attack.

        Raises:
            NotFound: no such tenant

        """
        epoch = (await self._state(tenant)).epoch
        memory = self._memory(tenant)
        async with memory.writing:
            kept, now = memory.known_hosts, self._clock.now()
            if kept is None or (kept[0] != epoch and not 0 <= now - kept[1] < SAME_SECONDS):
                async with self._database.read() as connection:
                    kept = memory.known_hosts = epoch, now, "".join(await self._lines(connection, tenant))
            return kept[2]

    async def _lines(self, connection: AsyncConnection, tenant: str) -> list[str]:
        keys = [key.public_key for key in trusted(await cakeys.all_keys(connection, tenant), KeyPurpose.HOST)]
        lines: list[str] = []
        after: list[object] | None = None
        while True:
            page, after = await rows.HOSTS.page(connection, {"tenant": tenant}, after, _HOSTS_AT_A_TIME)
            for host in page:
                if host.enabled and host.revocation_id is None:
                    lines += known_hosts_lines(host_names(host.host, host.addresses), keys)
            if after is None:
                return lines

    async def _state(self, tenant: str) -> TrustState:
        state = await self._reader.state(tenant)
        if state is None:
            self._memories.pop(tenant, None)  # names of tenants that never were take up no memory
            raise NotFound("tenant_unknown", "there is no such tenant")
        return state

    def _memory(self, tenant: str) -> _Memory:
        if len(self._memories) >= _MOST_TENANTS and tenant not in self._memories:
            self._memories.clear()
        return self._memories.setdefault(tenant, _Memory())
