"""What every shape is made of: strict types, times, serials and names."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from tms_ca.core import names

LAST_SECOND = 253402300799  # 9999-12-31T23:59:59Z: what RFC 3339 can write
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
SERIAL = r"^[1-9][0-9]{0,18}$"
FINGERPRINT = r"^SHA256:[A-Za-z0-9+/]{43}$"
ID = r"^[a-z]{2,8}_[a-z2-7]{20}$"
LOGIN_ID = r"^[0-9a-f]{32}$"
RESERVATION_ID = r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
_SERIAL = re.compile(SERIAL)
_DIGITS = re.compile(r"[0-9]{1,9}", re.ASCII)
_FINGERPRINT = re.compile(FINGERPRINT)
_ID = re.compile(ID)
_LOGIN_ID = re.compile(LOGIN_ID)
_RESERVATION_ID = re.compile(RESERVATION_ID)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Shape(Schema):
    """A shape refuses what it does not name."""

    class Meta:
        """Marshmallow's settings."""

        unknown = RAISE


class Integer(fields.Integer):
    """A JSON number without fraction; never a string, never true."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if type(value) is not int:
            raise ValidationError(f"expected a whole number, got {_kind(value)}")
        return super()._deserialize(value, attr, data, **kwargs)


class QueryInteger(fields.Integer):
    """A whole number in a query string: digits and nothing else."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not _DIGITS.fullmatch(value):
            raise ValidationError(f"expected a whole number, got {_kind(value)}")
        return super()._deserialize(value, attr, data, **kwargs)


class QueryBoolean(fields.Boolean):
    """True or false in a query string: these words and nothing else."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if value not in {"true", "false"}:
            raise ValidationError(f"expected true or false, got {_kind(value)}")
        return super()._deserialize(value, attr, data, **kwargs)


class Boolean(fields.Boolean):
    """true or false; never a word or a number."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise ValidationError(f"expected true or false, got {_kind(value)}")
        return super()._deserialize(value, attr, data, **kwargs)


@lru_cache(4096)
def rfc3339(moment: int) -> str:
    """Return Unix seconds as RFC 3339 in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Timestamp(fields.Field[int]):
    """RFC 3339 with Z on the wire, Unix seconds inside."""

    def _serialize(self, value: int | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:  # noqa: ARG002 - marshmallow's signature
        return None if value is None else rfc3339(value)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:  # noqa: ARG002 - as above
        if not isinstance(value, str) or not _TIME.fullmatch(value):
            raise ValidationError(f"expected a time such as 2027-01-31T12:00:00Z, got {_kind(value)}")
        try:
            moment = int(datetime.fromisoformat(value).timestamp())
        except ValueError as error:
            raise ValidationError(f"expected a time such as 2027-01-31T12:00:00Z: {error}") from error
        if not 0 <= moment <= LAST_SECOND:
            raise ValidationError("expected a time between 1970 and 9999")
        return moment


class Serial(fields.Field[int]):
    """A 63-bit number as a decimal string: JavaScript's numbers end at 2**53."""

    def _serialize(self, value: int | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:  # noqa: ARG002 - marshmallow's signature
        return None if value is None else str(value)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:  # noqa: ARG002 - as above
        if not isinstance(value, str) or not valid_serial(value):
            raise ValidationError("expected a serial as a string of decimal digits, from 1 to 2**63-1")
        return int(value)


def valid_serial(text: str) -> bool:
    """Tell whether `text` is a serial."""
    return _SERIAL.fullmatch(text) is not None and int(text) < 2**63


def valid_fingerprint(text: str) -> bool:
    """Tell whether `text` is a SHA-256 fingerprint as OpenSSH writes it."""
    return _FINGERPRINT.fullmatch(text) is not None


def valid_id(text: str) -> bool:
    """Tell whether `text` is an id that the service made."""
    return _ID.fullmatch(text) is not None


def valid_login_id(text: str) -> bool:
    """Tell whether `text` is an id that a host gave to a login."""
    return _LOGIN_ID.fullmatch(text) is not None


def valid_reservation_id(text: str) -> bool:
    """Tell whether `text` is the id of a reservation: a UUID of version 4 (RFC 9562)."""
    return _RESERVATION_ID.fullmatch(text) is not None


def _kind(value: object) -> str:
    return f"{value[:40]!r}" if isinstance(value, str) else f"a JSON {type(value).__name__}"


class Named:
    """A validator that says what a name must look like; `pattern` says it to readers of the OpenAPI document."""

    def __init__(self, what: str, valid: Callable[[str], bool], expected: str, pattern: str) -> None:
        self._what, self._valid, self._expected, self.pattern = what, valid, expected, pattern

    def __call__(self, value: str) -> None:
        """Check one."""
        if not self._valid(value):
            raise ValidationError(f"{value[:60]!r} cannot be {self._what}: {self._expected}")


def matching(what: str, pattern: str, expected: str) -> Named:
    """Return a validator for what one ECMA-compatible pattern describes wholly."""
    compiled = re.compile(pattern)
    return Named(what, lambda value: compiled.fullmatch(value) is not None, expected, pattern)


def _no_control(value: str) -> None:
    if _CONTROL.search(value):
        raise ValidationError("control and direction characters are not allowed")


_TENANT = Named("a tenant", names.valid_tenant, "1-24 of a-z 0-9 -", names.TENANT)
_CLIENT = Named("a client_id", names.valid_client_id, "1-32 of A-Z a-z 0-9 . _ -", names.CLIENT_ID)
_ADMIN = Named("an admin_id", names.valid_admin_id, "1-32 of A-Z a-z 0-9 . _ -, perhaps behind ~~", names.ADMIN_ID)
_USER = Named("a user", names.valid_user, "1-48 of A-Z a-z 0-9 . _ @ + -", names.USER)
_NODE = Named("a machine", names.valid_node, "1-63 of A-Z a-z 0-9 . _ -", names.NODE)
_HOST = Named("a host", names.valid_host, "1-63 of a-z 0-9 . -", names.HOST)
_ACCOUNT = Named("an account", names.valid_account, "1-32 of a-z 0-9 . _ -, first a letter or _", names.ACCOUNT)
_HOST_PATTERN = Named(
    "a host or a pattern of hosts", names.valid_host_pattern, "1-63 of a-z 0-9 . - *", names.HOST_PATTERN
)
_ACCOUNT_PATTERN = Named(
    "an account or a pattern", names.valid_account_pattern, "1-32 of a-z 0-9 . _ - *", names.ACCOUNT_PATTERN
)


def tenant_field(**options: Any) -> fields.String:
    """Return a field for a tenant's name."""
    return fields.String(validate=_TENANT, **options)


def client_field(**options: Any) -> fields.String:
    """Return a field for a client_id."""
    return fields.String(validate=_CLIENT, **options)


def admin_field(**options: Any) -> fields.String:
    """Return a field for an admin_id."""
    return fields.String(validate=_ADMIN, **options)


def user_field(**options: Any) -> fields.String:
    """Return a field for a user's name."""
    return fields.String(validate=_USER, **options)


def host_field(**options: Any) -> fields.String:
    """Return a field for a host's name."""
    return fields.String(validate=_HOST, **options)


def node_field(**options: Any) -> fields.String:
    """Return a field for the name of one of the machines of a host."""
    return fields.String(validate=_NODE, **options)


def account_field(**options: Any) -> fields.String:
    """Return a field for a Unix login."""
    return fields.String(validate=_ACCOUNT, **options)


def host_pattern_field(**options: Any) -> fields.String:
    """Return a field for a host, or a pattern of hosts with `*`."""
    return fields.String(validate=_HOST_PATTERN, **options)


def account_pattern_field(**options: Any) -> fields.String:
    """Return a field for an account, or a pattern of accounts with `*`."""
    return fields.String(validate=_ACCOUNT_PATTERN, **options)


def text_field(most: int, *, least: int = 0, **options: Any) -> fields.String:
    """Return a field for a line of text for people, up to `most` characters."""
    return fields.String(validate=[validate.Length(least, most), _no_control], **options)


def seconds_field(least: int, most: int, **options: Any) -> Integer:
    """Return a field for a length of time in whole seconds."""
    return Integer(validate=validate.Range(least, most), **options)


def fingerprint_field(**options: Any) -> fields.String:
    """Return a field for a SHA-256 fingerprint as OpenSSH writes it."""
    check = Named("a fingerprint", valid_fingerprint, "SHA256: and 43 of base64", FINGERPRINT)
    return fields.String(validate=check, **options)


def id_field(**options: Any) -> fields.String:
    """Return a field for an id that the service made."""
    return fields.String(validate=Named("an id", valid_id, "such as dlg_ and 20 of a-z 2-7", ID), **options)


def login_field(**options: Any) -> fields.String:
    """Return a field for an id that a host gave to a login."""
    return fields.String(validate=Named("a login_id", valid_login_id, "32 of 0-9 a-f", LOGIN_ID), **options)


def reservation_field(**options: Any) -> fields.String:
    """Return a field for the id of a reservation."""
    check = Named("a reservation's id", valid_reservation_id, "a UUID in lower case", RESERVATION_ID)
    return fields.String(validate=check, **options)


class ListQuery(Shape):
    """The query of every list."""

    limit = QueryInteger(load_default=100, validate=validate.Range(1, 1000))
    cursor = fields.String(load_default=None, validate=validate.Length(1, 512))


# What a part of a path must look like, checked and described; anything else is simply not there.
_PATH: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "tenant": (names.valid_tenant, names.TENANT),
    "client_id": (names.valid_client_id, names.CLIENT_ID),
    "admin_id": (names.valid_admin_id, names.ADMIN_ID),
    "user": (names.valid_user, names.USER),
    "host": (names.valid_host, names.HOST),
    "node": (names.valid_node, names.NODE),
    "serial": (valid_serial, SERIAL),
    "fingerprint": (valid_fingerprint, FINGERPRINT),
    "delegation_id": (valid_id, ID),
    "link_id": (valid_id, ID),
    "revocation_id": (valid_id, ID),
    "credential_id": (valid_id, ID),
    "login_id": (valid_login_id, LOGIN_ID),
    "reservation_id": (valid_reservation_id, RESERVATION_ID),
}
PATH_NAMES = {name: valid for name, (valid, _) in _PATH.items()}
PATH_PATTERNS = {name: pattern for name, (_, pattern) in _PATH.items()}


def misnamed(name: str, value: str) -> str | None:
    """Return what is said of a part of a path that cannot be what it should be; None where it can."""
    if name not in PATH_NAMES or PATH_NAMES[name](value):
        return None
    return f"{value[:100]!r} cannot be the {name} of anything; expected {PATH_PATTERNS[name]}"
