"""How each request looks and what its answer means: values in, values out, no I/O.

A `Call` is a request with the function that reads its answer; a shell such as `blocking.Service` carries it. Fields
that this release does not know are passed over, so that a newer service can say more.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from tms_ca.client.failures import NotUnderstood, Refused, TryAgain

T_co = TypeVar("T_co", covariant=True)
_SHOWN = 200  # characters of an answer that is not understood


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `path` begins within the tenant."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """A request and what makes a result of its answer."""

    request: Request
    read: Callable[[Answer], T_co]


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate as its client receives it; `fields` is all that the service said."""

    certificate: str
    serial: str
    valid_before: str
    limited_by: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A login."""

    token: str
    user: str
    expires_at: str
    mfa_expires_at: str | None


def _object(answer: Answer) -> dict[str, Any]:
    """Return the JSON object of a good answer.

    Raises:
        TryAgain, Refused: the service's problem (RFC 9457)
        NotUnderstood: neither

    """
    try:
        found = json.loads(answer.body) if answer.body else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        text = answer.body[:_SHOWN].decode(errors="replace")
        raise NotUnderstood(f"got status {answer.status} with {text!r}; expected JSON: is the address a tms-ca?")
    if 200 <= answer.status < 300:
        return found
    code, detail = found.get("code"), found.get("detail")
    if not isinstance(code, str) or not isinstance(detail, str):
        raise NotUnderstood(f"got status {answer.status} without a code; expected a tms-ca at this address")
    after = answer.headers.get("retry-after", "")
    if answer.status in {429, 503}:
        raise TryAgain(answer.status, code, detail, int(after) if after.isascii() and after.isdigit() else None)
    raise Refused(answer.status, code, detail)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise NotUnderstood(f"the answer has no {name}; is the service newer than this tms?")
    return value


def _issued(answer: Answer) -> Issued:
    fields = _object(answer)
    certificate = _text(fields, "certificate").strip()
    if "\n" in certificate or "-cert-v01@openssh.com " not in certificate:
        raise NotUnderstood("the answer's certificate is not one line of an OpenSSH certificate")
    serial, valid_before, limited_by = (_text(fields, name) for name in ("serial", "valid_before", "limited_by"))
    return Issued(certificate, serial, valid_before, limited_by, fields)


def _session(answer: Answer) -> OpenSession:
    fields = _object(answer)
    until = fields.get("mfa_expires_at")
    token, user, expires_at = (_text(fields, name) for name in ("token", "user", "expires_at"))
    return OpenSession(token, user, expires_at, until if isinstance(until, str) else None)


def _nothing(answer: Answer) -> None:
    _object(answer)


@dataclass(frozen=True, slots=True)
class Items:
    """One page of a list."""

    items: Sequence[Mapping[str, Any]]
    next_cursor: str | None


def _items(answer: Answer) -> Items:
    fields = _object(answer)
    items, cursor = fields.get("items"), fields.get("next_cursor")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise NotUnderstood("the answer has no items; expected a list")
    return Items(items, cursor if isinstance(cursor, str) else None)


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def issue(user: str, account: str, host: str, public_key: str, **wishes: Any) -> Call[Issued]:
    """Ask for a certificate; `wishes` are the other members of its body, such as ttl_seconds."""
    body = _given(user=user, account=account, host=host, public_key=public_key, **wishes)
    return Call(Request("POST", "certificates", body), _issued)


def request_delegation(
    user: str, account: str, host: str, lifetime_seconds: int, purpose: str, constraints: Mapping[str, Any]
) -> Call[dict[str, Any]]:
    """Ask a user for a delegation; the answer has approval_url and user_code."""
    body = _given(user=user, account=account, host=host, lifetime_seconds=lifetime_seconds, purpose=purpose,
                  constraints=constraints or None)  # fmt: skip
    return Call(Request("POST", "delegations", body), _object)


def delegation(delegation_id: str) -> Call[dict[str, Any]]:
    """Read one delegation."""
    return Call(Request("GET", f"delegations/{quote(delegation_id, safe='')}"), _object)


def reserve(user: str, account: str, host: str, purpose: str, **wishes: Any) -> Call[dict[str, Any]]:
    """Reserve; `wishes` are lifetime_seconds or parent_id, and public_key_fingerprint."""
    body = _given(user=user, account=account, host=host, purpose=purpose, **wishes)
    return Call(Request("POST", "reservations", body), _object)


def unreserve(reservation_id: str, *, related: bool) -> Call[None]:
    """Take a reservation back, and its children where they are `related`."""
    query = "?related=true" if related else ""
    return Call(Request("DELETE", f"reservations/{quote(reservation_id, safe='')}{query}"), _nothing)


def decide(delegation_id: str, verb: str, **narrowing: Any) -> Call[dict[str, Any]]:
    """Approve (narrowed by what is given), deny or revoke a delegation, as its user."""
    body = _given(**narrowing) if verb == "approve" else None
    return Call(Request("POST", f"delegations/{quote(delegation_id, safe='')}/{verb}", body), _object)


def revoke(selector: str, value: str, reason: str) -> Call[dict[str, Any]]:
    """Revoke what `selector` and `value` name."""
    return Call(Request("POST", "revocations", {selector: value, "reason": reason}), _object)


def listing(what: str, cursor: str | None = None, **filters: str | None) -> Call[Items]:
    """Read a page of a list."""
    query = urlencode(_given(cursor=cursor, **filters))
    return Call(Request("GET", f"{what}?{query}" if query else what), _items)


def log_in(user: str, password: str, code: str | None) -> Call[OpenSession]:
    """Open a session; with a code, the MFA window too."""
    return Call(Request("POST", "sessions", _given(user=user, password=password, totp=code)), _session)


def log_out() -> Call[None]:
    """End the session."""
    return Call(Request("DELETE", "sessions/current"), _nothing)


def mfa_status() -> Call[dict[str, Any]]:
    """Ask where the user stands with the second factor."""
    return Call(Request("GET", "mfa"), _object)


def mfa_enrol() -> Call[dict[str, Any]]:
    """Make a TOTP seed."""
    return Call(Request("POST", "mfa/totp"), _object)


def mfa_verify(code: str) -> Call[dict[str, Any]]:
    """Prove the second factor."""
    return Call(Request("POST", "mfa/verify", {"code": code}), _object)
