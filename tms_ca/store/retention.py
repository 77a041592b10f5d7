"""What has ended for good, found and deleted a few rows at a time.

Each function takes the open transaction and deletes (or, for `dry`, only counts) one batch, so that no lock is held
for longer than that takes. A row is looked at again in the statement that deletes it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Table, and_, case, cast, delete, exists, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.model import ALL_TENANTS, NO_CERTIFICATE, DelegationStatus, Selector
from tms_ca.core.tms_v1 import NumberOf
from tms_ca.store.tables import (
    account_links,
    certificates,
    clients,
    credentials,
    delegations,
    host_certificates,
    hosts,
    join_tokens,
    krl_sightings,
    logins,
    public_keys,
    reservations,
    revocations,
    revoked_certificates,
    sessions,
    tenants,
    throttles,
    tms_v1_numbers,
    users,
)

DAY = 86400
BATCH = 500  # deleted in one transaction
LOOKED_AT = 2000  # by one statement that searches
ENDED_KEPT_DAYS = 90  # delegations that nothing refers to, after their end
SECRETS_KEPT_DAYS = 1  # sessions, credentials and join tokens, after their end
SIGHTINGS_KEPT_DAYS = 7  # how fast a revocation was known is asked while it is fresh


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept after they ended, in days; None keeps them."""

    certificates_days: int | None = None
    audit_days: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step found, and from where to go on; None where nothing is left."""

    found: int
    after: Sequence[Any] | None


@dataclass(frozen=True, slots=True)
class Sweep:
    """One kind of thing that ends: rows of `table`, walked through in the order of `walk`, gone where `ended`."""

    name: str
    table: Table
    walk: tuple[ColumnElement[Any], ...]
    ended: ColumnElement[bool]
    within: ColumnElement[bool] | None = None  # what bounds the walk by the same index
    also: Callable[[Sequence[Any]], Any] | None = None  # what goes with such rows, by their first key

    async def step(self, connection: AsyncConnection, after: Sequence[Any] | None, *, dry: bool) -> Batch:
        """Delete up to BATCH rows beyond `after`."""
        key = list(self.table.primary_key.columns)
        query = select(*self.walk, *key, self.ended.label("ended")).order_by(*self.walk).limit(LOOKED_AT)
        if self.within is not None:
            query = query.where(self.within)
        if after is not None:
            query = query.where(tuple_(*self.walk) > tuple_(*after))
        width = len(self.walk)
        looked = (await connection.execute(query)).all()
        doomed: list[tuple[Any, ...]] = []
        last: Sequence[Any] | None = None
        for row in looked:
            last = tuple(row[:width])
            if row.ended:
                doomed.append(tuple(row[width:-1]))
            if len(doomed) == BATCH:
                break
        else:
            last = last if len(looked) == LOOKED_AT else None
        if doomed and not dry:
            where = tuple_(*key).in_(doomed) if len(key) > 1 else key[0].in_([one[0] for one in doomed])
            if self.also is not None:
                found = await connection.execute(select(self.table).where(where, self.ended))
                goes = found.mappings().all()
                if goes:
                    await connection.execute(self.also(goes))
            done = await connection.execute(delete(self.table).where(where, self.ended))
            return Batch(done.rowcount, last)
        return Batch(len(doomed), last)


def _revoked_rows(gone: Sequence[Mapping[str, Any]]) -> Any:
    return delete(revoked_certificates).where(revoked_certificates.c.serial.in_([row["serial"] for row in gone]))


def certificates_ended(tenant: str, before: int) -> Sweep:
    """Return the certificates of `tenant` that ended before `before`, each with its entry among the revoked."""
    c = certificates.c
    old = and_(c.tenant == tenant, c.valid_before < before)
    # An open session rests on its certificate's record: without it, no revocation would find the session.
    in_use = exists().where(logins.c.serial == c.serial, logins.c.ended_at.is_(None))
    ended = and_(c.valid_before < before, ~in_use)
    return Sweep("certificates", certificates, (c.valid_before, c.id), ended, old, _revoked_rows)


def logins_ended(tenant: str, before: int) -> Sweep:
    """Return the logins of `tenant` whose sessions ended before `before`."""
    c = logins.c
    old = and_(c.tenant == tenant, c.ended_at < before)
    return Sweep("logins", logins, (c.ended_at, c.id), c.ended_at < before, old)


def logins_of_nobody(tenant: str, before: int) -> Sweep:
    """Return open logins, begun before `before`, on hosts that are no longer registered: nobody tells of their ends."""
    c = logins.c
    gone = ~exists().where(hosts.c.tenant == c.tenant, hosts.c.host == c.host)
    ended = and_(c.ended_at.is_(None), c.started_at < before, gone)
    return Sweep("logins", logins, (c.id,), ended, and_(c.tenant == tenant, c.ended_at.is_(None)))


def host_certificates_ended(tenant: str, before: int) -> Sweep:
    """Return the host certificates of `tenant` that ended before `before`, each with its entry among the revoked."""
    c = host_certificates.c
    old = and_(c.tenant == tenant, c.valid_before < before)
    return Sweep("host certificates", host_certificates, (c.valid_before, c.id), c.valid_before < before, old,
                 _revoked_rows)  # fmt: skip


def revocations_done(tenant: str, before: int) -> Sweep:
    """Return the revocations by serial, older than `before`, of certificates that are no longer on record.

    A revocation of anything else stands for ever: a user, client, host or key may come back.
    """
    c = revocations.c
    serial = cast(case((c.selector == Selector.SERIAL, c.value)), BigInteger)
    gone = and_(
        c.selector == Selector.SERIAL,
        c.created_at < before,
        ~exists().where(certificates.c.serial == serial),
        ~exists().where(revoked_certificates.c.serial == serial),
    )
    within = and_(c.tenant == tenant, c.selector == Selector.SERIAL)
    return Sweep("revocations", revocations, (c.revocation_id,), gone, within)


def delegations_ended(tenant: str, now: int) -> Sweep:
    """Return delegations and requests that ended ENDED_KEPT_DAYS ago, and that nothing on record rests on.

    A plain key or a reservation would go with its delegation, whenever it ends itself.
    """
    c = delegations.c
    end = case(
        (c.status == DelegationStatus.APPROVED, c.expires_at),
        (c.status == DelegationStatus.PENDING, c.pending_until),
        else_=c.decided_at,
    )
    unused = [
        ~exists().where(resting.c.tenant == c.tenant, resting.c.delegation_id == c.delegation_id)
        for resting in (certificates, public_keys, reservations)
    ]
    ended = and_(func.coalesce(end, now) < now - ENDED_KEPT_DAYS * DAY, *unused)
    return Sweep("delegations", delegations, (c.delegation_id,), ended, c.tenant == tenant)


def sessions_ended(now: int) -> Sweep:
    """Return sessions that ended SECRETS_KEPT_DAYS ago."""
    c = sessions.c
    ended = c.expires_at < now - SECRETS_KEPT_DAYS * DAY
    return Sweep("sessions", sessions, (c.expires_at, c.digest), ended, ended)


def credentials_ended(now: int) -> Sweep:
    """Return secrets that ended SECRETS_KEPT_DAYS ago; most have no end."""
    c = credentials.c
    ended = c.expires_at < now - SECRETS_KEPT_DAYS * DAY
    return Sweep("credentials", credentials, (c.expires_at, c.digest), ended, ended)


def join_tokens_ended(now: int) -> Sweep:
    """Return join tokens that ended SECRETS_KEPT_DAYS ago."""
    c = join_tokens.c
    ended = c.expires_at < now - SECRETS_KEPT_DAYS * DAY
    return Sweep("join tokens", join_tokens, (c.expires_at, c.digest), ended, ended)


def public_keys_ended(now: int) -> Sweep:
    """Return escrowed public keys that ended ENDED_KEPT_DAYS ago, but for those with an open session."""
    c, by = public_keys.c, logins.c
    old = c.expires_at < now - ENDED_KEPT_DAYS * DAY
    in_use = exists().where(
        by.serial == NO_CERTIFICATE,
        by.ended_at.is_(None),
        by.tenant == c.tenant,
        by.public_key_fingerprint == c.fingerprint,
    )
    ended = and_(old, ~in_use)
    return Sweep("public keys", public_keys, (c.expires_at, c.tenant, c.fingerprint), ended, old)


def reservations_ended(now: int) -> Sweep:
    """Return reservations that ended ENDED_KEPT_DAYS ago."""
    c = reservations.c
    ended = c.expires_at < now - ENDED_KEPT_DAYS * DAY
    return Sweep("reservations", reservations, (c.expires_at, c.tenant, c.reservation_id), ended, ended)


def sightings_old(now: int) -> Sweep:
    """Return since when machines have had KRLs, where that was noted SIGHTINGS_KEPT_DAYS ago."""
    c = krl_sightings.c
    old = c.first_ms < (now - SIGHTINGS_KEPT_DAYS * DAY) * 1000
    return Sweep("KRL sightings", krl_sightings, (c.first_ms, c.tenant, c.host, c.node, c.krl_version), old, old)


def numbers_of_nothing() -> Sweep:
    """Return numbers of the TMS wire API whose thing is gone with what it rested on.

    Not those of addresses, which are deleted one by one, or with their tenant and its numbers.
    """
    c = tms_v1_numbers.c
    things: dict[NumberOf, ColumnElement[bool]] = {
        NumberOf.CLIENT: exists().where(clients.c.tenant == c.tenant, clients.c.client_id == c.name),
        NumberOf.MFA: exists().where(
            users.c.tenant == c.tenant, users.c.user == c.name, users.c.mfa_until.is_not(None)
        ),
        NumberOf.LINK: exists().where(account_links.c.tenant == c.tenant, account_links.c.link_id == c.name),
        NumberOf.DELEGATION: exists().where(delegations.c.tenant == c.tenant, delegations.c.delegation_id == c.name),
        NumberOf.KEY: exists().where(public_keys.c.tenant == c.tenant, public_keys.c.fingerprint == c.name),
        NumberOf.RESERVATION: exists().where(
            reservations.c.tenant == c.tenant, reservations.c.reservation_id == c.name
        ),
        NumberOf.TENANT: (c.tenant != ALL_TENANTS) | exists().where(tenants.c.tenant == c.name),
    }
    gone = or_(*(and_(c.kind == kind, ~there) for kind, there in things.items()))
    return Sweep("numbers", tms_v1_numbers, (c.number,), gone)


def throttles_done() -> Sweep:
    """Return counts of failures that were forgotten, and those of users that do not exist.

    A count of failures of a user stays, however old: it is what bounds guessing.
    """
    c = throttles.c
    user = func.substr(c.subject, _colon(c.subject) + 1)
    nobody = ~exists().where(users.c.tenant == c.tenant, users.c.user == user)
    return Sweep("throttles", throttles, (c.tenant, c.subject), or_(c.failures == 0, nobody))


def _colon(text: ColumnElement[str]) -> ColumnElement[int]:
    """Return where the factor ends that stands before the name of a user."""
    return case((text.like("totp:%"), 5), (text.like("password:%"), 9), else_=0)
