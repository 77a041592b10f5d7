"""Shapes of real logins, of sessions, and of restrictions."""

from ipaddress import ip_address
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from schemas.base import (
    Boolean,
    ListQuery,
    Serial,
    Shape,
    Timestamp,
    account_field,
    client_field,
    host_field,
    id_field,
    login_field,
    node_field,
    user_field,
)
from schemas.certificates import MOST_KEY_CHARACTERS, Checked, SourceAddresses
from tms_ca.core.errors import TmsError
from tms_ca.core.model import NO_CERTIFICATE
from tms_ca.core.restrictions import check_command, check_destinations

MOST_SESSIONS = 1700  # whose ids a body has room for
END_REASONS = ("closed", "ended", "lost", "failed")


def _address(text: str) -> None:
    try:
        ip_address(text)
    except ValueError as error:
        raise ValidationError(f"expected an IP address, got {text[:60]!r}") from error


def _command(text: str) -> None:
    try:
        check_command(text)
    except TmsError as error:
        raise ValidationError(error.detail) from error


class LoginOpen(Shape):
    """A session that is about to begin, or has begun, on a certificate or on a plain key."""

    login_id = login_field(required=True)
    node = node_field(required=True)
    account = account_field(required=True)
    certificate = fields.String(validate=validate.Length(1, MOST_KEY_CHARACTERS))
    public_key = fields.String(
        validate=validate.Length(1, MOST_KEY_CHARACTERS),
        metadata={"description": "In place of a certificate: the plain key that sshd was shown, TYPE BASE64"},
    )
    remote_address = fields.String(load_default=None, allow_none=True, validate=[validate.Length(2, 45), _address])
    started_at = Timestamp(required=True)
    late = Boolean(
        load_default=False,
        metadata={"description": "It has happened already, while the service was away: it is recorded, not decided"},
    )

    @validates_schema
    def what_was_used(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse none and both, and what cannot have happened."""
        if ("certificate" in data) == ("public_key" in data):
            raise ValidationError("expected either certificate or public_key", "certificate")
        if "public_key" in data and data["late"]:
            raise ValidationError("no login with a plain key begins while the service is away", "late")


class LoginOpenedShape(Shape):
    """It is on record."""

    login_id = fields.String()
    counted = fields.Boolean(metadata={"description": "It took one of the max_uses of its delegation or plain key"})
    uses_left = fields.Integer(allow_none=True, metadata={"description": "null: any number of logins"})
    force_command = fields.String(
        allow_none=True,
        metadata={"description": "What certificate and restrictions force the session to run; null: what is asked for"},
    )


class LoginEnd(Shape):
    """The end of a session."""

    ended_at = Timestamp(required=True)
    reason = fields.String(
        required=True,
        validate=validate.OneOf(END_REASONS),
        metadata={"description": "closed by its user, ended on the service's word, lost, or failed to begin"},
    )


class SessionReport(Shape):
    """What sessions a node has."""

    node = node_field(required=True)
    open = fields.List(login_field(), required=True, validate=validate.Length(0, MOST_SESSIONS))
    complete = Boolean(
        load_default=True,
        metadata={"description": "false: there are more, in another report; then none is closed as lost"},
    )


class EndingShape(Shape):
    """A session that must end."""

    login_id = fields.String()
    reason = fields.String(metadata={"description": "The code of the rule"})
    message = fields.String(metadata={"description": "For whoever sits at the terminal"})
    after_seconds = fields.Integer()


class EndingsShape(Shape):
    """The sessions that must end."""

    end = fields.List(fields.Nested(EndingShape))


class CertificateSerial(Serial):
    """A serial, or null where there is no certificate."""

    def _serialize(self, value: int | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return super()._serialize(None if value == NO_CERTIFICATE else value, attr, obj, **kwargs)


class LoginRecordShape(Shape):
    """A login on record."""

    login_id = fields.String()
    host = fields.String()
    node = fields.String()
    account = fields.String()
    user = fields.String()
    client_id = fields.String()
    delegation_id = fields.String()
    serial = CertificateSerial(allow_none=True, metadata={"description": "null: a login with a plain key"})
    key_id = fields.String(metadata={"description": "Of the certificate, or of the plain key"})
    public_key_fingerprint = fields.String()
    remote_address = fields.String(allow_none=True)
    started_at = Timestamp()
    ended_at = Timestamp(allow_none=True)
    end_reason = fields.String(allow_none=True)
    late = fields.Boolean()
    counted = fields.Boolean()
    uses_left = fields.Integer(allow_none=True)


class LoginQuery(ListQuery):
    """Which logins."""

    user = user_field()
    client_id = client_field()
    host = host_field()
    delegation_id = id_field()


class Destinations(Checked):
    """HOST:PORT, sorted, each once."""

    one = fields.String(metadata={"description": "HOST:PORT, an IPv6 address in brackets"})

    def rule(self, words: list[str]) -> tuple[str, ...]:
        """Return destinations sorted, each once."""
        return check_destinations(words)


class RestrictionsChange(Shape):
    """Which restrictions to change; what is left out stays."""

    restrict = Boolean(metadata={"description": "No forwarding, no terminal, no user rc"})
    source_address = SourceAddresses()
    force_command = fields.String(allow_none=True, validate=[validate.Length(1, 1024), _command])
    permit_open = Destinations()
    expiry = Boolean(metadata={"description": "Tell sshd (9.1 and later) when the tightest grant ends"})


class RestrictionsShape(Shape):
    """What a login may do less than its certificate says."""

    restrict = fields.Boolean()
    source_address = fields.List(fields.String())
    force_command = fields.String(allow_none=True)
    permit_open = fields.List(fields.String())
    expiry = fields.Boolean()
    by_admin = fields.Boolean(metadata={"description": "Set by an admin: its user cannot take it back"})
