"""Say of one certificate whether a login would be let in now, what it rests on, what refuses. Nothing is recorded."""

import hashlib

from tms_ca.core.certificate import CertType
from tms_ca.core.certificate_reader import present_certificate_line
from tms_ca.core.errors import NotFound
from tms_ca.core.explain import Rest, rests_on
from tms_ca.core.facts import Denial, DenialReason, Limits, LoginRequest
from tms_ca.core.policy import decide_login
from tms_ca.core.record import record
from tms_ca.core.signed_certificate import SignedCertificate, signed_certificate
from tms_ca.services.clock import Clock
from tms_ca.services.unissued import Unissued
from tms_ca.store.memory import RememberedFacts

_MOST_SERIAL = 2**63 - 1


@record
class Explanation:
    """What a login check would answer, and why."""

    host: str
    account: str
    serial: int
    code: str  # of the rule that refuses; "" where it would be let in
    detail: str
    lines: tuple[str, ...]  # what the helper would print to sshd
    rests: tuple[Rest, ...]
    notes: tuple[str, ...]


class Explain:
    """Ask the rules of a login check without being a host."""

    def __init__(self, facts: RememberedFacts, unissued: Unissued, limits: Limits, clock: Clock) -> None:
        self._facts = facts
        self._unissued = unissued
        self._limits = limits
        self._clock = clock

    async def of_serial(self, tenant: str, host: str, account: str, serial: int) -> Explanation:
        """Explain a certificate on record, as if it were presented to the byte.

        Raises:
            NotFound: no such tenant

        """
        return await self._explain(tenant, host, account, serial, None, ())

    async def of_line(self, tenant: str, host: str, account: str, line: str) -> Explanation:
        """Explain the certificate in `line`, whether it was issued here or not.

        Raises:
            NotFound: no such tenant
            Malformed: it is no certificate

        """
        presented = present_certificate_line(line)
        found = signed_certificate(presented.blob)
        notes = () if found is None else await self._notes(tenant, found)
        return await self._explain(tenant, host, account, presented.serial, hashlib.sha256(presented.blob).digest(),
                                   notes)  # fmt: skip

    async def _notes(self, tenant: str, found: SignedCertificate) -> tuple[str, ...]:
        notes = [f"its key ID says {found.key_id!r}"]
        if found.type != CertType.USER:
            notes.append("it is not a certificate of a user: sshd takes it for no login")
        if await self._unissued.signed_by_us(tenant, found):
            notes.append("a CA key of this tenant has signed it")
        else:
            notes.append("no CA key of this tenant has signed it: sshd refuses it before it asks anybody")
        return tuple(notes)

    async def _explain(
        self, tenant: str, host: str, account: str, serial: int, digest: bytes | None, notes: tuple[str, ...]
    ) -> Explanation:
        facts = await self._facts.for_login(tenant, host, min(serial, _MOST_SERIAL + 1))
        if facts is None:
            raise NotFound("tenant_unknown", f"there is no tenant {tenant!r}")
        issued, now = facts.issued, self._clock.now()
        if digest is None:
            digest = b"" if issued is None else issued.sha256
        verdict = decide_login(LoginRequest(host, account, digest), facts, self._limits, now)
        if issued is None and "a CA key of this tenant has signed it" in notes:
            notes = (*notes, "and it was not issued here: the CA key is in other hands, or the database has lost rows")
        altered = isinstance(verdict, Denial) and verdict.reason is DenialReason.CERTIFICATE_ALTERED
        return Explanation(
            host,
            account,
            serial,
            verdict.reason if isinstance(verdict, Denial) else "",
            verdict.detail if isinstance(verdict, Denial) else "",
            () if isinstance(verdict, Denial) else tuple(_line(verdict.options, one) for one in verdict.principals),
            rests_on(facts, now, same=not altered),
            notes,
        )


def _line(options: str, principal: str) -> str:
    return f"{options} {principal}" if options else principal
