"""The section [tms_v1]: the wire API of the TMS server 0.3, off and strict until an operator says otherwise."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError, fields, post_load, validate

from tms_ca.core.names import valid_tenant
from tms_ca.settings_fields import Bool, Int, Strict


class NewClients(StrEnum):
    """Who may register a client without a credential."""

    DISALLOW = "disallow"
    ON_APPROVAL = "on_approval"  # anybody, and an admin enables each before it can do anything
    ALLOW = "allow"


class Retrieve(StrEnum):
    """Who may ask for an escrowed key."""

    OPEN = "open"
    HOSTS = "hosts"


@dataclass(frozen=True, slots=True)
class TmsV1:
    """How the wire API behaves."""

    enabled: bool = False
    strict: bool = True
    mvp: bool = False
    new_clients: NewClients = NewClients.DISALLOW
    test_tenant: bool = False
    retrieve: Retrieve = Retrieve.OPEN
    retrieve_tenants: tuple[str, ...] = ()
    open_tenants: bool = False
    requests_per_minute: int = 60
    retrieve_per_minute: int = 6000
    server_urls: tuple[str, ...] = ()

    def loosened(self) -> dict[str, str]:
        """Return what is set less safely than it could be: the setting's name, and a sentence."""
        if not self.enabled:
            return {}
        said = (
            (
                not self.strict,
                "strict",
                "is false: retrieval answers for keys that have ended or rest on what has ended",
            ),
            (self.mvp, "mvp", "is true: every client can act as any account that is not the system's"),
            (
                self.new_clients is NewClients.ALLOW,
                "new_clients",
                "is allow: anybody who reaches the service can register a client",
            ),
            (
                self.new_clients is NewClients.ON_APPROVAL,
                "new_clients",
                "is on_approval: anybody who reaches the service can register a client, which an admin must enable",
            ),
            (self.test_tenant, "test_tenant", "is true: a secret that everybody knows is good in the tenant test"),
            (
                self.open_tenants,
                "open_tenants",
                "is true: anybody who reaches the service can read the names of tenants",
            ),
        )
        return {f"tms_v1.{name}": f"tms_v1.{name} {why}" for loose, name, why in said if loose}


def _tenant(value: str) -> None:
    if not valid_tenant(value):
        raise ValidationError(f"expected the name of a tenant, 1-24 of a-z 0-9 -, got {value!r}")


def _server_url(value: str) -> None:
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise ValidationError(f"expected http://HOST[:PORT]/v1 or https://HOST[:PORT]/v1, got {value!r}")


class TmsV1Schema(Strict):
    """The keys of the section."""

    enabled = Bool()
    strict = Bool()
    mvp = Bool()
    new_clients = fields.Enum(NewClients, by_value=True)
    test_tenant = Bool()
    retrieve = fields.Enum(Retrieve, by_value=True)
    retrieve_tenants = fields.List(fields.String(validate=_tenant))
    open_tenants = Bool()
    requests_per_minute = Int(validate=validate.Range(1, 1_000_000))
    retrieve_per_minute = Int(validate=validate.Range(1, 10_000_000))
    server_urls = fields.List(fields.String(validate=[validate.Length(1, 255), _server_url]))

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> TmsV1:
        """Return the section."""
        for name in ("retrieve_tenants", "server_urls"):
            data[name] = tuple(data.get(name, ()))
        return TmsV1(**data)
