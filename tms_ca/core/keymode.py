"""Key mode: the service makes the pair, and the key lasts as long as it was asked for.

A certificate must end soon, because nobody asks about it again. A plain key is decided anew at each login
(core.keylogin), so the lengths that bound a certificate do not bound it. What a delegation or a client itself says of
the longest life does.
"""

from dataclasses import replace

from tms_ca.core.facts import HARD_MAX_SECONDS, Denial, DenialReason, Facts, Grant, IssueRequest, Limits
from tms_ca.core.keylogin import decide_escrow
from tms_ca.core.sshwire import Reader

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
    window = tenant.mfa_window_seconds
    if user is not None and user.mfa_verified_at is not None and now < user.mfa_verified_at + window:
        window += HARD_MAX_SECONDS
    tenant = replace(
        tenant, mfa_window_seconds=window, default_ttl_seconds=HARD_MAX_SECONDS, max_ttl_seconds=HARD_MAX_SECONDS
    )
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
    return replace(facts, tenant=tenant, client=client, link=link, delegations=delegations)


def ended_at(denial: Denial, facts: Facts) -> int | None:
    """Return when that ended whose end is the reason, in Unix seconds; None where no end is."""
    if denial.reason is DenialReason.LINK_EXPIRED and facts.link is not None:
        return facts.link.expires_at
    if denial.reason is DenialReason.MFA_EXPIRED and facts.user is not None:
        return (facts.user.mfa_verified_at or 0) + facts.tenant.mfa_window_seconds
    if denial.reason is DenialReason.DELEGATION_EXPIRED:
        return max((one.expires_at or one.pending_until for one in facts.delegations), default=None)
    return None


def key_type_and_bits(algorithm: str, blob: bytes) -> tuple[str, int]:
    """Return what kind of key it is, as ssh-keygen names it, and its size."""
    if algorithm != "ssh-rsa":
        return _KINDS[algorithm]
    reader = Reader(blob)
    reader.skip_strings(2)  # the algorithm, the exponent
    return "rsa", reader.mpint().bit_length()
