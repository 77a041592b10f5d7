"""Issue a user certificate: fetch the facts, decide, sign in memory, commit, answer - in this order."""

import hashlib
import secrets
from collections.abc import Callable
from typing import NoReturn

from tms_ca.core.certificate import CertificateFields, CertType, assemble, certificate_line, to_be_signed
from tms_ca.core.certificate_lint import lint
from tms_ca.core.errors import NotFound
from tms_ca.core.facts import Denial, Facts, Grant, IssueRequest, Limits
from tms_ca.core.model import Caller, CertificateRecord
from tms_ca.core.policy import decide
from tms_ca.core.publickey import PublicKey, parse_public_key
from tms_ca.core.record import record
from tms_ca.services.authentication import ChangedMeanwhile, require_epoch
from tms_ca.services.cakeys import KeyRing
from tms_ca.services.clock import Clock
from tms_ca.services.journal import event, refusal
from tms_ca.store.hot import Entry, GroupCommit
from tms_ca.store.memory import RememberedFacts

ISSUE = "certificates.issue"
Rules = Callable[[IssueRequest, Facts, Limits, int], Grant | Denial]


@record
class Issued:
    """What the client receives."""

    record: CertificateRecord
    certificate: str  # as in a -cert.pub file


class Issuance:
    """The one way to a certificate."""

    def __init__(
        self,
        facts: RememberedFacts,
        commits: GroupCommit,
        keys: KeyRing,
        limits: Limits,
        clock: Clock,
        rules: Rules = decide,
    ) -> None:
        self._facts = facts
        self._commits = commits
        self._keys = keys
        self._limits = limits
        self._clock = clock
        self._rules = rules  # core.policy.decide, perhaps observed

    async def issue(self, caller: Caller, request: IssueRequest, public_key: str) -> Issued:
        """Issue to the client `caller`.

        Raises:
            Invalid: the public key is not one that may be certified
            Denied: a rule of core.policy refused; the refusal is on record
            Unavailable: the database or the CA key does not answer; nothing was issued
            ChangedMeanwhile: something in the tenant changed since the credential was checked; nothing was issued

        """
        key = parse_public_key(public_key)
        facts = await self._facts.for_issue(
            caller.tenant, caller.id, request.user, request.host, request.account, key.fingerprint
        )
        if facts is None:
            raise NotFound("tenant_unknown", "there is no such tenant")
        require_epoch(caller, facts.epoch)
        verdict = self._rules(request, facts, self._limits, self._clock.now())
        if isinstance(verdict, Denial):
            await self._refuse(caller, request, verdict)
        issued = await self._sign(caller, request, key, verdict)
        await self._record(caller, facts, issued.record)
        return issued

    async def _refuse(self, caller: Caller, request: IssueRequest, denial: Denial) -> NoReturn:
        target = f"{request.user} {request.account}@{request.host}"
        await self._commits.submit(
            Entry(event(self._clock, caller, caller.tenant, ISSUE, target, denial.reason, detail=denial.detail))
        )
        raise refusal(denial)

    async def _sign(self, caller: Caller, request: IssueRequest, key: PublicKey, grant: Grant) -> Issued:
        signer = await self._keys.signer(caller.tenant, grant.ca_fingerprint)
        # Random in 63 bits: unguessable, and no KRL of ours ever needs ssh-keygen's broken bitmaps. Never 0.
        serial = secrets.randbits(63) or 1
        fields = CertificateFields(
            public_key=key,
            nonce=secrets.token_bytes(32),
            serial=serial,
            type=CertType.USER,
            key_id=f"t={caller.tenant};c={caller.id};u={request.user};r={caller.request_id[:13]}",
            principals=grant.principals,
            valid_after=grant.valid_after,
            valid_before=grant.valid_before,
            critical_options=grant.critical_options,
            extensions=grant.extensions,
            ca_key=signer.public_key,
        )
        tbs = to_be_signed(fields)
        lint(tbs, fields)  # nothing reaches the key that does not say, byte for byte, what was granted
        blob = assemble(tbs, await signer.sign(tbs))
        record = CertificateRecord(
            serial=serial,
            tenant=caller.tenant,
            key_id=fields.key_id,
            user=request.user,
            client_id=caller.id,
            host=request.host,
            account=request.account,
            delegation_id=grant.delegation_id,
            public_key_fingerprint=key.fingerprint,
            ca_fingerprint=grant.ca_fingerprint,
            principals=grant.principals,
            critical_options=grant.critical_options,
            extensions=grant.extensions,
            valid_after=grant.valid_after,
            valid_before=grant.valid_before,
            limited_by=grant.limited_by,
            issued_at=self._clock.now(),
            sha256=hashlib.sha256(blob).digest(),
            request_id=caller.request_id,
        )
        return Issued(record, certificate_line(blob))

    async def _record(self, caller: Caller, facts: Facts, record: CertificateRecord) -> None:
        """Make it durable, unless something in the tenant changed since the facts were read."""
        issued = event(
            self._clock,
            caller,
            caller.tenant,
            ISSUE,
            f"serial:{record.serial}",
            user=record.user,
            account=record.account,
            host=record.host,
            key=record.public_key_fingerprint,
            delegation=record.delegation_id,
            until=record.valid_before,
        )
        if not await self._commits.submit(Entry(issued, record, facts.epoch)):
            raise ChangedMeanwhile
