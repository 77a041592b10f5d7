"""Shapes of revocations, CA keys, audit events, sessions and MFA."""

from typing import Any

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from schemas.base import (
    Boolean,
    ListQuery,
    Serial,
    Shape,
    Timestamp,
    client_field,
    fingerprint_field,
    host_field,
    id_field,
    text_field,
    user_field,
)
from schemas.directory import CA_ALGORITHMS, MOST_PASSWORD, password_field
from tms_ca.core.model import KeyPurpose, Selector


class RevocationCreate(Shape):
    """Exactly one selector, and why; loads as (Selector, value, reason)."""

    serial = Serial()
    key_id = text_field(128, least=1)
    public_key_fingerprint = fingerprint_field()
    user = user_field()
    client_id = client_field()
    delegation_id = id_field()
    host = host_field()
    ca_fingerprint = fingerprint_field()
    reason = text_field(300, least=1, required=True)

    @validates_schema
    def one_selector(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse none and several."""
        given = [name for name in Selector if name in data]
        if len(given) != 1:
            raise ValidationError(f"expected exactly one of {', '.join(Selector)}; got {', '.join(given) or 'none'}")

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> tuple[Selector, str, str]:
        """Return what to revoke, and why."""
        selector = next(name for name in Selector if name in data)
        return selector, str(data[selector]), data["reason"]


class RevocationShape(Shape):
    """A revocation."""

    id = fields.String(attribute="revocation_id")
    selector = fields.String()
    value = fields.String()
    reason = fields.String()
    actor = fields.String()
    certificates = fields.Integer(
        allow_none=True,
        metadata={"description": "How many certificates, not yet ended, it ended; null right after the revocation of a "
                  "public key where they are refused already and not all on record as revoked yet"},
    )  # fmt: skip
    created_at = Timestamp()
    lifted_at = Timestamp(allow_none=True)


class RevocationQuery(ListQuery):
    """Which revocations."""

    selector = fields.String(validate=validate.OneOf(list(Selector)))
    value = text_field(128)


class CaKeyCreate(Shape):
    """A new CA key, in the state `next`."""

    purpose = fields.Enum(KeyPurpose, by_value=True, required=True)
    algorithm = fields.String(load_default="ed25519", validate=validate.OneOf(CA_ALGORITHMS))


class CaKeyRetire(Shape):
    """How to retire."""

    force = Boolean(load_default=False)


class CaKeyShape(Shape):
    """A CA key's public half and standing."""

    fingerprint = fields.String()
    purpose = fields.String()
    algorithm = fields.String()
    public_key = fields.String()
    state = fields.String()
    created_at = Timestamp()
    retire_at = Timestamp(allow_none=True)
    revocation_id = fields.String(allow_none=True)


class AuditEventShape(Shape):
    """An audit event; `hash` is hexadecimal, see docs/audit-log.md."""

    chain = fields.String()
    seq = fields.Integer()
    at = fields.Method("time", metadata={"type": "string", "format": "date-time"})
    tenant = fields.String()
    actor = fields.String()
    action = fields.String()
    outcome = fields.String()
    target = fields.String()
    detail = fields.String(metadata={"description": "JSON text, exactly as it was hashed"})
    request_id = fields.String()
    address = fields.String()
    hash = fields.Method("hexadecimal", metadata={"type": "string"})

    def time(self, event: Any) -> str:
        """Return RFC 3339 with milliseconds."""
        seconds = Timestamp()._serialize(event.at_ms // 1000, None, None)  # noqa: SLF001 - one way to write a time
        return f"{str(seconds)[:-1]}.{event.at_ms % 1000:03d}Z"

    def hexadecimal(self, event: Any) -> str:
        """Return the hash for people and JSON."""
        return str(event.hash.hex())


class AuditQuery(ListQuery):
    """Which events."""

    action = text_field(64)
    actor = text_field(100)
    outcome = text_field(64)


class SessionCreate(Shape):
    """A login; `totp` also opens the MFA window."""

    user = user_field(required=True)
    password = fields.String(required=True, validate=validate.Length(1, MOST_PASSWORD), load_only=True)
    totp = fields.String(load_default=None, validate=validate.Length(1, 12), load_only=True)


class SessionShape(Shape):
    """An open session; the token is shown once."""

    token = fields.String()
    user = fields.String()
    expires_at = Timestamp()
    mfa_expires_at = Timestamp(allow_none=True)


class PasswordChange(Shape):
    """A new password."""

    current_password = fields.String(required=True, validate=validate.Length(1, MOST_PASSWORD), load_only=True)
    new_password = password_field(required=True)


class CodeShape(Shape):
    """A six-digit code."""

    code = fields.String(required=True, validate=validate.Length(1, 12), load_only=True)


class MfaShape(Shape):
    """Where a user stands with the second factor."""

    enrolled = fields.Boolean()
    verified_at = Timestamp(allow_none=True)
    expires_at = Timestamp(allow_none=True)


class TotpShape(Shape):
    """A new seed, shown once."""

    seed = fields.String(metadata={"description": "Base32, RFC 6238 defaults: SHA-1, 6 digits, 30 seconds"})
    otpauth_uri = fields.String(metadata={"description": "For a QR code"})


class HealthShape(Shape):
    """Alive."""

    status = fields.String()


class ReadyShape(Shape):
    """Every check."""

    status = fields.String()
    checks = fields.List(fields.Dict(keys=fields.String()))
