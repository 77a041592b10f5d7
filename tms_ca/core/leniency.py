"""What the old server let pass at a login, for the weeks of a migration: a yes that decide_key would not give.

It forgave the end of things, and the number of uses, because it looked at neither. It never forgave what was deleted,
and nothing here forgives what was revoked, disabled or denied, or is for another place.
"""

from dataclasses import replace

from tms_ca.core.facts import Denial, DenialReason, Limits
from tms_ca.core.keylogin import KeyFacts, KeyGrant, KeyRequest, decide_key

FORGIVEN = frozenset(
    {
        DenialReason.PUBLIC_KEY_EXPIRED,
        DenialReason.USES_EXHAUSTED,
        DenialReason.MFA_EXPIRED,
        DenialReason.RESERVATION_EXPIRED,  # the MFA window ended before it
        DenialReason.LINK_EXPIRED,
        DenialReason.DELEGATION_EXPIRED,
    }
)
SPELL_SECONDS = 60  # what has ended counts as good for so long from now; nobody is told of this end


def decide_leniently(request: KeyRequest, facts: KeyFacts, limits: Limits, now: int) -> KeyGrant | Denial:
    """Decide as decide_key does; where it says no because something has ended, as if that went on."""
    verdict = decide_key(request, facts, limits, now)
    if isinstance(verdict, KeyGrant) or verdict.reason not in FORGIVEN:
        return verdict
    # Every other rule once more: what has ended may also be revoked.
    again = decide_key(request, _going_on(facts, now + SPELL_SECONDS), limits, now)
    return replace(again, forgiven=verdict.reason) if isinstance(again, KeyGrant) else verdict


def _going_on(facts: KeyFacts, until: int) -> KeyFacts:
    key, around = facts.key, facts.around
    link, delegation, user = around.link, around.delegation, around.user
    if key is not None:
        key = replace(key, expires_at=max(key.expires_at, until), uses_left=key.uses_left or None)
    if link is not None:
        link = replace(link, expires_at=max(link.expires_at, until))
    if delegation is not None and delegation.expires_at is not None:
        delegation = replace(delegation, expires_at=max(delegation.expires_at, until))
    if user is not None and (user.mfa_until, user.mfa_verified_at) != (None, None):  # never is not an end
        user = replace(user, mfa_until=max(user.mfa_until or 0, until))
    return KeyFacts(key, replace(around, link=link, delegation=delegation, user=user))
