"""Key mode: the service makes the pair, and the key lasts as long as it was asked for.

A certificate must end soon, because nobody asks about it again. A plain key is decided anew at each login
(core.keylogin), so the lengths that bound a certificate do not bound it. What a delegation or a client itself says of
the longest life does.
"""

from dataclasses import replace

from tms_ca.core.facts import (
    HARD_MAX_SECONDS,
    Denial,
    DenialReason,
    Facts,
    Grant,
    IssueRequest,
    LimitedBy,
    Limits,
    LoginFacts,
)
from tms_ca.core.keylogin import decide_escrow
from tms_ca.core.model import Constraints
from tms_ca.core.policy import mfa_ends
from tms_ca.core.sshwire import Reader
from tms_ca.core.times import LAST_SECOND

_KINDS = {
    "ssh-ed25519": ("ed25519", 256),
    "ecdsa-sha2-nistp256": ("ecdsa", 256),
    "ecdsa-sha2-nistp384": ("ecdsa", 384),
    "ecdsa-sha2-nistp521": ("ecdsa", 521),
    "sk-ssh-ed25519@openssh.com": ("ed25519-sk", 256),
    "sk-ecdsa-sha2-nistp256@openssh.com": ("ecdsa-sk", 256),
}


def decide_key_mode(request: IssueRequest, facts: Facts, limits: Limits, now: int) -> Grant | Denial:
    """Decide whether a key may be made: every rule of an escrow but those about how long it must at least last."""
    return decide_escrow(request, _lengthened(facts, now), replace(limits, max_ttl=HARD_MAX_SECONDS), now)


def _lengthened(facts: Facts, now: int) -> Facts:
    """Return facts in which whatever has not ended goes on for a day more; what has ended has ended."""

    def later(end: int) -> int:
        return end if now >= end else end + HARD_MAX_SECONDS

    tenant, client, user, link = facts.tenant, facts.client, facts.user, facts.link
    proved_until = mfa_ends(user, tenant)
    if user is not None and proved_until is not None:
        user = replace(user, mfa_until=later(proved_until))
    tenant = replace(tenant, default_ttl_seconds=HARD_MAX_SECONDS, max_ttl_seconds=HARD_MAX_SECONDS)
    if client is not None:
        ends = None if client.expires_at is None else later(client.expires_at)
        client = replace(client, max_ttl_seconds=None, expires_at=ends)
    if link is not None:
        link = replace(link, expires_at=later(link.expires_at))
    delegations = tuple(
        replace(
            one,
            expires_at=None if one.expires_at is None else later(one.expires_at),
            constraints=replace(one.constraints, max_ttl_seconds=None),
        )
        for one in facts.delegations
    )
    return replace(facts, tenant=tenant, client=client, user=user, link=link, delegations=delegations)


def lifetime(
    now: int, ttl_seconds: int, delegation: Constraints | None, client_most: int | None
) -> tuple[int, LimitedBy]:
    """Return when a key ends that is to last `ttl_seconds` from now, in Unix seconds, and what made it no longer."""
    ends = [(min(now + ttl_seconds, LAST_SECOND), LimitedBy.REQUESTED)]
    if delegation is not None and delegation.max_ttl_seconds is not None:
        ends.append((now + delegation.max_ttl_seconds, LimitedBy.DELEGATION))
    if client_most is not None:
        ends.append((now + client_most, LimitedBy.CLIENT))
    return min(ends, key=lambda end: end[0])


def ended_at(denial: Denial, facts: Facts | LoginFacts) -> int | None:
    """Return when that ended whose end is the reason, in Unix seconds; None where no end is."""
    if denial.reason is DenialReason.LINK_EXPIRED and facts.link is not None:
        return facts.link.expires_at
    if denial.reason is DenialReason.MFA_EXPIRED:
        return mfa_ends(facts.user, facts.tenant)
    if denial.reason is DenialReason.DELEGATION_EXPIRED:
        known = facts.delegations if isinstance(facts, Facts) else (facts.delegation,)
        return max((one.expires_at or one.pending_until for one in known if one is not None), default=None)
    return None


def key_type_and_bits(algorithm: str, blob: bytes) -> tuple[str, int]:
    """Return what kind of key it is, as ssh-keygen names it, and its size."""
    if algorithm != "ssh-rsa":
        return _KINDS[algorithm]
    reader = Reader(blob)
    reader.skip_strings(2)  # the algorithm, the exponent
    return "rsa", reader.mpint().bit_length()
