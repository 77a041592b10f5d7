"""What decisions are about: requests, the facts of one snapshot, and the verdicts. Records only, no rules."""

from enum import StrEnum

from tms_ca.core.model import Constraints, DelegationStatus, KeyState, PrincipalFormat, Restrictions
from tms_ca.core.record import record

HARD_MAX_SECONDS = 24 * 3600  # no certificate lives longer, whatever a setting says
LONGEST_RESERVATION_SECONDS = 48 * 3600
MIN_LIFETIME_SECONDS = 60  # a shorter certificate would end before a login got round to using it


class DenialReason(StrEnum):
    """Why not; each word stands unchanged in answers, audit events, metrics and docs/errors.md."""

    TENANT_DISABLED = "tenant_disabled"
    CLIENT_UNKNOWN = "client_unknown"
    CLIENT_DISABLED = "client_disabled"
    CLIENT_REVOKED = "client_revoked"
    CLIENT_EXPIRED = "client_expired"
    DELEGATION_MISSING = "delegation_missing"
    DELEGATION_OTHER_HOST = "delegation_other_host"
    DELEGATION_OTHER_ACCOUNT = "delegation_other_account"
    DELEGATION_PENDING = "delegation_pending"
    DELEGATION_DENIED = "delegation_denied"
    DELEGATION_REVOKED = "delegation_revoked"
    DELEGATION_EXPIRED = "delegation_expired"
    RESERVATION_UNKNOWN = "reservation_unknown"
    RESERVATION_OTHER = "reservation_other"
    RESERVATION_EXPIRED = "reservation_expired"
    USER_UNKNOWN = "user_unknown"
    USER_DISABLED = "user_disabled"
    USER_REVOKED = "user_revoked"
    HOST_UNKNOWN = "host_unknown"
    HOST_DISABLED = "host_disabled"
    HOST_REVOKED = "host_revoked"
    LINK_MISSING = "account_link_missing"
    LINK_NOT_STARTED = "account_link_not_started"
    LINK_EXPIRED = "account_link_expired"
    MFA_NEVER = "mfa_never"
    MFA_EXPIRED = "mfa_expired"
    KEY_IS_CA_KEY = "key_is_ca_key"
    KEY_IS_HOST_KEY = "key_is_host_key"
    KEY_REVOKED = "key_revoked"
    SOURCE_ADDRESS_NOT_ALLOWED = "source_address_not_allowed"
    FORCE_COMMAND_NOT_ALLOWED = "force_command_not_allowed"
    EXTENSION_NOT_ALLOWED = "extension_not_allowed"
    CA_KEY_MISSING = "ca_key_missing"
    LIFETIME_TOO_SHORT = "lifetime_too_short"
    PRINCIPAL_NOT_ALLOWED = "principal_not_allowed"
    CERTIFICATE_UNKNOWN = "certificate_unknown"
    CERTIFICATE_ALTERED = "certificate_altered"
    CERTIFICATE_REVOKED = "certificate_revoked"
    CERTIFICATE_NOT_STARTED = "certificate_not_started"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_OTHER_HOST = "certificate_other_host"
    CERTIFICATE_OTHER_ACCOUNT = "certificate_other_account"
    CA_KEY_NOT_TRUSTED = "ca_key_not_trusted"
    USES_EXHAUSTED = "uses_exhausted"
    SOURCES_DISJOINT = "sources_disjoint"
    COMMANDS_DIFFER = "commands_differ"
    DESTINATIONS_DISJOINT = "destinations_disjoint"
    RESTRICTIONS_TOO_LONG = "restrictions_too_long"
    PUBLIC_KEY_UNKNOWN = "public_key_unknown"
    PUBLIC_KEY_OTHER_HOST = "public_key_other_host"
    PUBLIC_KEY_OTHER_ACCOUNT = "public_key_other_account"
    PUBLIC_KEY_EXPIRED = "public_key_expired"
    LOGINS_NOT_COUNTED = "logins_not_counted"
    COMMAND_NOT_WRITABLE = "force_command_not_writable"


class LimitedBy(StrEnum):
    """What ended a certificate's life: the tightest of everything it rests on."""

    REQUESTED = "requested"
    DEFAULT = "default"
    DELEGATION = "delegation"
    ACCOUNT_LINK = "account_link"
    MFA = "mfa"
    RESERVATION = "reservation"
    CLIENT = "client"
    TENANT = "tenant"
    CA_KEY = "ca_key"
    INSTALLATION = "installation"


class KeyStanding(StrEnum):
    """Why a public key may not be certified."""

    CA = "ca"
    HOST = "host"
    REVOKED = "revoked"


@record
class Denial:
    """No, and why; `detail` is a sentence for the caller."""

    reason: DenialReason
    detail: str


@record
class Limits:
    """Settings of the installation that a decision needs, in seconds."""

    backdate: int = 60
    max_ttl: int = HARD_MAX_SECONDS


@record
class IssueRequest:
    """What a client asks for; the key is judged before (core.publickey), only its standing is a fact."""

    user: str
    host: str
    account: str
    ttl_seconds: int | None = None
    source_address: tuple[str, ...] = ()
    force_command: str | None = None
    extensions: tuple[str, ...] | None = None  # None: whatever the delegation allows
    reservation_id: str | None = None


@record
class TenantFacts:
    """The tenant's standing and lengths."""

    enabled: bool
    mfa_window_seconds: int
    default_ttl_seconds: int
    max_ttl_seconds: int


@record
class ClientFacts:
    """The client's standing and policy."""

    enabled: bool
    revoked: bool
    expires_at: int | None
    max_ttl_seconds: int | None


@record
class UserFacts:
    """The user's standing, last second factor, and until when an admin gave their word for it."""

    enabled: bool
    revoked: bool
    mfa_verified_at: int | None
    mfa_until: int | None = None


@record
class HostFacts:
    """The host's standing."""

    enabled: bool
    revoked: bool
    principal_format: PrincipalFormat
    restrictions: Restrictions | None = None


@record
class LinkFacts:
    """The account link's span."""

    starts_at: int
    expires_at: int


@record
class DelegationFacts:
    """A delegation from the user to the client, whatever it is for."""

    delegation_id: str
    host: str
    account: str
    status: DelegationStatus
    pending_until: int
    starts_at: int | None
    expires_at: int | None
    constraints: Constraints
    restrictions: Restrictions | None = None
    uses_left: int | None = None  # None: any number of logins


@record
class ReservationFacts:
    """A reservation of the client's that is on record, ended or not."""

    user: str
    host: str
    account: str
    public_key_fingerprint: str | None  # of the plain key that it is for; None where it is for certificates
    expires_at: int


@record
class CaKeyFacts:
    """The tenant's active user CA key."""

    fingerprint: str
    retire_at: int | None


@record
class Facts:
    """What the store knew, in one snapshot, about everything that an issue rests on."""

    epoch: int  # the tenant's count of changes: a commit on these facts is void once it has grown
    tenant: TenantFacts
    client: ClientFacts | None
    user: UserFacts | None
    host: HostFacts | None
    link: LinkFacts | None
    delegations: tuple[DelegationFacts, ...]
    ca_key: CaKeyFacts | None
    key_standing: KeyStanding | None
    reservation: ReservationFacts | None = None  # the one that the request names


@record
class Grant:
    """Exactly what may be signed."""

    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    limited_by: LimitedBy
    critical_options: tuple[tuple[str, str], ...]
    extensions: tuple[str, ...]
    delegation_id: str
    ca_fingerprint: str


@record
class LoginRequest:
    """What a host asks: whether the certificate that was handed to it opens this account, here and now."""

    host: str
    account: str
    sha256: bytes  # of the certificate as presented


@record
class IssuedFacts:
    """What the store knows about the presented serial."""

    sha256: bytes
    client_id: str
    user: str
    host: str
    account: str
    delegation_id: str
    ca_fingerprint: str
    public_key_fingerprint: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    revoked: bool
    critical_options: tuple[tuple[str, str], ...] = ()
    reservation_id: str | None = None


@record
class LoginFacts:
    """What the store knew, in one snapshot, about everything that a login rests on."""

    tenant: TenantFacts
    host: HostFacts | None
    issued: IssuedFacts | None
    client: ClientFacts | None
    user: UserFacts | None
    link: LinkFacts | None
    delegation: DelegationFacts | None
    ca_key_state: KeyState | None
    ca_key_revoked: bool
    key_standing: KeyStanding | None
    epoch: int = 0  # the tenant's count of changes
    reservation: ReservationFacts | None = None  # the one that was named when the certificate was issued


@record
class LoginGrant:
    """Yes: the principals that the host may accept for the account."""

    principals: tuple[str, ...]
    options: str = ""  # restrictions, as sshd reads them before a principal
    limited: bool = False  # the delegation is for a number of logins
