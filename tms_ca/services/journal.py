"""Audit events out of callers and deeds."""

from collections.abc import Mapping

from tms_ca.core.access import Role
from tms_ca.core.errors import Denied
from tms_ca.core.facts import Denial
from tms_ca.core.model import Caller, Event
from tms_ca.services.clock import Clock

OK = "ok"


def actor(caller: Caller) -> str:
    """Return who acted, such as client:portal."""
    return "anyone" if caller.role is Role.ANYONE else f"{caller.role}:{caller.id}"


def event(
    clock: Clock, caller: Caller, tenant: str, action: str, target: str, outcome: str = OK, **detail: object
) -> Event:
    """Return the event of `caller` doing `action`; `outcome` is OK or the code of the refusal."""
    return Event(
        clock.now_ms(), tenant, actor(caller), action, outcome, target, detail, caller.request_id, caller.address
    )


def refusal(denial: Denial, alarm: str = "", extra: Mapping[str, str | int] | None = None) -> Denied:
    """Return the error that carries `denial`, once it is on record, to the caller; `alarm` is for the log."""
    return Denied(denial.reason, denial.detail, recorded=True, alarm=alarm, extra=extra)
