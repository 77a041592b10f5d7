"""Tell whether this process can do its work now."""

from dataclasses import dataclass

from tms_ca.core.errors import TmsError
from tms_ca.core.model import Tenant
from tms_ca.services.cakeys import CaKeys, KeyRing
from tms_ca.store import rows
from tms_ca.store.engine import Database


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be true; `detail` says what is wrong."""

    name: str
    ok: bool
    detail: str


class Readiness:
    """Ask each part."""

    def __init__(self, database: Database, keys: CaKeys, ring: KeyRing) -> None:
        self._database = database
        self._keys = keys
        self._ring = ring
        self.ending = False  # set when the service is being stopped: whoever asks first goes elsewhere

    async def checks(self) -> list[Check]:
        """Return every check, passed or not."""
        if self.ending:
            return [Check("serving", ok=False, detail="the service is being stopped")]
        try:
            async with self._database.read() as connection:
                tenants, _ = await rows.TENANTS.page(connection, {"enabled": True}, None, 100)
        except TmsError as error:
            return [Check("database", ok=False, detail=error.detail)]
        return [Check("database", ok=True, detail=""), *[await self._ca_key(tenant) for tenant in tenants]]

    async def _ca_key(self, tenant: Tenant) -> Check:
        name = f"ca_key:{tenant.tenant}"
        try:
            active = [key for key in await self._keys.every(tenant.tenant) if key.state == "active"]
            for key in active:
                await self._ring.signer(tenant.tenant, key.fingerprint)
        except TmsError as error:
            return Check(name, ok=False, detail=error.detail)
        ready = any(key.purpose == "user" and key.revocation_id is None for key in active)
        return Check(name, ok=ready, detail="" if ready else "no active user CA key")
