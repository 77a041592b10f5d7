"""What a decision rests on, as the database has it now: rows of store.facts_sql become the records of core.facts."""

import json
from collections.abc import Sequence
from functools import lru_cache
from sys import intern
from typing import Any

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
    ReservationFacts,
    TenantFacts,
    UserFacts,
)
from tms_ca.core.model import Constraints, DelegationStatus, KeyState, PrincipalFormat, Restrictions
from tms_ca.core.record import record
from tms_ca.store import facts_sql
from tms_ca.store.hot import HotDriver, Prepared
from tms_ca.store.lookups import Lookup
from tms_ca.store.rows import constraints_from_json, restrictions_from_json


@lru_cache(4096)
def _constraints(text: str) -> Constraints:
    return constraints_from_json(json.loads(text))


@lru_cache(4096)
def _principals(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


@lru_cache(4096)
def _options(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in json.loads(text))


@lru_cache(4096)
def _restrictions(text: str) -> Restrictions | None:
    return restrictions_from_json(json.loads(text))


def _issued_facts(row: Sequence[Any]) -> IssuedFacts:
    sha256, *names, key, principals, after, before, revocation, options, reservation_id = row
    # The same names come with the next certificates: each kept once, they were two fifths of what is remembered of one.
    client, user, host, account, delegation, ca = map(intern, names)
    return IssuedFacts(
        sha256, client, user, host, account, delegation, ca, key, _principals(principals), after, before,
        revocation is not None, _options(options), reservation_id,
    )  # fmt: skip


def _tenant_facts(row: Sequence[Any]) -> TenantFacts:
    return TenantFacts(bool(row[1]), row[2], row[3], row[4])


def _client_facts(row: Sequence[Any]) -> ClientFacts | None:
    return None if row[5] is None else ClientFacts(bool(row[5]), row[6] is not None, row[7], row[8])


def _user_facts(row: Sequence[Any]) -> UserFacts | None:
    return None if row[9] is None else UserFacts(bool(row[9]), row[10] is not None, row[11], row[12])


def _host_facts(row: Sequence[Any]) -> HostFacts | None:
    if row[13] is None:
        return None
    restrictions = None if row[31] is None else _restrictions(row[31])
    return HostFacts(bool(row[13]), row[14] is not None, PrincipalFormat(row[15]), restrictions)


def _link_facts(row: Sequence[Any]) -> LinkFacts | None:
    return None if row[16] is None else LinkFacts(row[16], row[17])


def _key_standing(row: Sequence[Any]) -> KeyStanding | None:
    return None if row[20] is None else KeyStanding(row[20])


def _delegation_facts(row: Sequence[Any]) -> DelegationFacts | None:
    if row[21] is None:
        return None
    return DelegationFacts(
        row[21], row[22], row[23], DelegationStatus(row[24]), row[25], row[26], row[27], _constraints(row[28]),
        None if row[29] is None else _restrictions(row[29]), row[30],
    )  # fmt: skip


def _reservation_facts(row: Sequence[Any]) -> ReservationFacts | None:
    return None if row[0] is None else ReservationFacts(*row)


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
    subject_ends_at: int | None
    epoch: int | None  # None for an operator, who is of no tenant
    mfa_verified_at: int | None = None
    mfa_window_seconds: int = 0


def _holder(row: Sequence[Any]) -> Holder:
    enabled, revoked = bool(row[6]), row[7] is not None
    return Holder(Role(row[0]), row[1], row[2], row[3], row[4], bool(row[5]), enabled, revoked, *row[8:])


IssuedNow = tuple[int, KeyStanding | None, IssuedFacts]  # the tenant's epoch, the standing of the key, the rest


StandingNow = tuple[int, KeyStanding | None]  # the tenant's epoch, the standing of the key
ReservedNow = tuple[int, ReservationFacts | None]  # the tenant's epoch, the reservation


def _standing_now(row: Sequence[Any] | None) -> StandingNow | None:
    return None if row is None else (row[0], None if row[1] is None else KeyStanding(row[1]))


def _issued_now(row: Sequence[Any] | None) -> IssuedNow | None:
    if row is None:
        return None
    return row[0], None if row[1] is None else KeyStanding(row[1]), _issued_facts(row[2:])


def issue_facts(rows: Sequence[Sequence[Any]]) -> Facts | None:
    """Return the facts of the rows of `facts_sql.issue`; None where there are none."""
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
        ca_key=None if row[18] is None else CaKeyFacts(row[18], row[19]),
        key_standing=_key_standing(row),
    )


def login_facts(row: Sequence[Any]) -> LoginFacts:
    """Return the facts of a row of `facts_sql.login`, as a driver beneath SQLAlchemy has it: lists are JSON text."""
    return LoginFacts(
        tenant=_tenant_facts(row),
        host=_host_facts(row),
        issued=None if row[32] is None else _issued_facts(row[32:46]),
        client=_client_facts(row),
        user=_user_facts(row),
        link=_link_facts(row),
        delegation=_delegation_facts(row),
        ca_key_state=None if row[18] is None else KeyState(row[18]),
        ca_key_revoked=row[19] is not None,
        key_standing=_key_standing(row),
        epoch=row[0],
        reservation=None if row[32] is None else _reservation_facts(row[46:]),
    )


class FactsReader:
    """Fetch the facts of decisions through the hot path."""

    def __init__(self, driver: HotDriver) -> None:
        self._driver = driver
        self._issue = Prepared(facts_sql.issue(), driver.dialect)
        self._login = Prepared(facts_sql.login(), driver.dialect)
        self._credential = Prepared(facts_sql.credential(), driver.dialect)
        self._session = Prepared(facts_sql.session(), driver.dialect)
        self._reservation = Prepared(facts_sql.reservation(), driver.dialect)
        self._standing = Lookup(driver, facts_sql.standing_one(), facts_sql.standing_many())
        self._issued = Lookup(driver, facts_sql.issued_one(), facts_sql.issued_many())

    def version(self) -> bytes | None:
        """Return what is other after any commit of anyone; None where nothing cheap says so."""
        return self._driver.version()

    async def holder(self, digest: bytes) -> Holder | None:
        """Return whose credential has this digest."""
        rows = await self._driver.fetch(self._credential, self._credential.args({"digest": digest}))
        return _holder(rows[0]) if rows else None

    async def session(self, digest: bytes) -> Holder | None:
        """Return whose session has this digest."""
        rows = await self._driver.fetch(self._session, self._session.args({"digest": digest}))
        return _holder(rows[0]) if rows else None

    async def standing(self, tenant: str, fingerprint: str) -> StandingNow | None:
        """Return the tenant's epoch and whether this key may not be certified; None when there is no such tenant."""
        return _standing_now(await self._standing.get(fingerprint, tenant))

    def standing_at_once(self, tenant: str, fingerprint: str) -> StandingNow | None:
        """Return the same; None also where that would take waiting."""
        return _standing_now(self._standing.at_once(fingerprint, tenant))

    async def issued(self, tenant: str, serial: int) -> IssuedNow | None:
        """Return what is known of a certificate; None for no such serial in this tenant."""
        return _issued_now(await self._issued.get(serial, tenant))

    def issued_at_once(self, tenant: str, serial: int) -> IssuedNow | None:
        """Return what is known of a certificate; None also where that would take waiting."""
        return _issued_now(self._issued.at_once(serial, tenant))

    async def reservation(self, tenant: str, client_id: str, reservation_id: str) -> ReservedNow | None:
        """Return the tenant's epoch and a reservation of a client's; None when there is no such tenant."""
        params = {"tenant": tenant, "client_id": client_id, "reservation_id": reservation_id}
        rows = await self._driver.fetch(self._reservation, self._reservation.args(params))
        return (rows[0][0], _reservation_facts(rows[0][1:])) if rows else None

    async def for_issue(
        self, tenant: str, client_id: str, user: str, host: str, account: str, fingerprint: str
    ) -> Facts | None:
        """Return the facts for an issue; None when there is no such tenant."""
        args = self._issue_args(tenant, client_id, user, host, account, fingerprint)
        return issue_facts(await self._driver.fetch(self._issue, args))

    def for_issue_at_once(
        self, tenant: str, client_id: str, user: str, host: str, account: str, fingerprint: str
    ) -> Facts | None:
        """Return the same; None also where that would take waiting."""
        args = self._issue_args(tenant, client_id, user, host, account, fingerprint)
        return issue_facts(self._driver.fetch_at_once(self._issue, args))

    def _issue_args(
        self, tenant: str, client_id: str, user: str, host: str, account: str, fingerprint: str
    ) -> list[object]:
        params = {
            "tenant": tenant,
            "client_id": client_id,
            "user": user,
            "host": host,
            "account": account,
            "fingerprint": fingerprint,
        }
        return self._issue.args(params)

    async def for_login(self, tenant: str, host: str, serial: int) -> LoginFacts | None:
        """Return the facts for a login check; None when there is no such tenant."""
        rows = await self._driver.fetch(
            self._login, self._login.args({"tenant": tenant, "host": host, "serial": serial})
        )
        return login_facts(rows[0]) if rows else None
