"""Whether a session that a plain key opened must end. Pure; core.sessions has the same for certificates."""

from tms_ca.core.facts import Denial, DenialReason
from tms_ca.core.keylogin import KeyFacts, as_login
from tms_ca.core.model import Login
from tms_ca.core.sessions import why_ended

_TAKEN_BACK = Denial(DenialReason.PUBLIC_KEY_UNKNOWN, "the public key was taken back")
_REVOKED = Denial(DenialReason.KEY_REVOKED, "the public key is revoked")
_EXPIRED = Denial(DenialReason.PUBLIC_KEY_EXPIRED, "the public key's time has ended")


def why_key_ended(login: Login, facts: KeyFacts, now: int, *, at_expiry: bool) -> Denial | None:
    """Return why the session of `login` must end; None where it may go on.

    A key that was escrowed anew for the same place carries the sessions that it has opened. Its uses end none.
    """
    key = facts.key
    place = (login.user, login.client_id, login.host, login.account)
    if key is None or (key.user, key.client_id, key.host, key.account) != place:
        return _TAKEN_BACK  # its row stays as long as the session is open, unless somebody takes it back
    if key.revoked:
        return _REVOKED
    as_issued = as_login(key, facts, login.public_key_fingerprint)
    why = why_ended(login.host, login.account, as_issued, now, at_expiry=at_expiry)
    return _EXPIRED if why is not None and why.reason is DenialReason.CERTIFICATE_EXPIRED else why
