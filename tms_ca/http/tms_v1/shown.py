"""Members that several nouns of the TMS wire API show alike."""

from datetime import UTC, datetime

from tms_ca.core.times import LAST_SECOND
from tms_ca.http.tms_v1.answers import date
from tms_ca.store.tms_v1 import Number

UNCHANGED = "UNCHANGED"


def numbered(number: Number, created_at: int) -> dict[str, object]:
    """Return a thing's number, when it was made, and when it was last changed."""
    # A change that was noted of a thing which had the name before is none of this one's.
    updated_at = max(number.updated_at or 0, created_at)
    return {"id": number.number, "created": date(created_at), "updated": date(updated_at)}


def expires_msg(moment: int | None) -> str:
    """Return an end as the two changes of an end say it; None: nothing was changed."""
    if moment is None:
        return UNCHANGED
    return datetime.fromtimestamp(min(moment, LAST_SECOND), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
