"""Times as formats write them; the only calendar in the core."""

from datetime import UTC, datetime

LAST_SECOND = 253402300799  # 9999-12-31T23:59:59Z


def compact_utc(moment: int) -> str:
    """Return Unix seconds as YYYYMMDDHHMMSSZ, as sshd (9.1 and later) reads expiry-time."""
    return datetime.fromtimestamp(min(max(moment, 0), LAST_SECOND), UTC).strftime("%Y%m%d%H%M%SZ").rjust(15, "0")
