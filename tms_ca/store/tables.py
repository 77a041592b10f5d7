"""Every table, for both engines.

Keys are the names that the world uses, each with its tenant, so that nothing can point across tenants. Times are
Unix seconds in 64-bit integers; serials are 63 bits wide because both engines' integers are signed. No server
defaults, no types of one dialect: Alembic's comparison with a migrated database is then empty on both.
"""

import json
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Json(TypeDecorator[Any]):
    """A list or object kept as JSON text: the same bytes on both engines."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's signature
        """Python to text."""
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> object:  # noqa: ARG002 - SQLAlchemy's signature
        """Text to Python."""
        return None if value is None else json.loads(value)


# SQLite counts rows by itself only in a column of the type INTEGER, which is 64 bits wide there.
_RowId = BigInteger().with_variant(Integer, "sqlite")


def _tenant() -> Column[str]:
    return Column("tenant", Text, nullable=False)


def _belongs(columns: list[str], table: str, *, cascade: bool = True) -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        columns, [f"{table}.{name}" for name in columns], ondelete="CASCADE" if cascade else None
    )


tenants = Table(
    "tenants",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("mfa_window_seconds", Integer, nullable=False),
    Column("default_ttl_seconds", Integer, nullable=False),
    Column("max_ttl_seconds", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # Grows with every change of anything in the tenant but certificates: a decision is void once it has grown.
    Column("epoch", BigInteger, nullable=False),
    # What becomes of open sessions: NULL is what a tenant has that was made before these were.
    Column("on_revocation", Text),
    Column("warning_seconds", Integer),
    Column("end_at_expiry", Boolean),
)

admins = Table(
    "admins",
    metadata,
    _tenant(),  # "*" is an operator: no foreign key
    Column("admin_id", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "admin_id"),
)

credentials = Table(
    "credentials",
    metadata,
    Column("digest", LargeBinary, primary_key=True),  # SHA-256 of a random secret; SHA-512 of one of a TMS server
    Column("credential_id", Text, nullable=False),
    Column("role", Text, nullable=False),
    _tenant(),
    Column("subject", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("node", Text),  # of a host: the machine that made it for itself; none where an admin made it
    Index(None, "tenant", "role", "subject"),
    Index(None, "expires_at"),
)

clients = Table(
    "clients",
    metadata,
    _tenant(),
    Column("client_id", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("max_ttl_seconds", Integer),
    Column("expires_at", BigInteger),
    Column("redirect_uris", Json, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revocation_id", Text),
    # What a client of the TMS wire API says of itself.
    Column("app_name", Text),
    Column("app_version", Text),
    PrimaryKeyConstraint("tenant", "client_id"),
    Index("uq_clients_tenant_app", "tenant", "app_name", "app_version", unique=True),
    _belongs(["tenant"], "tenants"),
)

users = Table(
    "users",
    metadata,
    _tenant(),
    Column("user", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("password_hash", Text),
    Column("mfa_verified_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("revocation_id", Text),
    Column("mfa_until", BigInteger),  # an admin's word that the user is MFA-current until then, beside their own factor
    PrimaryKeyConstraint("tenant", "user"),
    _belongs(["tenant"], "tenants"),
)

totp_factors = Table(
    "totp_factors",
    metadata,
    _tenant(),
    Column("user", Text, nullable=False),
    Column("sealed_seed", LargeBinary, nullable=False),
    Column("last_step", BigInteger, nullable=False),  # the last accepted 30-second step: a code works once
    Column("confirmed_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "user"),
    _belongs(["tenant", "user"], "users"),
)

throttles = Table(
    "throttles",
    metadata,
    _tenant(),
    Column("subject", Text, nullable=False),  # factor:user, such as totp:alice; the user need not exist
    Column("failures", Integer, nullable=False),
    Column("retry_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "subject"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    _tenant(),
    Column("user", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    # The second factor is proved by a session: a password alone, while its owner is MFA-current, approves nothing.
    Column("mfa_verified_at", BigInteger),
    Index(None, "tenant", "user"),
    Index(None, "expires_at"),
    _belongs(["tenant", "user"], "users"),
)

identities = Table(
    "identities",
    metadata,
    _tenant(),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "issuer", "subject"),
    Index(None, "tenant", "user", "issuer", "subject"),
    _belongs(["tenant", "user"], "users"),
)

hosts = Table(
    "hosts",
    metadata,
    _tenant(),
    Column("host", Text, nullable=False),
    Column("addresses", Json, nullable=False),
    Column("principal_format", Text, nullable=False),
    Column("ssh_host_keys", Json, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revocation_id", Text),
    Column("restrictions", Json),
    PrimaryKeyConstraint("tenant", "host"),
    Index(None, "host", "created_at", "tenant"),
    _belongs(["tenant"], "tenants"),
)

account_links = Table(
    "account_links",
    metadata,
    _tenant(),
    Column("link_id", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("starts_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "link_id"),
    UniqueConstraint("tenant", "user", "host", "account"),
    Index(None, "tenant", "user", "link_id"),
    Index(None, "tenant", "host", "link_id"),
    _belongs(["tenant", "user"], "users"),
    _belongs(["tenant", "host"], "hosts"),
)

delegations = Table(
    "delegations",
    metadata,
    _tenant(),
    Column("delegation_id", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("client_id", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("host_like", Text, nullable=False),  # the patterns for LIKE: a sieve, core.names.matches() has the last word
    Column("account_like", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("lifetime_seconds", Integer, nullable=False),
    Column("constraints", Json, nullable=False),
    Column("redirect_uri", Text),
    Column("user_code", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("pending_until", BigInteger, nullable=False),
    Column("decided_at", BigInteger),
    Column("starts_at", BigInteger),
    Column("expires_at", BigInteger),
    Column("restrictions", Json),
    Column("uses_left", Integer),  # NULL: any number of logins
    PrimaryKeyConstraint("tenant", "delegation_id"),
    UniqueConstraint("tenant", "user_code"),
    Index(None, "tenant", "user", "client_id"),
    Index(None, "tenant", "user", "delegation_id"),
    Index(None, "tenant", "client_id", "delegation_id"),
    _belongs(["tenant", "user"], "users"),
    _belongs(["tenant", "client_id"], "clients"),
)

certificates = Table(
    "certificates",
    metadata,
    # History: no foreign keys, so that what was issued stays on record whatever is deleted.
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("serial", BigInteger, nullable=False),
    _tenant(),
    Column("key_id", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("client_id", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("delegation_id", Text, nullable=False),
    Column("public_key_fingerprint", Text, nullable=False),
    Column("ca_fingerprint", Text, nullable=False),
    Column("principals", Json, nullable=False),
    Column("critical_options", Json, nullable=False),
    Column("extensions", Json, nullable=False),
    Column("valid_after", BigInteger, nullable=False),
    Column("valid_before", BigInteger, nullable=False),
    Column("limited_by", Text, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("reservation_id", Text),  # on which it rests beside the MFA window
    UniqueConstraint("serial"),
    Index(None, "tenant", "client_id", "id"),
    Index(None, "tenant", "user", "id"),
    Index(None, "tenant", "host", "id"),
    Index(None, "tenant", "delegation_id", "id"),
    Index(None, "tenant", "id"),
    Index(None, "tenant", "valid_before"),  # what has not ended, and what ended long ago
)

public_keys = Table(
    "public_keys",
    metadata,
    # Keys that are escrowed instead of certified. Each goes with what it rests on, so that nothing made anew under
    # an old name brings it back.
    _tenant(),
    Column("fingerprint", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("key_type", Text, nullable=False),
    Column("public_key", Text, nullable=False),  # base64
    Column("user", Text, nullable=False),
    Column("client_id", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("delegation_id", Text, nullable=False),
    Column("critical_options", Json, nullable=False),
    Column("extensions", Json, nullable=False),
    Column("valid_after", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("limited_by", Text, nullable=False),
    Column("ttl_seconds", Integer),  # as it was asked for
    Column("max_uses", Integer),  # NULL: any number
    Column("uses_left", Integer),
    Column("used_at", BigInteger),  # when a use was last taken
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("revocation_id", Text),
    PrimaryKeyConstraint("tenant", "fingerprint"),
    Index(None, "tenant", "user", "fingerprint"),
    Index(None, "tenant", "client_id", "fingerprint"),
    Index(None, "tenant", "host", "fingerprint"),
    Index(None, "tenant", "delegation_id", "fingerprint"),
    Index(None, "expires_at"),
    _belongs(["tenant", "client_id"], "clients"),
    _belongs(["tenant", "user", "host", "account"], "account_links"),
    _belongs(["tenant", "delegation_id"], "delegations"),
)

reservations = Table(
    "reservations",
    metadata,
    # What goes on past the MFA window. Each goes with what it rests on, as `public_keys` do.
    _tenant(),
    Column("reservation_id", Text, nullable=False),
    Column("parent_id", Text),  # of a child: the reservation under which it was made
    Column("client_id", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("delegation_id", Text, nullable=False),
    Column("public_key_fingerprint", Text),  # of the plain key that it is for; none where it is for certificates
    Column("purpose", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "reservation_id"),
    Index(None, "tenant", "client_id", "reservation_id"),
    Index(None, "tenant", "user", "reservation_id"),
    Index(None, "tenant", "parent_id"),
    Index(None, "tenant", "delegation_id"),
    Index(None, "tenant", "public_key_fingerprint", "expires_at"),
    Index(None, "expires_at"),
    _belongs(["tenant", "client_id"], "clients"),
    _belongs(["tenant", "user", "host", "account"], "account_links"),
    _belongs(["tenant", "delegation_id"], "delegations"),
    ForeignKeyConstraint(
        ["tenant", "public_key_fingerprint"], ["public_keys.tenant", "public_keys.fingerprint"], ondelete="CASCADE"
    ),
)

tms_v1_numbers = Table(
    "tms_v1_numbers",
    metadata,
    # The whole number by which the TMS wire API names what has a name of its own here: given when it is first shown.
    Column("number", _RowId, primary_key=True, autoincrement=True),
    _tenant(),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("updated_at", BigInteger),  # NULL: not since it was made
    Column("kept", BigInteger),  # of what was imported: the number that it had, which is shown instead
    UniqueConstraint("tenant", "kind", "name"),
    UniqueConstraint("kind", "kept"),
    sqlite_autoincrement=True,  # no number is given twice, also not that of what was deleted
)

tms_v1_hosts = Table(
    "tms_v1_hosts",
    metadata,
    # What admins noted of hosts' addresses through the TMS wire API; nothing reads it for a decision.
    _tenant(),
    Column("host", Text, nullable=False),
    Column("addr", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "host", "addr"),
    _belongs(["tenant"], "tenants"),
)

logins = Table(
    "logins",
    metadata,
    # History, as certificates are: no foreign keys.
    Column("id", _RowId, primary_key=True, autoincrement=True),
    _tenant(),
    Column("login_id", Text, nullable=False),  # chosen by the host, so that telling twice counts once
    Column("host", Text, nullable=False),
    Column("node", Text, nullable=False),  # which machine, where several are one host
    Column("account", Text, nullable=False),
    Column("user", Text, nullable=False),
    Column("client_id", Text, nullable=False),
    Column("delegation_id", Text, nullable=False),
    Column("serial", BigInteger, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("public_key_fingerprint", Text, nullable=False),
    Column("remote_address", Text),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("end_reason", Text),
    Column("late", Boolean, nullable=False),  # it had happened before it was told
    Column("counted", Boolean, nullable=False),
    Column("uses_left", Integer),  # of the delegation, after this one
    Column("force_command", Text),
    Column("told_at", BigInteger),  # when its host first heard that it must end
    UniqueConstraint("tenant", "host", "login_id"),
    Index(None, "tenant", "id"),
    Index(None, "tenant", "client_id", "id"),
    Index(None, "tenant", "user", "id"),
    Index(None, "tenant", "host", "id"),
    Index(None, "tenant", "delegation_id", "id"),
    Index(None, "tenant", "ended_at", "id"),
)
for _name, _columns in (("open_node", ("tenant", "host", "node", "id")), ("open_serial", ("serial",))):
    Index(
        f"ix_logins_{_name}",
        *(logins.c[column] for column in _columns),
        sqlite_where=logins.c.ended_at.is_(None),
        postgresql_where=logins.c.ended_at.is_(None),
    )

revocations = Table(
    "revocations",
    metadata,
    _tenant(),
    Column("revocation_id", Text, nullable=False),
    Column("selector", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("certificates", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("lifted_at", BigInteger),
    Column("change", BigInteger),  # the count in krls.wanted that it came with: krl_versions says which KRL has it
    Column("at_ms", BigInteger),  # Unix milliseconds, to tell how fast hosts had it
    PrimaryKeyConstraint("tenant", "revocation_id"),
    Index(None, "tenant", "selector", "value", "revocation_id"),
    Index(None, "tenant", "selector", "revocation_id"),
    _belongs(["tenant"], "tenants"),
)

revoked_certificates = Table(
    "revoked_certificates",
    metadata,
    Column("serial", BigInteger, primary_key=True, autoincrement=False),
    _tenant(),
    Column("ca_fingerprint", Text, nullable=False),
    Column("valid_before", BigInteger, nullable=False),
    Column("revocation_id", Text, nullable=False),
    Column("change", BigInteger),  # the count in krls.wanted that it came with
    Index(None, "tenant", "valid_before", "serial"),
    Index(None, "tenant", "change", "serial"),
    _belongs(["tenant"], "tenants"),
)

forbidden_keys = Table(
    "forbidden_keys",
    metadata,
    # Public keys that no certificate may be made for: CA keys in every tenant, host keys and revoked ones in theirs.
    Column("fingerprint", Text, nullable=False),
    Column("standing", Text, nullable=False),
    _tenant(),
    Column("change", BigInteger),  # of a revoked key: as in revoked_certificates
    PrimaryKeyConstraint("fingerprint", "standing", "tenant"),
    Index(None, "tenant", "standing", "change", "fingerprint"),
)

ca_keys = Table(
    "ca_keys",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    _tenant(),
    Column("purpose", Text, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("public_key", Text, nullable=False),
    Column("sealed_private_key", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("retire_at", BigInteger),
    Column("revocation_id", Text),
    Index(None, "tenant", "purpose", "state"),
    _belongs(["tenant"], "tenants"),
)
Index(
    "uq_ca_keys_one_active",
    ca_keys.c.tenant,
    ca_keys.c.purpose,
    unique=True,
    sqlite_where=ca_keys.c.state == "active",
    postgresql_where=ca_keys.c.state == "active",
)

krls = Table(
    "krls",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),  # of PROTOCOL.krl: strictly grows with every new content
    Column("changes", BigInteger, nullable=False),  # the count of revocations' changes that `blob` covers
    Column("wanted", BigInteger, nullable=False),  # the count of changes so far
    Column("content", LargeBinary, nullable=False),  # SHA-256 of what is revoked, without version and time
    Column("generated_at", BigInteger, nullable=False),
    Column("stale_at", BigInteger, nullable=False),  # from then on an entry has ended and could be dropped
    Column("blob", LargeBinary, nullable=False),
    _belongs(["tenant"], "tenants"),
)

join_tokens = Table(
    "join_tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),  # SHA-256 of 256 random bits
    _tenant(),
    Column("host", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    UniqueConstraint("tenant", "host"),
    Index(None, "expires_at"),
    _belongs(["tenant", "host"], "hosts"),
)

host_nodes = Table(
    "host_nodes",
    metadata,
    # The machines behind a host's name, and what each last said of itself: NULL until it has.
    _tenant(),
    Column("host", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("ssh_host_keys", Json, nullable=False),
    Column("joined_at", BigInteger),  # NULL for one that has only reported
    Column("reported_ms", BigInteger),
    Column("user_ca_fingerprints", Json),
    Column("krl_version", BigInteger),
    Column("trust_epoch", BigInteger),
    Column("clock_offset_ms", BigInteger),
    Column("openssh_version", Text),
    Column("tms_host_version", Text),
    Column("when_away", Text),
    PrimaryKeyConstraint("tenant", "host", "node"),
    _belongs(["tenant", "host"], "hosts"),
)

krl_versions = Table(
    "krl_versions",
    metadata,
    _tenant(),
    Column("version", BigInteger, nullable=False),
    Column("changes", BigInteger, nullable=False),  # the last change that this version covers
    Column("generated_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "version"),
    Index(None, "tenant", "changes"),
    _belongs(["tenant"], "tenants"),
)

krl_sightings = Table(
    "krl_sightings",
    metadata,
    _tenant(),
    Column("host", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("krl_version", BigInteger, nullable=False),
    Column("first_ms", BigInteger, nullable=False),  # when the node first said that it has this version
    PrimaryKeyConstraint("tenant", "host", "node", "krl_version"),
    Index(None, "first_ms"),
    _belongs(["tenant", "host", "node"], "host_nodes"),
)

host_certificates = Table(
    "host_certificates",
    metadata,
    # History, as `certificates`: no foreign keys.
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("serial", BigInteger, nullable=False),
    _tenant(),
    Column("host", Text, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("public_key_fingerprint", Text, nullable=False),
    Column("ca_fingerprint", Text, nullable=False),
    Column("principals", Json, nullable=False),
    Column("valid_after", BigInteger, nullable=False),
    Column("valid_before", BigInteger, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("request_id", Text, nullable=False),
    UniqueConstraint("serial"),
    Index(None, "tenant", "host", "id"),
    Index(None, "tenant", "valid_before"),
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("chain", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    _tenant(),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("chain", "seq"),
    Index(None, "tenant", "at_ms", "chain", "seq"),
)

audit_chains = Table(
    "audit_chains",
    metadata,
    Column("chain", Text, primary_key=True),
    Column("writer", Text, nullable=False),  # machine and process, for people
    Column("started_at", BigInteger, nullable=False),
    Column("head_seq", BigInteger, nullable=False),
    Column("head_hash", LargeBinary, nullable=False),
    Column("head_mac", LargeBinary, nullable=False),  # under a key outside the database
    # Where the chain begins since its oldest events were pruned: the last of these, sealed; NULL for a whole chain.
    Column("start_seq", BigInteger),
    Column("start_hash", LargeBinary),
    Column("start_mac", LargeBinary),
)
