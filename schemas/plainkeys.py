"""Shapes of plain keys and of logins with them."""

from typing import Any

from marshmallow import fields, post_load, validate

from schemas.base import (
    Boolean,
    Integer,
    ListQuery,
    Shape,
    Timestamp,
    account_field,
    client_field,
    fingerprint_field,
    host_field,
    id_field,
    matching,
    seconds_field,
    user_field,
)
from schemas.certificates import MOST_KEY_CHARACTERS, Extensions, SourceAddresses, command_field
from tms_ca.core.facts import HARD_MAX_SECONDS, MIN_LIFETIME_SECONDS, IssueRequest

MOST_USES = 1_000_000


class PublicKeyCreate(Shape):
    """A key to escrow; loads as (IssueRequest, public key, uses)."""

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
    max_uses = Integer(
        load_default=None,
        allow_none=True,
        validate=validate.Range(1, MOST_USES),
        metadata={
            "description": "A use is a login, or what a host that reports no logins asks within 30 s; null: any number"
        },
    )
    source_address = SourceAddresses(load_default=())
    force_command = command_field(load_default=None)
    extensions = Extensions(load_default=None)

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> tuple[IssueRequest, str, int | None]:
        """Return the request apart from the key, which is judged by itself."""
        public_key, max_uses = data.pop("public_key"), data.pop("max_uses")
        return IssueRequest(**data), public_key, max_uses


class PublicKeyShape(Shape):
    """An escrowed key."""

    key_id = fields.String()
    fingerprint = fields.String()
    key_type = fields.String()
    public_key = fields.Method("line", metadata={"type": "string", "description": "One line, as in a .pub file"})
    user = fields.String()
    client_id = fields.String()
    host = fields.String()
    account = fields.String()
    delegation_id = fields.String()
    critical_options = fields.Method("pairs", metadata={"type": "object", "additionalProperties": {"type": "string"}})
    extensions = fields.List(fields.String())
    valid_after = Timestamp()
    expires_at = Timestamp()
    limited_by = fields.String()
    max_uses = fields.Integer(allow_none=True, metadata={"description": "null: any number"})
    uses_left = fields.Integer(allow_none=True)
    created_at = Timestamp()
    updated_at = Timestamp()
    revocation_id = fields.String(allow_none=True)

    def line(self, record: Any) -> str:
        """Return the public key with its type."""
        return f"{record.key_type} {record.public_key}"

    def pairs(self, record: Any) -> dict[str, str]:
        """Return the forced command and the source addresses as an object."""
        return dict(record.critical_options)


class PublicKeyQuery(ListQuery):
    """Which keys."""

    user = user_field()
    client_id = client_field()
    host = host_field()
    delegation_id = id_field()


class KeyLogin(Shape):
    """What a host sends about a key that its sshd was offered."""

    account = account_field(required=True)
    fingerprint = fingerprint_field(required=True)
    key_type = fields.String(
        required=True,
        validate=matching("a key type", r"^[a-z0-9@.-]{1,64}$", "such as ssh-ed25519"),
    )
    nonce = fields.String(
        required=True,
        validate=matching("a nonce", r"^[0-9a-f]{16,64}$", "16 to 64 of 0-9 a-f"),
        metadata={"description": "Comes back with the answer, so that an old answer cannot be passed off as new"},
    )
    reports_logins = Boolean(
        load_default=False,
        metadata={"description": "The host tells of each login before its session: a use is taken then, and not here"},
    )
