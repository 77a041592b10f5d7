"""Certificates that a CA key has signed and that this service has not issued: an alarm, not a mere refusal.

Either somebody else signs with the key, or the database has lost rows (a backup was put back). Both end what the
records say, so both must be known at once.
"""

import hashlib

from tms_ca.core.certificate import CertType
from tms_ca.core.facts import DenialReason
from tms_ca.core.model import Caller, Event
from tms_ca.core.publickey import fingerprint, fingerprint_of
from tms_ca.core.signed_certificate import SignedCertificate, signed_certificate
from tms_ca.services.clock import Clock
from tms_ca.services.journal import event
from tms_ca.signing import verifies
from tms_ca.store import rows
from tms_ca.store.engine import Database

UNISSUED = "certificates.unissued"


class Unissued:
    """Look at a certificate whose bytes are not on record."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def look(self, caller: Caller, account: str, blob: bytes, reason: DenialReason) -> Event | None:
        """Return the event of an alarm; None where no CA key of the tenant has signed `blob`.

        A certificate that has ended is no alarm where its serial is unknown: its record may have been deleted since.
        """
        found = signed_certificate(blob)
        if found is None or found.type != CertType.USER or not await self.signed_by_us(caller.tenant, found):
            return None
        if reason is DenialReason.CERTIFICATE_UNKNOWN and found.valid_before <= self._clock.now():
            return None
        return event(
            self._clock,
            caller,
            caller.tenant,
            UNISSUED,
            f"serial:{found.serial}",
            reason,
            account=account,
            host=caller.id,
            ca=fingerprint(found.ca_key),
            certificate=fingerprint_of(hashlib.sha256(blob).digest()),
            key_id=found.key_id,
            until=str(found.valid_before),  # any 64 bits
        )

    async def signed_by_us(self, tenant: str, found: SignedCertificate) -> bool:
        """Tell whether a CA key of the tenant, of whatever state, has signed a certificate."""
        async with self._database.read() as connection:
            key = await rows.CA_KEYS.get(connection, tenant, fingerprint(found.ca_key))
        return key is not None and verifies(key.public_key, found.signature_format, found.signature, found.signed)
