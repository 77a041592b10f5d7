"""The KRL of a tenant: built when what it must list has changed, kept in the database for every replica."""

import hashlib
import json
from dataclasses import dataclass

from tms_ca.core.errors import NotFound
from tms_ca.core.krl import KrlContents, encode_krl, fingerprint_bytes
from tms_ca.core.publickey import parse_ca_key
from tms_ca.services.clock import Clock
from tms_ca.store import revocations
from tms_ca.store.engine import Database

# A certificate stays listed this long after its end: hosts' clocks may be slow.
KEPT_AFTER_END_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Krl:
    """A KRL as hosts fetch it."""

    version: int
    generated_at: int
    blob: bytes

    @property
    def etag(self) -> str:
        """Return the entity tag: one for each version and its bytes."""
        return f'"{self.version}-{hashlib.sha256(self.blob).hexdigest()[:16]}"'


class Krls:
    """Serve the KRL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def get(self, tenant: str) -> Krl:
        """Return the KRL, which lists every revocation that was answered before this call.

        Raises:
            NotFound: no such tenant

        """
        now = self._clock.now()
        async with self._database.read() as connection:
            row = await revocations.krl_row(connection, tenant)
        if row is None:
            raise NotFound("tenant_unknown", "there is no such tenant")
        if row["changes"] == row["wanted"] and now < row["stale_at"]:
            return Krl(row["version"], row["generated_at"], row["blob"])
        return await self._build(tenant, now)

    async def _build(self, tenant: str, now: int) -> Krl:
        async with self._database.transaction() as transaction:
            connection = transaction.connection
            row = await revocations.krl_row(connection, tenant, lock=True)
            assert row is not None
            serials, revoked_keys, authorities, first_end = await revocations.listed(
                connection, tenant, now - KEPT_AFTER_END_SECONDS
            )
            revoked_cas = sorted(key.fingerprint for key in authorities if key.revocation_id)
            listing = {
                "serials": {ca: sorted(values) for ca, values in sorted(serials.items())},
                "keys": sorted(revoked_keys),
                "cas": revoked_cas,
            }
            content = hashlib.sha256(json.dumps(listing).encode()).digest()
            # With nothing to drop, the same list is good until the next change.
            stale_at = first_end + KEPT_AFTER_END_SECONDS + 1 if first_end else 2**62
            covered = {"changes": row["wanted"], "stale_at": stale_at}
            if content == row["content"]:
                await revocations.save_krl(connection, tenant, **covered)
                return Krl(row["version"], row["generated_at"], row["blob"])
            version = row["version"] + 1
            keys = {key.fingerprint: parse_ca_key(key.public_key) for key in authorities}
            contents = KrlContents(
                serials={keys[ca]: frozenset(values) for ca, values in serials.items()},
                revoked_ca_keys=tuple(keys[ca] for ca in revoked_cas),
                fingerprints=frozenset(fingerprint_bytes(text) for text in revoked_keys),
            )
            blob = encode_krl(contents, version=version, generated=now, comment=f"tms-ca {tenant}")
            await revocations.save_krl(
                connection, tenant, version=version, content=content, generated_at=now, blob=blob, **covered
            )
            return Krl(version, now, blob)
