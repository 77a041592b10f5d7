"""Shapes of hosts that join, their certificates, what they must trust and what they report."""

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validate

from schemas.base import (
    Boolean,
    Integer,
    ListQuery,
    Shape,
    Timestamp,
    fingerprint_field,
    host_field,
    matching,
    node_field,
    seconds_field,
    text_field,
)

MOST_HOST_KEYS = 8
COUNT = r"^(0|[1-9][0-9]{0,18})$"
_COUNT = re.compile(COUNT, re.ASCII)
_SECRET_DIGEST = matching("a digest", r"^[0-9a-f]{64}$", "SHA-256 of the credential as 64 hexadecimal digits")


class Count(fields.Field[int]):
    """A number from 0 to 2**63-1 as a decimal string: JavaScript's numbers end at 2**53."""

    def _serialize(self, value: int | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:  # noqa: ARG002 - marshmallow's signature
        return None if value is None else str(value)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:  # noqa: ARG002 - as above
        if not isinstance(value, str) or not _COUNT.fullmatch(value) or int(value) >= 2**63:
            raise ValidationError("expected a string of decimal digits, from 0 to 2**63-1")
        return int(value)


def _keys() -> fields.List[str]:
    one = fields.String(validate=validate.Length(1, 16384))
    return fields.List(one, required=True, validate=validate.Length(1, MOST_HOST_KEYS))


def _digest() -> fields.String:
    return fields.String(required=True, validate=_SECRET_DIGEST, load_only=True)


class InvitationCreate(Shape):
    """How long a join token is good."""

    lifetime_seconds = seconds_field(60, 86400, load_default=900)


class InvitationShape(Shape):
    """A join token, shown once."""

    join_token = fields.String()
    expires_at = Timestamp()
    host_ca_fingerprints = fields.List(
        fields.String(), metadata={"description": "By these the machine knows that it talks to this service"}
    )


class JoinCreate(Shape):
    """A machine that joins."""

    join_token = fields.String(required=True, validate=validate.Length(1, 100), load_only=True)
    credential_sha256 = _digest()
    node = node_field(required=True)
    ssh_host_keys = _keys()
    replace = Boolean(
        load_default=False,
        metadata={"description": "Take the place of the machine of this name, though it had other host keys"},
    )


class TrustShape(Shape):
    """A signed trust bundle."""

    bundle = fields.String(metadata={"description": "JSON text; the signature is over its bytes in UTF-8"})
    signature = fields.String(metadata={"description": "Armored SSHSIG, namespace trust@tms-ca"})


class JoinedShape(Shape):
    """What a machine has once it has joined."""

    tenant = fields.String()
    host = fields.String()
    credential_id = fields.String()
    names = fields.List(fields.String(), metadata={"description": "The principals of the certificates"})
    trust = fields.Nested(TrustShape)
    host_certificates = fields.List(
        fields.String(), metadata={"description": "One for each key, in the order of the keys"}
    )


class CredentialCreate(Shape):
    """The next credential of a machine."""

    credential_sha256 = _digest()
    node = node_field(required=True)


class CredentialShape(Shape):
    """A credential that was added."""

    credential_id = fields.String()


class HostCertificatesCreate(Shape):
    """Keys to certify."""

    public_keys = _keys()


class HostCertificatesShape(Shape):
    """Certificates of a host, one for each key."""

    certificates = fields.List(fields.String())
    valid_before = Timestamp()


class ReportCreate(Shape):
    """What a machine says of itself."""

    node = node_field(required=True)
    user_ca_fingerprints = fields.List(fingerprint_field(), required=True, validate=validate.Length(0, 32))
    krl_version = Count(required=True)
    trust_epoch = Count(required=True)
    clock_offset_ms = Integer(required=True, validate=validate.Range(-(10**12), 10**12))
    openssh_version = text_field(64, required=True)
    tms_host_version = text_field(64, required=True)
    when_away = text_field(32, required=True)


class ReportedShape(Shape):
    """That it was taken."""

    received_at = Timestamp()


class NodeShape(Shape):
    """A machine of a host, what it last said, and what is wrong with that."""

    host = fields.String()
    node = fields.String()
    joined_at = Timestamp(allow_none=True)
    reported_at = Timestamp(allow_none=True)
    krl_version = Count(allow_none=True)
    user_ca_fingerprints = fields.List(fields.String(), allow_none=True)
    trust_epoch = Count(allow_none=True)
    clock_offset_ms = fields.Integer(allow_none=True)
    openssh_version = fields.String(allow_none=True)
    tms_host_version = fields.String(allow_none=True)
    when_away = fields.String(allow_none=True)
    wrong = fields.List(fields.String(), metadata={"description": "What should be mended; empty where nothing is"})


class NodeQuery(ListQuery):
    """Which machines."""

    host = host_field()


class EnforcingShape(Shape):
    """One machine, and whether it enforces a revocation."""

    host = fields.String()
    node = fields.String()
    krl_version = Count(allow_none=True)
    reported_at = Timestamp(allow_none=True)
    seconds = fields.Float(
        allow_none=True, metadata={"description": "From the revocation until the machine first said it has it"}
    )


class EnforcementShape(Shape):
    """Which machines enforce a revocation by their KRL, and how fast they had it."""

    krl_version = Count()
    hosts = fields.Integer(metadata={"description": "Machines that are known"})
    enforcing = fields.Integer(metadata={"description": "Those that have this KRL, or a later one"})
    slowest_seconds = fields.Float(allow_none=True)
    items = fields.List(fields.Nested(EnforcingShape))
