"""What a decision rests on, in one statement each: one snapshot, one round trip."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, Text, and_, bindparam, case, func, literal_column, or_, select

from tms_ca.core.access import Role
from tms_ca.core.facts import (
    CaKeyFacts,
    ClientFacts,
    DelegationFacts,
    Facts,
    HostFacts,
    IssuedFacts,
    KeyStanding,
    LinkFacts,
    LoginFacts,
    TenantFacts,
    UserFacts,
)
from tms_ca.core.model import ALL_TENANTS, Constraints, DelegationStatus, KeyPurpose, KeyState, PrincipalFormat
from tms_ca.core.record import record
from tms_ca.store.hot import HotDriver, Prepared
from tms_ca.store.rows import constraints_from_json
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
_USER = (users.c.enabled, users.c.revocation_id, users.c.mfa_verified_at)
_HOST = (hosts.c.enabled, hosts.c.revocation_id, hosts.c.principal_format)
_LINK = (account_links.c.starts_at, account_links.c.expires_at)
_DELEGATION = (
    delegations.c.delegation_id,
    delegations.c.host,
    delegations.c.account,
    delegations.c.status,
    delegations.c.pending_until,
    delegations.c.starts_at,
    delegations.c.expires_at,
    delegations.c.constraints,
)


def _standing_of(fingerprint: Any, tenant: Any) -> Any:
    return (
        select(func.min(forbidden_keys.c.standing))
        .where(forbidden_keys.c.fingerprint == fingerprint, forbidden_keys.c.tenant.in_([ALL_TENANTS, tenant]))
        .scalar_subquery()
    )


def _in_tenant(table: Any, **equal: Any) -> Any:
    return and_(table.c.tenant == tenants.c.tenant, *(table.c[name] == value for name, value in equal.items()))


def _issue_statement() -> Select[Any]:
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


def _login_statement() -> Select[Any]:
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
            c.sha256,
            c.user,
            c.host,
            c.account,
            c.principals,
            c.valid_after,
            c.valid_before,
            revoked_certificates.c.revocation_id,
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
        )
        .where(tenants.c.tenant == bindparam("tenant"))
    )


def _credential_statement() -> Select[Any]:
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
        )
        .select_from(
            credentials.outerjoin(tenants, tenants.c.tenant == c.tenant)
            .outerjoin(clients, of_client)
            .outerjoin(hosts, of_host)
            .outerjoin(admins, of_admin)
        )
        .where(c.digest == bindparam("digest"))
    )


def _session_statement() -> Select[Any]:
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


@lru_cache(4096)
def _constraints(text: str) -> Constraints:
    return constraints_from_json(json.loads(text))


def _tenant_facts(row: Sequence[Any]) -> TenantFacts:
    return TenantFacts(bool(row[1]), row[2], row[3], row[4])


def _client_facts(row: Sequence[Any]) -> ClientFacts | None:
    return None if row[5] is None else ClientFacts(bool(row[5]), row[6] is not None, row[7], row[8])


def _user_facts(row: Sequence[Any]) -> UserFacts | None:
    return None if row[9] is None else UserFacts(bool(row[9]), row[10] is not None, row[11])


def _host_facts(row: Sequence[Any]) -> HostFacts | None:
    return None if row[12] is None else HostFacts(bool(row[12]), row[13] is not None, PrincipalFormat(row[14]))


def _link_facts(row: Sequence[Any]) -> LinkFacts | None:
    return None if row[15] is None else LinkFacts(row[15], row[16])


def _key_standing(row: Sequence[Any]) -> KeyStanding | None:
    return None if row[19] is None else KeyStanding(row[19])


def _delegation_facts(row: Sequence[Any]) -> DelegationFacts | None:
    if row[20] is None:
        return None
    return DelegationFacts(
        row[20], row[21], row[22], DelegationStatus(row[23]), row[24], row[25], row[26], _constraints(row[27])
    )


@record
class Holder:
    """Whose credential a digest is, and how its holder stands."""

    role: Role
    tenant: str
    subject: str
    expires_at: int | None
    digest: bytes
    tenant_enabled: bool
    enabled: bool
    revoked: bool
    subject_ends_at: int | None = None
    mfa_verified_at: int | None = None
    mfa_window_seconds: int = 0


def _holder(row: Sequence[Any]) -> Holder:
    enabled, revoked = bool(row[6]), row[7] is not None
    return Holder(Role(row[0]), row[1], row[2], row[3], row[4], bool(row[5]), enabled, revoked, *row[8:])


class FactsReader:
    """Fetch the facts of decisions through the hot path."""

    def __init__(self, driver: HotDriver) -> None:
        self._driver = driver
        self._issue = Prepared(_issue_statement(), driver.dialect)
        self._login = Prepared(_login_statement(), driver.dialect)
        self._credential = Prepared(_credential_statement(), driver.dialect)
        self._session = Prepared(_session_statement(), driver.dialect)

    async def holder(self, digest: bytes) -> Holder | None:
        """Return whose credential has this digest."""
        rows = await self._driver.fetch(self._credential, self._credential.args({"digest": digest}))
        return _holder(rows[0]) if rows else None

    async def session(self, digest: bytes) -> Holder | None:
        """Return whose session has this digest."""
        rows = await self._driver.fetch(self._session, self._session.args({"digest": digest}))
        return _holder(rows[0]) if rows else None

    async def for_issue(
        self, tenant: str, client_id: str, user: str, host: str, account: str, fingerprint: str
    ) -> Facts | None:
        """Return the facts for an issue; None when there is no such tenant."""
        params = {
            "tenant": tenant,
            "client_id": client_id,
            "user": user,
            "host": host,
            "account": account,
            "fingerprint": fingerprint,
        }
        rows = await self._driver.fetch(self._issue, self._issue.args(params))
        if not rows:
            return None
        row = rows[0]
        return Facts(
            epoch=row[0],
            tenant=_tenant_facts(row),
            client=_client_facts(row),
            user=_user_facts(row),
            host=_host_facts(row),
            link=_link_facts(row),
            delegations=tuple(found for found in map(_delegation_facts, rows) if found is not None),
            ca_key=None if row[17] is None else CaKeyFacts(row[17], row[18]),
            key_standing=_key_standing(row),
        )

    async def for_login(self, tenant: str, host: str, serial: int) -> LoginFacts | None:
        """Return the facts for a login check; None when there is no such tenant."""
        rows = await self._driver.fetch(
            self._login, self._login.args({"tenant": tenant, "host": host, "serial": serial})
        )
        if not rows:
            return None
        row = rows[0]
        issued = None
        if row[28] is not None:
            issued = IssuedFacts(
                row[28], row[29], row[30], row[31], tuple(json.loads(row[32])), row[33], row[34], row[35] is not None
            )
        return LoginFacts(
            tenant=_tenant_facts(row),
            host=_host_facts(row),
            issued=issued,
            client=_client_facts(row),
            user=_user_facts(row),
            link=_link_facts(row),
            delegation=_delegation_facts(row),
            ca_key_state=None if row[17] is None else KeyState(row[17]),
            ca_key_revoked=row[18] is not None,
            key_standing=_key_standing(row),
        )
