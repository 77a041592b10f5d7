"""The statements that fetch what decisions rest on, as SQLAlchemy expressions: one snapshot, one round trip each."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Select, Text, and_, bindparam, case, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from tms_ca.core.access import Role
from tms_ca.core.model import ALL_TENANTS, DelegationStatus, KeyPurpose, KeyState
from tms_ca.store.tables import (
    account_links,
    admins,
    ca_keys,
    certificates,
    clients,
    credentials,
    delegations,
    forbidden_keys,
    hosts,
    public_keys,
    reservations,
    revoked_certificates,
    sessions,
    tenants,
    users,
)

# More delegations than this, from one user to one client and all ranked before the right one, are not looked at.
MOST_DELEGATIONS = 16

_TENANT = (
    tenants.c.epoch,
    tenants.c.enabled,
    tenants.c.mfa_window_seconds,
    tenants.c.default_ttl_seconds,
    tenants.c.max_ttl_seconds,
)
_CLIENT = (clients.c.enabled, clients.c.revocation_id, clients.c.expires_at, clients.c.max_ttl_seconds)
_USER = (users.c.enabled, users.c.revocation_id, users.c.mfa_verified_at, users.c.mfa_until)
_HOST = (hosts.c.enabled, hosts.c.revocation_id, hosts.c.principal_format)
_LINK = (account_links.c.starts_at, account_links.c.expires_at)
_ISSUED = (
    certificates.c.sha256,
    certificates.c.client_id,
    certificates.c.user,
    certificates.c.host,
    certificates.c.account,
    certificates.c.delegation_id,
    certificates.c.ca_fingerprint,
    certificates.c.public_key_fingerprint,
    certificates.c.principals,
    certificates.c.valid_after,
    certificates.c.valid_before,
    revoked_certificates.c.revocation_id,
    certificates.c.critical_options,
    certificates.c.reservation_id,
)
_RESERVATION = (
    reservations.c.user,
    reservations.c.host,
    reservations.c.account,
    reservations.c.public_key_fingerprint,
    reservations.c.expires_at,
)
_DELEGATION = (
    delegations.c.delegation_id,
    delegations.c.host,
    delegations.c.account,
    delegations.c.status,
    delegations.c.pending_until,
    delegations.c.starts_at,
    delegations.c.expires_at,
    delegations.c.constraints,
    delegations.c.restrictions,
    delegations.c.uses_left,
    hosts.c.restrictions,
)


def _standing_of(fingerprint: Any, tenant: Any) -> Any:
    return (
        select(func.min(forbidden_keys.c.standing))
        .where(forbidden_keys.c.fingerprint == fingerprint, forbidden_keys.c.tenant.in_([ALL_TENANTS, tenant]))
        .scalar_subquery()
    )


def _in_tenant(table: Any, **equal: Any) -> Any:
    return and_(table.c.tenant == tenants.c.tenant, *(table.c[name] == value for name, value in equal.items()))


def issue() -> Select[Any]:
    """Return what an issue rests on: a row for each delegation that may matter, the likeliest first."""
    names = ("tenant", "client_id", "user", "host", "account")
    tenant, client, user, host, account = (bindparam(name, type_=Text()) for name in names)
    matching = and_(
        host.like(delegations.c.host_like, escape="\\"), account.like(delegations.c.account_like, escape="\\")
    )
    return (
        select(
            *_TENANT,
            *_CLIENT,
            *_USER,
            *_HOST,
            *_LINK,
            ca_keys.c.fingerprint,
            ca_keys.c.retire_at,
            _standing_of(bindparam("fingerprint"), tenant),
            *_DELEGATION,
        )
        .select_from(
            tenants.outerjoin(clients, _in_tenant(clients, client_id=client))
            .outerjoin(users, _in_tenant(users, user=user))
            .outerjoin(hosts, _in_tenant(hosts, host=host))
            .outerjoin(account_links, _in_tenant(account_links, user=user, host=host, account=account))
            .outerjoin(
                ca_keys,
                _in_tenant(ca_keys, purpose=_text(KeyPurpose.USER), state=_text(KeyState.ACTIVE)),
            )
            .outerjoin(delegations, _in_tenant(delegations, user=user, client_id=client))
        )
        .where(tenants.c.tenant == tenant)
        .order_by(
            case((matching, 0), else_=1),
            case((delegations.c.status == _text(DelegationStatus.APPROVED), 0), else_=1),
            func.coalesce(delegations.c.expires_at, 0).desc(),
        )
        .limit(MOST_DELEGATIONS)
    )


def login() -> Select[Any]:
    """Return what a login check rests on, in one row."""
    c = certificates.c
    return (
        select(
            *_TENANT,
            *_CLIENT,
            *_USER,
            *_HOST,
            *_LINK,
            ca_keys.c.state,
            ca_keys.c.revocation_id,
            _standing_of(c.public_key_fingerprint, bindparam("tenant")),
            *_DELEGATION,
            *_ISSUED,
            *_RESERVATION,
        )
        .select_from(
            tenants.outerjoin(certificates, _in_tenant(certificates, serial=bindparam("serial")))
            .outerjoin(clients, _in_tenant(clients, client_id=c.client_id))
            .outerjoin(users, _in_tenant(users, user=c.user))
            .outerjoin(hosts, _in_tenant(hosts, host=bindparam("host")))
            .outerjoin(account_links, _in_tenant(account_links, user=c.user, host=c.host, account=c.account))
            .outerjoin(ca_keys, _in_tenant(ca_keys, fingerprint=c.ca_fingerprint))
            .outerjoin(delegations, _in_tenant(delegations, delegation_id=c.delegation_id))
            .outerjoin(revoked_certificates, revoked_certificates.c.serial == c.serial)
            .outerjoin(reservations, _in_tenant(reservations, reservation_id=c.reservation_id, client_id=c.client_id))
        )
        .where(tenants.c.tenant == bindparam("tenant"))
    )


def reservation() -> Select[Any]:
    """Return (epoch, a reservation of a client's)."""
    named = {name: bindparam(name, type_=Text()) for name in ("reservation_id", "client_id")}
    return (
        select(tenants.c.epoch, *_RESERVATION)
        .select_from(tenants.outerjoin(reservations, _in_tenant(reservations, **named)))
        .where(tenants.c.tenant == bindparam("tenant", type_=Text()))
    )


def _reserved_until(key: Any) -> Any:
    """Return when the last reservation for a plain key ends."""
    r = reservations.c
    same = [r[name] == key[name] for name in ("tenant", "client_id", "user", "host", "account")]
    return select(func.max(r.expires_at)).where(r.public_key_fingerprint == key.fingerprint, *same).scalar_subquery()


def plain_key(columns: Sequence[Any]) -> Select[Any]:
    """Return what a plain key's login rests on: a row that begins as that of `login`, then the end of its reservations.

    Then `columns` of the key.
    """
    k = public_keys.c
    tenant = bindparam("tenant", type_=Text())
    return (
        select(
            *_TENANT,
            *_CLIENT,
            *_USER,
            *_HOST,
            *_LINK,
            literal_column("NULL"),
            literal_column("NULL"),
            _standing_of(k.fingerprint, tenant),
            *_DELEGATION,
            _reserved_until(k),
            *columns,
        )
        .select_from(
            tenants.outerjoin(public_keys, _in_tenant(public_keys, fingerprint=bindparam("fingerprint", type_=Text())))
            .outerjoin(clients, _in_tenant(clients, client_id=k.client_id))
            .outerjoin(users, _in_tenant(users, user=k.user))
            .outerjoin(hosts, _in_tenant(hosts, host=bindparam("host", type_=Text())))
            .outerjoin(account_links, _in_tenant(account_links, user=k.user, host=k.host, account=k.account))
            .outerjoin(delegations, _in_tenant(delegations, delegation_id=k.delegation_id))
        )
        .where(tenants.c.tenant == tenant)
    )


def credential() -> Select[Any]:
    """Return whose credential a digest is, and how its holder stands."""
    c = credentials.c
    of_client = and_(clients.c.tenant == c.tenant, clients.c.client_id == c.subject, c.role == _text(Role.CLIENT))
    of_host = and_(hosts.c.tenant == c.tenant, hosts.c.host == c.subject, c.role == _text(Role.HOST))
    of_admin = and_(
        admins.c.tenant == c.tenant,
        admins.c.admin_id == c.subject,
        or_(c.role == _text(Role.OPERATOR), c.role == _text(Role.ADMIN)),
    )
    return (
        select(
            c.role,
            c.tenant,
            c.subject,
            c.expires_at,
            c.digest,
            tenants.c.enabled,
            func.coalesce(clients.c.enabled, hosts.c.enabled, admins.c.enabled),
            func.coalesce(clients.c.revocation_id, hosts.c.revocation_id),
            clients.c.expires_at,
            tenants.c.epoch,
        )
        .select_from(
            credentials.outerjoin(tenants, tenants.c.tenant == c.tenant)
            .outerjoin(clients, of_client)
            .outerjoin(hosts, of_host)
            .outerjoin(admins, of_admin)
        )
        .where(c.digest == bindparam("digest"))
    )


def session() -> Select[Any]:
    """Return whose session a digest is, in the columns of `credential` and two more."""
    return (
        select(
            _text(Role.USER),
            sessions.c.tenant,
            sessions.c.user,
            sessions.c.expires_at,
            sessions.c.digest,
            tenants.c.enabled,
            users.c.enabled,
            users.c.revocation_id,
            literal_column("NULL"),
            tenants.c.epoch,
            sessions.c.mfa_verified_at,
            tenants.c.mfa_window_seconds,
        )
        .select_from(
            sessions.join(tenants, tenants.c.tenant == sessions.c.tenant).join(
                users, and_(users.c.tenant == sessions.c.tenant, users.c.user == sessions.c.user)
            )
        )
        .where(sessions.c.digest == bindparam("digest"))
    )


def _text(word: str) -> Any:
    return literal_column(f"'{word}'")


_KEY_AND_TENANT = "wanted_key", "wanted_tenant"


def _wanted() -> Any:
    """Return the keys of many requests as a table, on PostgreSQL."""
    arrays = (bindparam(name, type_=ARRAY(Text)) for name in _KEY_AND_TENANT)
    return func.unnest(*arrays).table_valued(*_KEY_AND_TENANT).render_derived()


def standing_one() -> Select[Any]:
    """Return (epoch, standing of the key)."""
    key, tenant = (bindparam(name, type_=Text()) for name in _KEY_AND_TENANT)
    return select(tenants.c.epoch, _standing_of(key, tenant)).where(tenants.c.tenant == tenant)


def standing_many() -> Select[Any]:
    """Return the rows of `standing_one` for arrays of keys and tenants, each behind its own."""
    wanted = _wanted()
    return select(
        wanted.c.wanted_key, tenants.c.tenant, tenants.c.epoch, _standing_of(wanted.c.wanted_key, tenants.c.tenant)
    ).select_from(wanted.join(tenants, tenants.c.tenant == wanted.c.wanted_tenant))


def issued_one() -> Select[Any]:
    """Return (epoch, standing of the key, what is known of the certificate)."""
    serial, tenant = bindparam("wanted_key", type_=BigInteger()), bindparam("wanted_tenant", type_=Text())
    return _issued().where(certificates.c.serial == serial, certificates.c.tenant == tenant)


def issued_many() -> Select[Any]:
    """Return the rows of `issued_one` for an array of serials, each behind its serial and its tenant.

    The array of tenants is for the caller to compare.
    """
    serials = bindparam("wanted_key", type_=ARRAY(BigInteger))
    return _issued(certificates.c.serial, certificates.c.tenant).where(
        certificates.c.serial == func.any(serials),
        certificates.c.tenant == func.any(bindparam("wanted_tenant", type_=ARRAY(Text))),
    )


def _issued(*first: Any) -> Select[Any]:
    c = certificates.c
    return select(*first, tenants.c.epoch, _standing_of(c.public_key_fingerprint, c.tenant), *_ISSUED).select_from(
        certificates.join(tenants, tenants.c.tenant == c.tenant).outerjoin(
            revoked_certificates, revoked_certificates.c.serial == c.serial
        )
    )
