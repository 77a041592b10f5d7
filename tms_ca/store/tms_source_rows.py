"""The rows of an existing TMS server's database, as records.

They are as the old server has them, but for what its two versions write differently: truth values, and times (Unix
seconds here, the last one of the year 9999 for anything later).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tms_ca.core.record import record


@record
class OldRow:
    """What every old table has."""

    id: int
    tenant: str | None
    created: int
    updated: int


@record
class OldTenant(OldRow):
    """A row of `tenants`."""

    enabled: bool


@record
class OldClient(OldRow):
    """A row of `clients`; the secret is the SHA-512 of it in hexadecimal digits."""

    app_name: str
    app_version: str
    client_id: str
    client_secret: str
    enabled: bool


@record
class OldAdmin(OldRow):
    """A row of `admin`."""

    admin_user: str
    admin_secret: str


@record
class OldMfa(OldRow):
    """A row of `user_mfa`."""

    tms_user_id: str
    expires_at: int
    enabled: bool


@record
class OldLink(OldRow):
    """A row of `user_hosts`."""

    tms_user_id: str
    host: str
    host_account: str
    expires_at: int


@record
class OldDelegation(OldRow):
    """A row of `delegations`."""

    client_id: str
    client_user_id: str
    expires_at: int


@record
class OldKey(OldRow):
    """A row of `pubkeys`."""

    client_id: str
    client_user_id: str
    host: str
    host_account: str
    public_key_fingerprint: str
    public_key: str
    max_uses: int
    remaining_uses: int
    initial_ttl_minutes: int
    expires_at: int


@record
class OldReservation(OldRow):
    """A row of `reservations`; one that is no child has its own id as its parent's."""

    resid: str
    parent_resid: str
    client_id: str
    client_user_id: str
    host: str
    public_key_fingerprint: str
    expires_at: int


@record
class OldHost(OldRow):
    """A row of `hosts`."""

    host: str
    addr: str


# In the order in which they can be made here: what a row rests on comes before it.
TABLES: Mapping[str, type[OldRow]] = {
    "tenants": OldTenant,
    "admin": OldAdmin,
    "clients": OldClient,
    "user_mfa": OldMfa,
    "user_hosts": OldLink,
    "delegations": OldDelegation,
    "pubkeys": OldKey,
    "reservations": OldReservation,
    "hosts": OldHost,
}


@record
class Unreadable:
    """A row with a value that is none of its column's."""

    table: str
    id: int
    tenant: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Source:
    """All that an old database had in one moment."""

    version: str
    rows: Mapping[str, list[Any]] = field(default_factory=dict)  # of the records in TABLES, by id
    unreadable: Sequence[Unreadable] = ()
