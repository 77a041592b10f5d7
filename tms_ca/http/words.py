"""A delegation in plain words: what a user reads before saying yes, and the hash of what they read."""

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode, urlsplit, urlunsplit

from markupsafe import Markup, escape

from tms_ca.core.facts import HARD_MAX_SECONDS
from tms_ca.core.model import Constraints, Delegation

_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_LIFETIMES = (3600, 8 * 3600, 86400, 7 * 86400, 30 * 86400, 90 * 86400, 180 * 86400)
_CERTIFICATE_LENGTHS = (300, 900, 3600, 8 * 3600)
_EXTENSIONS = {
    "permit-pty": "open a terminal",
    "permit-port-forwarding": "forward network ports through the host",
    "permit-agent-forwarding": "take its SSH agent along to the host",
    "permit-X11-forwarding": "show graphical windows (X11)",
    "permit-user-rc": "have the account's ~/.ssh/rc run at log-in",
    "no-touch-required": "use a security key without a touch",
}
_CODE = re.compile(r"`([^`]+)`")


def duration(seconds: int) -> str:
    """Return a duration such as `1 day 12 hours`."""
    parts, rest = [], seconds
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}{'' if count == 1 else 's'}")
    return " ".join(parts) or "0 seconds"


def moment(at: int) -> Markup:
    """Return a time of day for people, in UTC."""
    when = datetime.fromtimestamp(at, UTC)
    text = f"{when.day} {when:%B %Y, %H:%M} UTC"
    return Markup('<time datetime="{}">{}</time>').format(f"{when:%Y-%m-%dT%H:%M:%SZ}", text)


def inline(text: str) -> Markup:
    """Return a line of a docstring as HTML: backquotes are code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(" ".join(text.split())))))  # noqa: S704 - escaped here


def prose(text: str) -> Markup:
    """Return a docstring as HTML, in paragraphs."""
    return Markup("").join(Markup("<p>{}</p>").format(inline(part)) for part in text.split("\n\n") if part.strip())


def allowed(constraints: Constraints) -> Sequence[str]:
    """Return what a session may do beyond running a command."""
    return [_EXTENSIONS.get(name, name) for name in constraints.extensions]


def refused(constraints: Constraints) -> Sequence[str]:
    """Return what a session may not do."""
    return [text for name, text in _EXTENSIONS.items() if name not in {*constraints.extensions, "no-touch-required"}]


def lifetimes(delegation: Delegation) -> Sequence[int]:
    """Return shorter lifetimes, in seconds, to choose from."""
    return [seconds for seconds in _LIFETIMES if seconds < delegation.lifetime_seconds]


def certificate_lengths(delegation: Delegation) -> Sequence[int]:
    """Return shorter lengths of a certificate, in seconds, to choose from."""
    most = delegation.constraints.max_ttl_seconds or HARD_MAX_SECONDS
    return [seconds for seconds in _CERTIFICATE_LENGTHS if seconds < most]


def hash_of_shown(delegation: Delegation, client_name: str) -> str:
    """Return a hash over everything that the page says about what is asked for."""
    constraints = delegation.constraints
    shown = [
        delegation.tenant,
        delegation.delegation_id,
        delegation.user,
        delegation.client_id,
        client_name,
        delegation.host,
        delegation.account,
        delegation.purpose,
        delegation.lifetime_seconds,
        constraints.max_ttl_seconds,
        constraints.source_address,
        constraints.force_command,
        constraints.extensions,
        constraints.max_uses,
        delegation.redirect_uri,
        delegation.user_code,
        delegation.created_at,
        delegation.pending_until,
    ]
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()


def back_link(delegation: Delegation) -> str:
    """Return the client's redirect_uri with what was decided; empty where there is none, or it is not of the web."""
    if delegation.redirect_uri is None:
        return ""
    parts = urlsplit(delegation.redirect_uri)
    if parts.scheme not in {"https", "http"}:
        return ""
    added = urlencode({"delegation_id": delegation.delegation_id, "status": delegation.status})
    return urlunsplit(parts._replace(query="&".join(part for part in (parts.query, added) if part)))
