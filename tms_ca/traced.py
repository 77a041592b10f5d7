"""The same services with a span around each step of a request; app.py puts them in where traces are sent."""

from typing import TYPE_CHECKING, Any

from tms_ca.core.facts import Denial, Facts, Grant, IssueRequest, Limits, LoginFacts, LoginGrant, LoginRequest
from tms_ca.core.policy import decide, decide_login
from tms_ca.services.cakeys import KeyRing
from tms_ca.signing import Signer
from tms_ca.store.facts import FactsReader, Holder
from tms_ca.store.hot import Entry, GroupCommit
from tms_ca.store.memory import RememberedFacts

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


class TracedFacts(RememberedFacts):
    """RememberedFacts: spans `credential` and `facts`."""

    def __init__(self, reader: FactsReader, tracer: "Tracer") -> None:
        super().__init__(reader)
        self._tracer = tracer

    async def for_issue(self, *args: Any, **named: Any) -> Facts | None:
        """Return the facts for an issue."""
        with self._tracer.start_as_current_span("facts"):
            return await super().for_issue(*args, **named)

    async def for_login(self, *args: Any, **named: Any) -> LoginFacts | None:
        """Return the facts for a login check."""
        with self._tracer.start_as_current_span("facts"):
            return await super().for_login(*args, **named)

    async def holder(self, *args: Any, **named: Any) -> Holder | None:
        """Return whose credential it is, now."""
        with self._tracer.start_as_current_span("credential"):
            return await super().holder(*args, **named)


class TracedCommits(GroupCommit):
    """GroupCommit: the span `commit` is a request's wait until its entry is durable."""

    def __init__(self, *args: Any, tracer: "Tracer") -> None:
        super().__init__(*args)
        self._tracer = tracer

    async def submit(self, entry: Entry) -> bool:
        """Make `entry` durable."""
        with self._tracer.start_as_current_span("commit"):
            return await super().submit(entry)


class TracedSigner:
    """A Signer: the span `sign`."""

    def __init__(self, signer: Signer, tracer: "Tracer") -> None:
        self.public_key = signer.public_key
        self._signer = signer
        self._tracer = tracer

    async def sign(self, data: bytes) -> bytes:
        """Return the signature blob over `data`."""
        with self._tracer.start_as_current_span("sign"):
            return await self._signer.sign(data)

    def sign_at_once(self, _: bytes) -> None:
        """Return nothing: what is traced goes the long way."""


class TracedKeyRing(KeyRing):
    """A KeyRing of traced signers; it asks `ring` for them."""

    def __init__(self, ring: KeyRing, tracer: "Tracer") -> None:
        self._ring = ring
        self._tracer = tracer

    async def signer(self, tenant: str, fingerprint: str) -> Signer:
        """Return the signer of a key that a decision named."""
        return TracedSigner(await self._ring.signer(tenant, fingerprint), self._tracer)


class TracedRules:
    """core.policy: the span `decide`."""

    def __init__(self, tracer: "Tracer") -> None:
        self._tracer = tracer

    def decide(self, request: IssueRequest, facts: Facts, limits: Limits, now: int) -> Grant | Denial:
        """Decide on a certificate."""
        with self._tracer.start_as_current_span("decide"):
            return decide(request, facts, limits, now)

    def decide_login(self, request: LoginRequest, facts: LoginFacts, limits: Limits, now: int) -> LoginGrant | Denial:
        """Decide on a login."""
        with self._tracer.start_as_current_span("decide"):
            return decide_login(request, facts, limits, now)
