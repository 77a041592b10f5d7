"""Shapes of tenants, admins, clients, users, identities, hosts and account links."""

from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields, post_load, validate

from schemas.base import (
    Boolean,
    ListQuery,
    Shape,
    Timestamp,
    account_field,
    admin_field,
    client_field,
    host_field,
    matching,
    seconds_field,
    tenant_field,
    text_field,
    user_field,
)
from schemas.logins import RestrictionsChange, RestrictionsShape
from tms_ca.core.errors import TmsError
from tms_ca.core.facts import HARD_MAX_SECONDS, MIN_LIFETIME_SECONDS
from tms_ca.core.model import OnRevocation, PrincipalFormat
from tms_ca.core.names import RESERVED_ACCOUNTS
from tms_ca.core.publickey import parse_host_key

CA_ALGORITHMS = ("ed25519", "ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-3072", "rsa-4096")
LONGEST_MFA_WINDOW = 30 * 24 * 3600
LONGEST_WARNING = 600
_THIS_MACHINE = frozenset({"127.0.0.1", "localhost", "::1"})
LEAST_PASSWORD, MOST_PASSWORD = 12, 256  # characters; NIST SP 800-63B-4 section 3.1.1


def _redirect_uri(value: str) -> None:
    # Exact matching does the rest; a scheme that runs code in the browser must never get in (bar D-11).
    try:
        parts = urlsplit(value)
        _ = parts.port  # a port that is none raises here
    except ValueError:
        parts = urlsplit("")
    web = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _THIS_MACHINE)
    if not web or not parts.hostname or any(c in value for c in "\\# \t\r\n@") or not value.isascii():
        raise ValidationError("expected https://..., or http:// to this machine, without fragment or user")


def _host_key(value: str) -> None:
    try:
        parse_host_key(value)
    except TmsError as error:
        raise ValidationError(error.detail) from error


def _redirect_uris(**options: object) -> fields.List[str]:
    one = fields.String(validate=[validate.Length(1, 2000), _redirect_uri])
    return fields.List(one, validate=validate.Length(0, 20), **options)  # type: ignore[arg-type] # marshmallow's options


def _addresses(**options: object) -> fields.List[str]:
    one = text_field(253, least=1)
    return fields.List(one, validate=validate.Length(0, 32), **options)  # type: ignore[arg-type] # as above


def _host_keys(**options: object) -> fields.List[str]:
    one = fields.String(validate=[validate.Length(1, 16384), _host_key])
    return fields.List(one, validate=validate.Length(0, 16), **options)  # type: ignore[arg-type] # as above


def password_field(**options: object) -> fields.String:
    """Return a field for a password: any characters, long enough to be worth hashing."""
    return fields.String(validate=validate.Length(LEAST_PASSWORD, MOST_PASSWORD), load_only=True, **options)  # type: ignore[arg-type] # as above


class TenantChange(Shape):
    """What may change about a tenant."""

    display_name = text_field(100)
    enabled = Boolean()
    mfa_window_seconds = seconds_field(60, LONGEST_MFA_WINDOW)
    default_ttl_seconds = seconds_field(MIN_LIFETIME_SECONDS, HARD_MAX_SECONDS)
    max_ttl_seconds = seconds_field(MIN_LIFETIME_SECONDS, HARD_MAX_SECONDS)
    on_revocation = fields.Enum(
        OnRevocation, by_value=True, metadata={"description": "What becomes of open sessions that rest on it"}
    )
    warning_seconds = seconds_field(0, LONGEST_WARNING)
    end_at_expiry = Boolean(
        metadata={"description": "With on_revocation=end: sessions end with their certificate and MFA window, too"}
    )


class TenantCreate(Shape):
    """A new tenant."""

    tenant = tenant_field(required=True)
    display_name = text_field(100, load_default="")
    mfa_window_seconds = seconds_field(60, LONGEST_MFA_WINDOW, load_default=None)
    default_ttl_seconds = seconds_field(MIN_LIFETIME_SECONDS, HARD_MAX_SECONDS, load_default=None)
    max_ttl_seconds = seconds_field(MIN_LIFETIME_SECONDS, HARD_MAX_SECONDS, load_default=None)
    ca_algorithm = fields.String(load_default="ed25519", validate=validate.OneOf(CA_ALGORITHMS))


class TenantShape(Shape):
    """A tenant."""

    tenant = fields.String()
    display_name = fields.String()
    enabled = fields.Boolean()
    mfa_window_seconds = fields.Integer()
    default_ttl_seconds = fields.Integer()
    max_ttl_seconds = fields.Integer()
    on_revocation = fields.String()
    warning_seconds = fields.Integer()
    end_at_expiry = fields.Boolean()
    created_at = Timestamp()


class AdminCreate(Shape):
    """A new admin of a tenant."""

    admin_id = admin_field(required=True)
    display_name = text_field(100, load_default="")


class AdminShape(Shape):
    """An admin."""

    admin_id = fields.String()
    display_name = fields.String()
    enabled = fields.Boolean()
    created_at = Timestamp()


class NewAdminShape(AdminShape):
    """An admin with the secret that is shown once."""

    secret = fields.String()


class ClientChange(Shape):
    """What may change about a client."""

    display_name = text_field(100)
    enabled = Boolean()
    max_ttl_seconds = seconds_field(MIN_LIFETIME_SECONDS, HARD_MAX_SECONDS, allow_none=True)
    expires_at = Timestamp(allow_none=True)
    redirect_uris = _redirect_uris()


class ClientCreate(Shape):
    """A new client."""

    client_id = client_field(required=True)
    display_name = text_field(100, load_default="")
    max_ttl_seconds = seconds_field(MIN_LIFETIME_SECONDS, HARD_MAX_SECONDS, load_default=None, allow_none=True)
    expires_at = Timestamp(load_default=None, allow_none=True)
    redirect_uris = _redirect_uris(load_default=list)


class ClientShape(Shape):
    """A client."""

    client_id = fields.String()
    display_name = fields.String()
    enabled = fields.Boolean()
    max_ttl_seconds = fields.Integer(allow_none=True)
    expires_at = Timestamp(allow_none=True)
    redirect_uris = fields.List(fields.String())
    created_at = Timestamp()
    revocation_id = fields.String(allow_none=True)


class NewClientShape(ClientShape):
    """A client with the secret that is shown once."""

    secret = fields.String()


class SecretShape(Shape):
    """What may be known of a secret."""

    credential_id = fields.String()
    created_at = Timestamp()
    expires_at = Timestamp(allow_none=True)
    node = fields.String(
        allow_none=True, metadata={"description": "Of a host: the machine that made it for itself; null for an admin's"}
    )


class NewSecretShape(Shape):
    """A new secret, shown once."""

    secret = fields.String()


class UserChange(Shape):
    """What may change about a user."""

    display_name = text_field(100)
    enabled = Boolean()
    password = password_field()
    mfa_until = Timestamp(
        allow_none=True,
        metadata={"description": "Your word that the user is MFA-current until then; null takes it back"},
    )


class UserCreate(Shape):
    """A new user; without a password they cannot log in yet."""

    user = user_field(required=True)
    display_name = text_field(100, load_default="")
    password = password_field(load_default=None)


class UserShape(Shape):
    """A user."""

    user = fields.String()
    display_name = fields.String()
    enabled = fields.Boolean()
    mfa_verified_at = Timestamp(allow_none=True)
    mfa_until = Timestamp(allow_none=True, metadata={"description": "An admin's word for their second factor"})
    created_at = Timestamp()
    revocation_id = fields.String(allow_none=True)


class IdentityCreate(Shape):
    """A link from (issuer, subject) to a user."""

    issuer = fields.String(required=True, validate=matching("an issuer", r"^https://[!-~]{1,500}$", "https://..."))
    subject = text_field(255, least=1, required=True)
    user = user_field(required=True)


class IdentityShape(Shape):
    """An identity."""

    issuer = fields.String()
    subject = fields.String()
    user = fields.String()
    created_at = Timestamp()


class HostChange(Shape):
    """What may change about a host."""

    addresses = _addresses()
    principal_format = fields.Enum(PrincipalFormat, by_value=True)
    ssh_host_keys = _host_keys()
    enabled = Boolean()
    restrictions = fields.Nested(
        RestrictionsChange, allow_none=True, metadata={"description": "Of every login on it, all of them; null: none"}
    )


class HostCreate(Shape):
    """A new host."""

    host = host_field(required=True)
    addresses = _addresses(load_default=list)
    principal_format = fields.Enum(PrincipalFormat, by_value=True, load_default=PrincipalFormat.ACCOUNT_AT_HOST)
    ssh_host_keys = _host_keys(load_default=list)


class HostShape(Shape):
    """A host."""

    host = fields.String()
    addresses = fields.List(fields.String())
    principal_format = fields.String()
    ssh_host_keys = fields.List(fields.String())
    enabled = fields.Boolean()
    created_at = Timestamp()
    revocation_id = fields.String(allow_none=True)
    restrictions = fields.Nested(RestrictionsShape, allow_none=True)


class NewHostShape(HostShape):
    """A host with the credential that is shown once."""

    secret = fields.String()


class LinkChange(Shape):
    """What may change about an account link."""

    starts_at = Timestamp()
    expires_at = Timestamp()


class LinkCreate(Shape):
    """A new account link."""

    user = user_field(required=True)
    host = host_field(required=True)
    account = account_field(required=True)
    starts_at = Timestamp(load_default=None)
    expires_at = Timestamp(required=True)
    allow_reserved = Boolean(
        load_default=False, metadata={"description": "Needed for accounts of the system, such as root"}
    )

    @post_load
    def check_reserved(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Refuse an account of the system that was not meant."""
        if data["account"] in RESERVED_ACCOUNTS and not data.pop("allow_reserved"):
            text = f"{data['account']!r} is an account of the system; set allow_reserved to link it all the same"
            raise ValidationError(text, "account")
        data.pop("allow_reserved", None)
        return data


class LinkShape(Shape):
    """An account link."""

    id = fields.String(attribute="link_id")
    user = fields.String()
    host = fields.String()
    account = fields.String()
    starts_at = Timestamp()
    expires_at = Timestamp()
    created_at = Timestamp()


class LinkQuery(ListQuery):
    """Which account links."""

    user = user_field()
    host = host_field()


class UserQuery(ListQuery):
    """Whose."""

    user = user_field()


class IdentityQuery(Shape):
    """Which identity: an issuer is a URL, so it is not part of a path."""

    issuer = text_field(512, least=1, required=True)
    subject = text_field(255, least=1, required=True)
