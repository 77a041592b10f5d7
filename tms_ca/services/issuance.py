"""Issue a user certificate: fetch the facts, decide, sign in memory, commit, answer - in this order."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from tms_ca.core.certificate import CertificateFields, CertType, assemble, certificate_line, to_be_signed
from tms_ca.core.certificate_lint import lint
from tms_ca.core.errors import NotFound, TmsError
from tms_ca.core.facts import Denial, Facts, Grant, IssueRequest, Limits
from tms_ca.core.model import Caller, CertificateRecord
from tms_ca.core.policy import decide
from tms_ca.core.publickey import PublicKey, parse_public_key
from tms_ca.core.record import record
from tms_ca.services.authentication import ChangedMeanwhile, require_epoch
from tms_ca.services.cakeys import KeyRing
from tms_ca.services.clock import Clock
from tms_ca.services.journal import event, refusal
from tms_ca.services.serials import draw_serials
from tms_ca.signing import Signer
from tms_ca.store.hot import Entry, GroupCommit
from tms_ca.store.memory import RememberedFacts

ISSUE = "certificates.issue"
MOST_VERDICTS = 1_000  # each keeps the facts that it rests on
MOST_FORBIDDEN = 10_000  # keys that are remembered as forbidden, some 200 bytes each
Rules = Callable[[IssueRequest, Facts, Limits, int], Grant | Denial]


@record
class Issued:
    """What the client receives."""

    record: CertificateRecord
    certificate: str  # as in a -cert.pub file


class Verdicts:
    """The last verdict on each request, for as long as nothing that it rests on is another.

    The rules are a pure function of the request, the facts, the limits and the time. Who remembers facts hands out the
    very same object while they are true, so for that object, in the same second, the rules would say the same again.
    """

    def __init__(self, rules: Rules, limits: Limits) -> None:
        self._rules = rules
        self._limits = limits
        self._last: dict[IssueRequest, tuple[Facts, int, Grant | Denial]] = {}

    def on(self, request: IssueRequest, facts: Facts, now: int) -> Grant | Denial:
        """Return what the rules say at `now`, in Unix seconds."""
        last = self._last.get(request)
        if last is not None and last[0] is facts and last[1] == now:
            return last[2]
        if len(self._last) >= MOST_VERDICTS:
            self._last.clear()
        verdict = self._rules(request, facts, self._limits, now)
        self._last[request] = facts, now, verdict
        return verdict


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
        self._clock = clock
        self._serials = draw_serials()
        self._verdicts = Verdicts(rules, limits)  # of core.policy.decide, perhaps observed
        # Keys, each with its tenant, that were forbidden when last asked about. Nothing rests on it but which way is
        # taken: their certificates would be void, and PostgreSQL would have to be sent everybody else's of the group
        # twice.
        self._forbidden: set[tuple[str, str]] = set()

    async def issue(self, caller: Caller, request: IssueRequest, public_key: str) -> Issued:
        """Issue to the client `caller`.

        Raises:
            Invalid: the public key is not one that may be certified
            Denied: a rule of core.policy refused; the refusal is on record
            Unavailable: the database or the CA key does not answer; nothing was issued
            ChangedMeanwhile: something in the tenant changed since the credential was checked; nothing was issued

        """
        key = parse_public_key(public_key)
        facts = await facts_for(self._facts, caller, request, key.fingerprint)
        self._note(caller.tenant, key.fingerprint, forbidden=facts.key_standing is not None)
        if request.reservation_id is not None:
            facts = await with_reservation(self._facts, caller, facts, request.reservation_id)
        now = self._clock.now()
        verdict = self._verdicts.on(request, facts, now)
        if isinstance(verdict, Denial):
            await self._refuse(caller, request, verdict)
        signer = await self._keys.signer(caller.tenant, verdict.ca_fingerprint)
        draft = _drafted(caller, request, key, verdict, signer, next(self._serials))
        issued = _issued(caller, request, verdict, draft, await signer.sign(draft.tbs), now)
        if not await self._commits.submit(self._entry(caller, facts, issued.record)):
            raise ChangedMeanwhile
        return issued

    async def _refuse(self, caller: Caller, request: IssueRequest, denial: Denial) -> NoReturn:
        target = f"{request.user} {request.account}@{request.host}"
        await self._commits.submit(
            Entry(event(self._clock, caller, caller.tenant, ISSUE, target, denial.reason, detail=denial.detail))
        )
        raise refusal(denial)

    def issue_at_once(
        self, caller: Caller, request: IssueRequest, public_key: str, done: Callable[[Issued | TmsError | None], None]
    ) -> bool:
        """Begin the same where nothing has to be waited for but the commit; False says nothing: `issue` has the answer.

        `done` is called once the certificate is durable, with it; with what `issue` would raise if it could not be
        written; or with None, if the tenant changed meanwhile and nothing was issued.

        Raises:
            TmsError: what `issue` would raise

        """
        if request.reservation_id is not None:
            return False  # it is read by a statement of its own
        key = parse_public_key(public_key)
        if (caller.tenant, key.fingerprint) in self._forbidden:
            return False
        facts = self._facts.for_issue_at_once(caller.tenant, caller.id, request.user, request.host, request.account)
        if facts is None or facts.epoch != caller.epoch:
            return False
        now = self._clock.now()
        verdict = self._verdicts.on(request, facts, now)
        if isinstance(verdict, Denial):
            return False
        signer = self._keys.opened(verdict.ca_fingerprint)
        if signer is None:
            return False
        draft = _drafted(caller, request, key, verdict, signer, next(self._serials))
        signature = signer.sign_at_once(draft.tbs)
        if signature is None:
            return False
        issued = _issued(caller, request, verdict, draft, signature, now)

        def committed(outcome: bool | Exception) -> None:  # noqa: FBT001 - see GroupCommit.put
            if isinstance(outcome, TmsError):
                done(outcome)
            else:
                done(issued if outcome is True else None)

        self._commits.put(self._entry(caller, facts, issued.record), committed)
        return True

    def _note(self, tenant: str, fingerprint: str, *, forbidden: bool) -> None:
        if not forbidden:
            self._forbidden.discard((tenant, fingerprint))
            return
        if len(self._forbidden) >= MOST_FORBIDDEN:
            self._forbidden.clear()
        self._forbidden.add((tenant, fingerprint))

    def _entry(self, caller: Caller, facts: Facts, record: CertificateRecord) -> Entry:
        """Return what is made durable, unless something in the tenant changed since the facts were read."""
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
        if record.reservation_id is not None:
            issued.detail["reservation"] = record.reservation_id
        return Entry(issued, record, facts.epoch)


async def facts_for(remembered: RememberedFacts, caller: Caller, request: IssueRequest, fingerprint: str) -> Facts:
    """Return what is decided on for the client `caller`; `fingerprint` is empty where there is no key yet.

    Raises:
        ChangedMeanwhile: something in the tenant changed since the credential was checked

    """
    facts = await remembered.for_issue(
        caller.tenant, caller.id, request.user, request.host, request.account, fingerprint
    )
    if facts is None:
        raise NotFound("tenant_unknown", "there is no such tenant")
    require_epoch(caller, facts.epoch)
    return facts


async def with_reservation(remembered: RememberedFacts, caller: Caller, facts: Facts, reservation_id: str) -> Facts:
    """Return `facts` with the reservation of the client `caller` that a request names.

    Raises:
        ChangedMeanwhile: something in the tenant changed since the facts were read

    """
    found = await remembered.reservation(caller.tenant, caller.id, reservation_id)
    if found is None or found[0] != facts.epoch:
        raise ChangedMeanwhile
    return replace(facts, reservation=found[1])


@record
class _Draft:
    """A certificate that has passed the lint, and waits for its signature."""

    fields: CertificateFields
    tbs: bytes


def _drafted(
    caller: Caller, request: IssueRequest, key: PublicKey, grant: Grant, signer: Signer, serial: int
) -> _Draft:
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
    return _Draft(fields, tbs)


def _issued(
    caller: Caller, request: IssueRequest, grant: Grant, draft: _Draft, signature: bytes, decided_at: int
) -> Issued:
    fields = draft.fields
    blob = assemble(draft.tbs, signature)
    record = CertificateRecord(
        serial=fields.serial,
        tenant=caller.tenant,
        key_id=fields.key_id,
        user=request.user,
        client_id=caller.id,
        host=request.host,
        account=request.account,
        delegation_id=grant.delegation_id,
        public_key_fingerprint=fields.public_key.fingerprint,
        ca_fingerprint=grant.ca_fingerprint,
        principals=grant.principals,
        critical_options=grant.critical_options,
        extensions=grant.extensions,
        valid_after=grant.valid_after,
        valid_before=grant.valid_before,
        limited_by=grant.limited_by,
        issued_at=decided_at,
        sha256=hashlib.sha256(blob).digest(),
        request_id=caller.request_id,
        reservation_id=request.reservation_id,
    )
    return Issued(record, certificate_line(blob))
