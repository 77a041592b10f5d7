"""Which open sessions must end: those that rest on something that was taken back. Pure, as the other decisions are."""

from dataclasses import replace

from tms_ca.core.facts import Denial, DenialReason, Limits, LoginFacts, LoginRequest
from tms_ca.core.policy import decide_login

R = DenialReason
# Revocations, and ends of what a session rests on. What only keeps new logins out ends nobody's work.
TAKEN_BACK = frozenset(
    {
        R.TENANT_DISABLED, R.CLIENT_UNKNOWN, R.CLIENT_DISABLED, R.CLIENT_REVOKED, R.CLIENT_EXPIRED,
        R.USER_UNKNOWN, R.USER_DISABLED, R.USER_REVOKED, R.HOST_UNKNOWN, R.HOST_DISABLED, R.HOST_REVOKED,
        R.DELEGATION_MISSING, R.DELEGATION_DENIED, R.DELEGATION_REVOKED, R.DELEGATION_EXPIRED,
        R.LINK_MISSING, R.LINK_EXPIRED, R.KEY_IS_CA_KEY, R.KEY_IS_HOST_KEY, R.KEY_REVOKED,
        R.CERTIFICATE_REVOKED, R.CA_KEY_NOT_TRUSTED,
    }
)  # fmt: skip
_AT_EXPIRY = TAKEN_BACK | {
    R.CERTIFICATE_EXPIRED,
    R.MFA_NEVER,
    R.MFA_EXPIRED,
    R.RESERVATION_UNKNOWN,
    R.RESERVATION_EXPIRED,
}


def why_ended(host: str, account: str, facts: LoginFacts, now: int, *, at_expiry: bool) -> Denial | None:
    """Return why a session must end that was let in on the certificate of `facts`; None where it may go on.

    Every rule of a login is asked again, but for those that an open session has passed once and for all: the count of
    logins, restrictions and, unless `at_expiry`, the end of the certificate and of the MFA window. These come out of
    the facts first, so that none of them stands before a revocation and hides it.
    """
    issued, user, place, delegation = facts.issued, facts.user, facts.host, facts.delegation
    if issued is None:
        return None  # its record was deleted long after its end; nothing is known against it
    if not at_expiry:
        issued = replace(issued, valid_after=min(issued.valid_after, now), valid_before=now + 1)
        user = None if user is None else replace(user, mfa_verified_at=now)
    facts = replace(
        facts,
        issued=issued,
        user=user,
        host=None if place is None else replace(place, restrictions=None),
        delegation=None if delegation is None else replace(delegation, restrictions=None, uses_left=None),
    )
    verdict = decide_login(LoginRequest(host, account, issued.sha256), facts, Limits(), now)
    ends = _AT_EXPIRY if at_expiry else TAKEN_BACK
    return verdict if isinstance(verdict, Denial) and verdict.reason in ends else None
