"""Shapes of certificates and login checks."""

from typing import Any

from marshmallow import ValidationError, fields, post_load, validate

from schemas.base import (
    ListQuery,
    Serial,
    Shape,
    Timestamp,
    account_field,
    client_field,
    host_field,
    id_field,
    matching,
    reservation_field,
    rfc3339,
    seconds_field,
    user_field,
)
from tms_ca.core.errors import TmsError
from tms_ca.core.facts import HARD_MAX_SECONDS, MIN_LIFETIME_SECONDS, IssueRequest
from tms_ca.core.model import CertificateRecord
from tms_ca.core.names import KNOWN_EXTENSIONS, check_extensions, check_force_command, check_source_addresses

MOST_KEY_CHARACTERS = 16384


def _command(value: str) -> None:
    try:
        check_force_command(value)
    except TmsError as error:
        raise ValidationError(error.detail) from error


class Checked(fields.List[str]):
    """A list of words that a rule of the core checks and makes canonical."""

    one: fields.String

    def __init__(self, **options: Any) -> None:
        super().__init__(self.one, validate=validate.Length(0, 32), **options)

    def _deserialize(self, *args: Any, **kwargs: Any) -> Any:
        words = [str(word) for word in super()._deserialize(*args, **kwargs)]
        try:
            return self.rule(words)
        except TmsError as error:
            raise ValidationError(error.detail) from error

    def rule(self, words: list[str]) -> tuple[str, ...]:
        """Return `words` in the form that a certificate has them."""
        raise NotImplementedError


class SourceAddresses(Checked):
    """CIDR networks: sshd refuses host bits that are set."""

    one = fields.String(metadata={"description": "An address or a network such as 10.0.0.0/8"})

    def rule(self, words: list[str]) -> tuple[str, ...]:
        """Return canonical networks."""
        return check_source_addresses(words)


class Extensions(Checked):
    """Certificate extensions such as permit-pty."""

    one = fields.String(metadata={"enum": sorted(KNOWN_EXTENSIONS)})

    def rule(self, words: list[str]) -> tuple[str, ...]:
        """Return extensions sorted, each once."""
        return check_extensions(words)


def command_field(**options: Any) -> fields.String:
    """Return a field for a forced command."""
    return fields.String(validate=_command, **options)


class IssueShape(Shape):
    """What a client sends for a certificate; loads as (IssueRequest, public key)."""

    user = user_field(required=True)
    host = host_field(required=True)
    account = account_field(required=True)
    public_key = fields.String(required=True, validate=validate.Length(1, MOST_KEY_CHARACTERS))
    ttl_seconds = seconds_field(
        MIN_LIFETIME_SECONDS,
        366 * 24 * 3600,
        load_default=None,
        metadata={"description": f"Wished lifetime; shortened to what is allowed, never over {HARD_MAX_SECONDS}"},
    )
    source_address = SourceAddresses(load_default=())
    force_command = command_field(load_default=None)
    extensions = Extensions(load_default=None)
    reservation_id = reservation_field(load_default=None)

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> tuple[IssueRequest, str]:
        """Return the request and the key apart: the key is judged by itself."""
        public_key = data.pop("public_key")
        return IssueRequest(**data), public_key


class CertificateShape(Shape):
    """A certificate on record."""

    serial = Serial()
    key_id = fields.String()
    user = fields.String()
    client_id = fields.String()
    host = fields.String()
    account = fields.String()
    principals = fields.List(fields.String())
    critical_options = fields.Method("pairs", metadata={"type": "object", "additionalProperties": {"type": "string"}})
    extensions = fields.List(fields.String())
    valid_after = Timestamp()
    valid_before = Timestamp()
    limited_by = fields.String()
    delegation_id = fields.String()
    public_key_fingerprint = fields.String()
    ca_fingerprint = fields.String()
    issued_at = Timestamp()
    reservation_id = fields.String(allow_none=True, metadata={"description": "What it rests on past the MFA window"})
    revocation_id = fields.String(allow_none=True)

    def pairs(self, record: Any) -> dict[str, str]:
        """Return the critical options as an object."""
        return dict(record.critical_options)


class IssuedShape(CertificateShape):
    """A certificate as its client receives it."""

    certificate = fields.String(metadata={"description": "One line, as in a -cert.pub file"})


def issued_fields(record: CertificateRecord, certificate: str) -> dict[str, object]:
    """Return what IssuedShape would dump: the hot path cannot spend 60 microseconds on asking each field."""
    return {
        "serial": str(record.serial),
        "key_id": record.key_id,
        "user": record.user,
        "client_id": record.client_id,
        "host": record.host,
        "account": record.account,
        "principals": record.principals,
        "critical_options": dict(record.critical_options),
        "extensions": record.extensions,
        "valid_after": rfc3339(record.valid_after),
        "valid_before": rfc3339(record.valid_before),
        "limited_by": record.limited_by,
        "delegation_id": record.delegation_id,
        "public_key_fingerprint": record.public_key_fingerprint,
        "ca_fingerprint": record.ca_fingerprint,
        "issued_at": rfc3339(record.issued_at),
        "reservation_id": record.reservation_id,
        "revocation_id": record.revocation_id,
        "certificate": certificate,
    }


class CertificateQuery(ListQuery):
    """Which certificates."""

    user = user_field()
    client_id = client_field()
    host = host_field()
    delegation_id = id_field()


class LoginShape(Shape):
    """What a host sends about a login."""

    account = account_field(required=True)
    certificate = fields.String(required=True, validate=validate.Length(1, MOST_KEY_CHARACTERS))
    nonce = fields.String(
        load_default="",
        validate=matching("a nonce", r"^[0-9a-f]{0,64}$", "up to 64 of 0-9 a-f"),
        metadata={"description": "Comes back with the answer, so that an old answer cannot be passed off as new"},
    )


class LoginAnswerShape(Shape):
    """Yes: the principals that the host may accept."""

    account = fields.String()
    serial = Serial()
    fingerprint = fields.String()
    principals = fields.List(fields.String())
    options = fields.String(metadata={"description": "Restrictions, as sshd reads them before a principal; or empty"})
    limited = fields.Boolean(metadata={"description": "The delegation is for a number of logins"})
