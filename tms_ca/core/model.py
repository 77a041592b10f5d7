"""Records: what the service knows, frozen. Words as in docs/words.md, times in Unix seconds (UTC), serials as int."""

from dataclasses import field
from enum import StrEnum

from tms_ca.core.access import Reach, Role
from tms_ca.core.record import record

ALL_TENANTS = "*"  # the tenant of an operator: an admin of the whole installation


class DelegationStatus(StrEnum):
    """The life of a delegation; `expired` is computed from the clock and never stored."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    REVOKED = "revoked"
    EXPIRED = "expired"


def status_at(status: DelegationStatus, pending_until: int, expires_at: int | None, now: int) -> DelegationStatus:
    """Return a delegation's status at `now`: a grant that ended, or a request nobody answered, has expired."""
    if status is DelegationStatus.APPROVED and now >= (expires_at or 0):
        return DelegationStatus.EXPIRED
    if status is DelegationStatus.PENDING and now >= pending_until:
        return DelegationStatus.EXPIRED
    return status


class PrincipalFormat(StrEnum):
    """How a host names an account in a certificate; the default binds it to that one host."""

    ACCOUNT_AT_HOST = "account@host"
    ACCOUNT = "account"

    def principal(self, account: str, host: str) -> str:
        """Return the principal of `account` on `host`."""
        return f"{account}@{host}" if self is PrincipalFormat.ACCOUNT_AT_HOST else account


class KeyPurpose(StrEnum):
    """What a CA key signs; one key never signs both."""

    USER = "user"
    HOST = "host"


class KeyState(StrEnum):
    """The life of a CA key; all but `retired` are trusted, only `active` signs."""

    NEXT = "next"
    ACTIVE = "active"
    RETIRING = "retiring"
    RETIRED = "retired"


class OnRevocation(StrEnum):
    """What becomes of open sessions that rest on what was taken back."""

    LEAVE = "leave"
    END = "end"


class Selector(StrEnum):
    """What a revocation names."""

    SERIAL = "serial"
    KEY_ID = "key_id"
    PUBLIC_KEY = "public_key_fingerprint"
    USER = "user"
    CLIENT = "client_id"
    DELEGATION = "delegation_id"
    HOST = "host"
    CA_KEY = "ca_fingerprint"


@record
class Caller:
    """Whoever is on the line; `tenant` is ALL_TENANTS for an operator."""

    role: Role
    tenant: str
    id: str
    reach: Reach = Reach.OWN
    mfa_until: int = 0  # users: until when this session counts as MFA-proved, 0 when it never was
    session: bytes = b""  # users: the digest of the session
    request_id: str = ""
    address: str = ""
    epoch: int = 0  # clients and hosts: their tenant's count of changes when the credential was checked


@record
class Tenant:
    """An isolated installation with its own CA keys."""

    tenant: str
    display_name: str
    enabled: bool
    mfa_window_seconds: int
    default_ttl_seconds: int
    max_ttl_seconds: int
    created_at: int
    on_revocation: OnRevocation = OnRevocation.LEAVE
    warning_seconds: int = 30  # between the warning at the terminal and the end of a session
    end_at_expiry: bool = False  # sessions end with their certificate and with the MFA window, too


@record
class Admin:
    """A person or program that manages one tenant, or all of them."""

    tenant: str
    admin_id: str
    display_name: str
    enabled: bool
    created_at: int


@record
class Client:
    """A registered application."""

    tenant: str
    client_id: str
    display_name: str
    enabled: bool
    max_ttl_seconds: int | None
    expires_at: int | None
    redirect_uris: tuple[str, ...]
    created_at: int
    revocation_id: str | None
    app_name: str | None = None  # what a client of the TMS wire API says of itself
    app_version: str | None = None


@record
class User:
    """A person in a tenant."""

    tenant: str
    user: str
    display_name: str
    enabled: bool
    mfa_verified_at: int | None
    created_at: int
    revocation_id: str | None
    mfa_until: int | None = None  # an admin's word that the user is MFA-current until then


@record
class Identity:
    """(issuer, subject) at an external identity provider, linked to one user."""

    tenant: str
    issuer: str
    subject: str
    user: str
    created_at: int


@record
class Restrictions:
    """What a login may do less than its certificate says; the default takes nothing away."""

    restrict: bool = False  # no forwarding, no terminal, no user rc
    source_address: tuple[str, ...] = ()  # canonical CIDR; empty: from anywhere
    force_command: str | None = None
    permit_open: tuple[str, ...] = ()  # HOST:PORT; empty: wherever the certificate allows
    expiry: bool = False  # tell sshd when the tightest grant ends
    by_admin: bool = False  # set by an admin: its user cannot take it back


@record
class Host:
    """A named login target."""

    tenant: str
    host: str
    addresses: tuple[str, ...]
    principal_format: PrincipalFormat
    ssh_host_keys: tuple[str, ...]
    enabled: bool
    created_at: int
    revocation_id: str | None
    restrictions: Restrictions | None = None


@record
class AccountLink:
    """user -> account on a host, with an end."""

    tenant: str
    link_id: str
    user: str
    host: str
    account: str
    starts_at: int
    expires_at: int
    created_at: int


@record
class Constraints:
    """What a delegation allows of a certificate; the default allows a bare command and nothing else."""

    max_ttl_seconds: int | None = None
    source_address: tuple[str, ...] = ()  # canonical CIDR; empty: from anywhere
    force_command: str | None = None
    extensions: tuple[str, ...] = ()  # what a certificate may carry
    max_uses: int | None = None  # real logins; None: any number


NO_EXTRAS = Constraints()


@record
class Delegation:
    """user -> client for a host and account (or a pattern of them)."""

    tenant: str
    delegation_id: str
    user: str
    client_id: str
    host: str
    account: str
    status: DelegationStatus
    purpose: str
    lifetime_seconds: int
    constraints: Constraints
    redirect_uri: str | None
    user_code: str
    created_at: int
    pending_until: int
    decided_at: int | None
    starts_at: int | None
    expires_at: int | None
    uses_left: int | None = None  # None: any number of logins
    restrictions: Restrictions | None = None

    def status_at(self, now: int) -> DelegationStatus:
        """Return the status at `now`."""
        return status_at(self.status, self.pending_until, self.expires_at, now)


@record
class CertificateRecord:
    """A certificate that was issued; the private key never was here, the certificate itself is in nobody's interest."""

    serial: int
    tenant: str
    key_id: str
    user: str
    client_id: str
    host: str
    account: str
    delegation_id: str
    public_key_fingerprint: str
    ca_fingerprint: str
    principals: tuple[str, ...]
    critical_options: tuple[tuple[str, str], ...]
    extensions: tuple[str, ...]
    valid_after: int
    valid_before: int
    limited_by: str
    issued_at: int
    sha256: bytes  # of the whole certificate: what a host presents must be this one, to the byte
    request_id: str
    revocation_id: str | None = None
    reservation_id: str | None = None


@record
class PublicKeyRecord:
    """A public key that is escrowed for an account on a host; the private key never was here."""

    tenant: str
    fingerprint: str
    key_id: str
    key_type: str
    public_key: str  # base64
    user: str
    client_id: str
    host: str
    account: str
    delegation_id: str
    critical_options: tuple[tuple[str, str], ...]
    extensions: tuple[str, ...]
    valid_after: int
    expires_at: int
    limited_by: str
    ttl_seconds: int | None  # as it was asked for
    max_uses: int | None  # None: any number
    uses_left: int | None
    used_at: int | None
    created_at: int
    updated_at: int
    revocation_id: str | None = None


@record
class Reservation:
    """A grant made in advance, so that a long workflow goes on past the end of the MFA window."""

    tenant: str
    reservation_id: str
    parent_id: str | None  # of a child: the reservation under which it was made
    client_id: str
    user: str
    host: str
    account: str
    delegation_id: str
    public_key_fingerprint: str | None  # of the plain key that it is for; None where it is for certificates
    purpose: str
    created_at: int
    expires_at: int


NO_CERTIFICATE = 0  # the serial of a login with a plain key; certificates begin at 1


@record
class Login:
    """A login that a host told of: not a question of sshd, a session that was opened."""

    id: int  # in the order in which they were told
    tenant: str
    login_id: str
    host: str
    node: str
    account: str
    user: str
    client_id: str
    delegation_id: str
    serial: int
    key_id: str
    public_key_fingerprint: str
    remote_address: str | None
    started_at: int
    ended_at: int | None
    end_reason: str | None
    late: bool
    counted: bool
    uses_left: int | None
    force_command: str | None
    told_at: int | None

    @property
    def with_plain_key(self) -> bool:
        """Tell whether a plain key opened it, and no certificate."""
        return self.serial == NO_CERTIFICATE

    @property
    def used(self) -> str:
        """Return what opened it, as audit events name it."""
        return f"key:{self.public_key_fingerprint}" if self.with_plain_key else f"serial:{self.serial}"


@record
class Revocation:
    """One act of revoking; `certificates` counts the unexpired ones that it ended, None in an answer before that."""

    tenant: str
    revocation_id: str
    selector: Selector
    value: str
    reason: str
    actor: str
    certificates: int | None
    created_at: int
    lifted_at: int | None


@record
class CaKey:
    """A CA key's public half and standing."""

    tenant: str
    fingerprint: str
    purpose: KeyPurpose
    algorithm: str
    public_key: str
    state: KeyState
    created_at: int
    retire_at: int | None
    revocation_id: str | None


@record
class Session:
    """A user's session, in a browser or a program."""

    tenant: str
    user: str
    created_at: int
    expires_at: int


@record
class Event:
    """What happened, before it has its place in a chain; `at_ms` is Unix milliseconds."""

    at_ms: int
    tenant: str
    actor: str  # kind:name, such as client:portal
    action: str  # noun.verb
    outcome: str  # ok, or the code of the refusal
    target: str
    detail: dict[str, object] = field(default_factory=dict)
    request_id: str = ""
    address: str = ""


@record
class ChainedEvent:
    """An event in its place: `hash` covers it and the hash of the one before."""

    chain: str
    seq: int
    at_ms: int
    tenant: str
    actor: str
    action: str
    outcome: str
    target: str
    detail: str  # JSON text, exactly as it was hashed
    request_id: str
    address: str
    hash: bytes
