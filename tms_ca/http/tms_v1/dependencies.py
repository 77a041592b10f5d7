"""What a key or a reservation rests on and is not there, or has ended: said as the old server said it."""

from tms_ca.core.errors import Denied
from tms_ca.core.facts import DenialReason
from tms_ca.http.tms_v1.answers import Refused, date
from tms_ca.http.tms_v1.declare import Call

_USERS = {DenialReason.USER_UNKNOWN, DenialReason.MFA_NEVER, DenialReason.MFA_EXPIRED, DenialReason.USER_DISABLED}
_HOSTS = {DenialReason.HOST_UNKNOWN, DenialReason.LINK_MISSING, DenialReason.LINK_EXPIRED}
# Not where one is there and does not reach so far: those have words of their own.
_DELEGATIONS = {DenialReason.DELEGATION_MISSING, DenialReason.DELEGATION_EXPIRED}


def missing(call: Call, error: Denied, account: str) -> Refused:
    """Return the refusal of what a client asked for its user, for `account` on the host of the body."""
    return Refused(403, f"Missing or expired dependency: {_words(call, error, account)}", error.code)


def _words(call: Call, error: Denied, account: str) -> str:
    """Return the old server's words for what is missing, where it had any."""
    body, tenant, code = call.body, call.tenant, error.code
    user, host = body["client_user_id"], body["host"]
    if code in _USERS:
        what, whose = "user MFA", f"user ID {user} in tenant {tenant}"
    elif code in _HOSTS:
        what, whose = "user host", f"user {user}@{tenant} with account {account} on host {host}"
    elif code in _DELEGATIONS:
        what, whose = "delegation", f"client {call.caller.id} and client_user_id {user} in tenant {tenant}"
    else:
        return f"{error.detail}."
    at = error.extra.get("ended_at")
    if at is not None:
        return f"Required {what} record for {whose} expired at {date(int(at))}."
    if code == DenialReason.USER_DISABLED:
        return f"Required {what} record for {whose} is disabled."
    return f"Required {what} record not found for {whose}."
