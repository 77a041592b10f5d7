"""Answer a host that asks whether the certificate that sshd was handed opens this account, here and now."""

import asyncio
import hashlib
from collections.abc import Callable

from tms_ca.core.certificate_reader import parse_certificate_line, present_certificate_line
from tms_ca.core.errors import NotFound
from tms_ca.core.facts import Denial, Limits, LoginFacts, LoginGrant, LoginRequest
from tms_ca.core.model import Caller
from tms_ca.core.policy import decide_login
from tms_ca.core.publickey import fingerprint_of
from tms_ca.core.record import record
from tms_ca.services.authentication import require_epoch
from tms_ca.services.clock import Clock
from tms_ca.services.journal import event, refusal
from tms_ca.services.unissued import Unissued
from tms_ca.store.hot import Entry, GroupCommit
from tms_ca.store.memory import RememberedFacts

CHECK = "logins.check"
MOST_PRESENTED = 4096  # texts of certificates, under a kilobyte each as a rule, never over 16
Rules = Callable[[LoginRequest, LoginFacts, Limits, int], LoginGrant | Denial]


@record
class LoginAnswer:
    """Yes: the principals, and what the answer is bound to."""

    account: str
    fingerprint: str  # of the whole certificate, as presented
    serial: int
    principals: tuple[str, ...]
    options: str = ""  # restrictions, as they stand before a principal
    limited: bool = False  # the delegation is for a number of logins


class Logins:
    """The live check. It consumes nothing: sshd asks twice for a login, and once for a mere offer of a key."""

    def __init__(
        self,
        facts: RememberedFacts,
        commits: GroupCommit,
        limits: Limits,
        clock: Clock,
        unissued: Unissued,
        rules: Rules = decide_login,
    ) -> None:
        self._facts = facts
        self._commits = commits
        self._limits = limits
        self._clock = clock
        self._presented: dict[str, tuple[int, bytes]] = {}
        self._unissued = unissued
        self._rules = rules  # core.policy.decide_login, perhaps observed

    async def check(self, caller: Caller, account: str, certificate: str) -> LoginAnswer:
        """Check for the host `caller`.

        Raises:
            Malformed, Invalid: not one OpenSSH certificate
            Denied: it does not stand, for a reason of core.policy; the refusal is on record
            ChangedMeanwhile: something in the tenant changed since the credential was checked

        """
        serial, digest = self._read(certificate)
        facts = await self._facts.for_login(caller.tenant, caller.id, serial)
        if facts is None:
            raise NotFound("tenant_unknown", "there is no such tenant")
        require_epoch(caller, facts.epoch)
        verdict = self._rules(LoginRequest(caller.id, account, digest), facts, self._limits, self._clock.now())
        if facts.issued is None or facts.issued.sha256 != digest:
            await self._not_ours(caller, account, certificate, verdict)
        if isinstance(verdict, Denial):
            target = f"{account}@{caller.id} serial:{serial}"
            await self._commits.submit(
                Entry(event(self._clock, caller, caller.tenant, CHECK, target, verdict.reason, detail=verdict.detail))
            )
            raise refusal(verdict)
        return _answer(account, digest, serial, verdict)

    async def _not_ours(self, caller: Caller, account: str, certificate: str, verdict: LoginGrant | Denial) -> None:
        """Look whether what is not on record is a certificate at all, and whether a CA key of ours has signed it.

        Raises:
            Malformed: it is none
            Denied: a CA key has signed it; that is on record

        """
        assert isinstance(verdict, Denial), "only what is on record stands"
        presented = present_certificate_line(certificate)
        alarm = await self._unissued.look(caller, account, presented.blob, verdict.reason)
        if alarm is None:
            parse_certificate_line(certificate)
            return
        target = f"{account}@{caller.id} serial:{presented.serial}"
        refused = event(self._clock, caller, caller.tenant, CHECK, target, verdict.reason, detail=verdict.detail)
        await asyncio.gather(self._commits.submit(Entry(alarm)), self._commits.submit(Entry(refused)))
        raise refusal(verdict, "a CA key has signed a certificate that was never issued: see the audit event")

    def check_at_once(self, caller: Caller, account: str, certificate: str) -> LoginAnswer | None:
        """Return the same yes as `check`, where it takes no waiting. None says nothing: `check` has the answer.

        Raises:
            TmsError: what `check` would raise

        """
        serial, digest = self._read(certificate)
        facts = self._facts.for_login_at_once(caller.tenant, caller.id, serial)
        if facts is None or facts.epoch != caller.epoch:
            return None
        verdict = self._rules(LoginRequest(caller.id, account, digest), facts, self._limits, self._clock.now())
        if isinstance(verdict, Denial):
            return None
        return _answer(account, digest, serial, verdict)

    def _read(self, certificate: str) -> tuple[int, bytes]:
        """Return the serial and the digest of a certificate; sshd hands out the same one twice for each login."""
        known = self._presented.get(certificate)
        if known is None:
            presented = present_certificate_line(certificate)
            known = presented.serial, hashlib.sha256(presented.blob).digest()
            if len(self._presented) >= MOST_PRESENTED:
                self._presented.clear()
            self._presented[certificate] = known
        return known


def _answer(account: str, digest: bytes, serial: int, grant: LoginGrant) -> LoginAnswer:
    return LoginAnswer(account, fingerprint_of(digest), serial, grant.principals, grant.options, grant.limited)
