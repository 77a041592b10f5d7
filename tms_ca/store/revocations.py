"""Revocations: what they end, and what a KRL must list."""

import re
from collections.abc import Mapping, Sequence

from sqlalchemy import BigInteger, ColumnElement, and_, exists, false, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.model import CertificateRecord, Selector
from tms_ca.store import pages, rows
from tms_ca.store.counts import grown
from tms_ca.store.parts import parts
from tms_ca.store.tables import certificates, clients, hosts, krls, revoked_certificates, tenants, users

MARKED = {Selector.USER: users.c.user, Selector.CLIENT: clients.c.client_id, Selector.HOST: hosts.c.host}

_NEWEST_FIRST = pages.Order(("id",), (("delegation_id",), ("user",), ("host",), ("client_id",)), descending=True)

Which = ColumnElement[bool] | Sequence[int]  # a condition on certificates, or their serials
_WINDOW = 20_000  # rows in one statement that searches, some 10 ms; from a cold disk well within the time for an answer
NEWEST = 2**63 - 1  # below it is every row
_SERIALS = 5000  # in one statement
_USER_IN_KEY_ID = re.compile(r"^t=[^;]*;c=[^;]*;u=([^;]*);r=")

_CERTIFICATE_COLUMN = {
    Selector.KEY_ID: certificates.c.key_id,
    Selector.PUBLIC_KEY: certificates.c.public_key_fingerprint,
    Selector.USER: certificates.c.user,
    Selector.CLIENT: certificates.c.client_id,
    Selector.DELEGATION: certificates.c.delegation_id,
    Selector.HOST: certificates.c.host,
    Selector.CA_KEY: certificates.c.ca_fingerprint,
}


def selected(selector: Selector, value: str) -> ColumnElement[bool]:
    """Return the condition on `certificates` that `selector` names."""
    if selector is Selector.SERIAL:
        return certificates.c.serial == int(value)
    which = _CERTIFICATE_COLUMN[selector] == value
    if selector is Selector.KEY_ID:
        # Its user stands in it (services.issuance), and a user's certificates have an index.
        found = _USER_IN_KEY_ID.search(value)
        return false() if found is None else which & (certificates.c.user == found[1])
    return which


async def serials(connection: AsyncConnection, tenant: str, which: ColumnElement[bool], now: int) -> list[int]:
    """Return the serials of what `which` selects of `tenant` and has not ended, revoked or not."""
    query = select(certificates.c.serial).where(
        certificates.c.tenant == tenant, which, certificates.c.valid_before > now
    )
    return list((await connection.execute(query)).scalars())


async def serials_of_key(
    connection: AsyncConnection, tenant: str, fingerprint: str, after: int
) -> tuple[list[int], int | None]:
    """Return what is not revoked of the public key's certificates among those that end next after `after`.

    And the time to go on from; None where these were the last.
    """
    c = certificates.c
    ahead = and_(c.tenant == tenant, c.valid_before > after)
    edge = select(c.valid_before).where(ahead).order_by(c.valid_before).offset(_WINDOW - 1).limit(1)
    until: int | None = (await connection.execute(edge)).scalar_one_or_none()
    if until is not None:
        ahead = and_(ahead, c.valid_before <= until)
    query = (
        select(c.serial)
        .where(ahead, c.public_key_fingerprint == fingerprint)
        .where(~exists().where(revoked_certificates.c.serial == c.serial))
    )
    return list((await connection.execute(query)).scalars()), until


async def key_among(
    connection: AsyncConnection, tenant: str, whose: ColumnElement[bool], fingerprint: str, before: int
) -> tuple[bool, int | None]:
    """Tell whether the public key has a certificate among the newest below row `before` of those that `whose` selects.

    And the row to go on from; None where these were the last.
    """
    c = certificates.c
    newest = select(c.id, c.public_key_fingerprint).where(c.tenant == tenant, whose, c.id < before)
    seen = newest.order_by(c.id.desc()).limit(_WINDOW).subquery()
    found, number, oldest = (
        await connection.execute(
            select(func.count().filter(seen.c.public_key_fingerprint == fingerprint), func.count(), func.min(seen.c.id))
        )
    ).one()
    return bool(found), oldest if number == _WINDOW else None


async def end_certificates(connection: AsyncConnection, tenant: str, which: Which, revocation_id: str, now: int) -> int:
    """Revoke, for good, every certificate of `tenant` that `which` selects and that has not ended; return how many."""
    # The number is taken first: whoever waits for this row reads what it covers only once it is there.
    counted = update(krls).where(krls.c.tenant == tenant).values(wanted=grown(krls.c.wanted)).returning(krls.c.wanted)
    change = (await connection.execute(counted)).scalar_one_or_none()
    if change is None:  # no such tenant, such as the one of operators
        return 0
    fresh = (
        select(
            certificates.c.serial,
            certificates.c.tenant,
            certificates.c.ca_fingerprint,
            certificates.c.valid_before,
            literal(revocation_id),
            literal(change, BigInteger()),
        )
        .where(certificates.c.tenant == tenant, certificates.c.valid_before > now)
        .where(~exists().where(revoked_certificates.c.serial == certificates.c.serial))
    )
    names = ["serial", "tenant", "ca_fingerprint", "valid_before", "revocation_id", "change"]
    serials = certificates.c.serial
    for condition in [which] if isinstance(which, ColumnElement) else map(serials.in_, parts(which, _SERIALS)):
        await connection.execute(insert(revoked_certificates).from_select(names, fresh.where(condition)))
    count = (
        select(func.count())
        .select_from(revoked_certificates)
        .where(revoked_certificates.c.tenant == tenant, revoked_certificates.c.change == change)
    )
    return int((await connection.execute(count)).scalar_one())


async def mark(
    connection: AsyncConnection, tenant: str, selector: Selector, value: str, revocation_id: str | None
) -> bool:
    """Set or clear the standing revocation of a user, client or host; False when there is no such thing."""
    column = MARKED[selector]
    result = await connection.execute(
        update(column.table).where(column.table.c.tenant == tenant, column == value).values(revocation_id=revocation_id)
    )
    return result.rowcount == 1


async def standing_id(connection: AsyncConnection, tenant: str, selector: Selector, value: str) -> str | None:
    """Return the revocation of `value` that has not been lifted."""
    table = rows.REVOCATIONS.table
    query = (
        select(table.c.revocation_id)
        .where(table.c.tenant == tenant, table.c.selector == selector, table.c.value == value)
        .where(table.c.lifted_at.is_(None))
        .limit(1)
    )
    found: str | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def find_certificate(
    connection: AsyncConnection, tenant: str, which: ColumnElement[bool]
) -> CertificateRecord | None:
    """Return one certificate that `which` selects."""
    row = (await connection.execute(_with_revocation(tenant).where(which).limit(1))).first()
    return None if row is None else rows.certificate_record(row)


async def certificate_page(
    connection: AsyncConnection, tenant: str, filters: Mapping[str, object], before: int | None, limit: int
) -> tuple[list[CertificateRecord], int | None]:
    """Return certificates, newest first, from below row `before`; and the row to go on from."""
    found, following = await pages.page(
        connection,
        _with_revocation(tenant),
        certificates,
        _NEWEST_FIRST,
        {"tenant": tenant},
        filters,
        None if before is None else [before],
        limit,
    )
    return [rows.certificate_record(row) for row in found], None if following is None else int(str(following[0]))


def _with_revocation(tenant: str):  # type: ignore[no-untyped-def] # noqa: ANN202 - a Select of many columns
    joined = certificates.outerjoin(
        revoked_certificates,
        and_(
            revoked_certificates.c.serial == certificates.c.serial,
            revoked_certificates.c.tenant == certificates.c.tenant,
        ),
    )
    return (
        select(certificates, revoked_certificates.c.revocation_id)
        .select_from(joined)
        .where(certificates.c.tenant == tenant)
    )


async def new_krl_row(connection: AsyncConnection, tenant: str) -> None:
    """Insert the row of a new tenant: version 0, never built; changes are counted from the tenant's epoch on.

    What a process remembers of a tenant that had the same name before is then never taken for this one's.
    """
    epoch = select(tenants.c.epoch).where(tenants.c.tenant == tenant).scalar_subquery()
    await connection.execute(
        insert(krls).values(
            tenant=tenant, version=0, changes=-1, wanted=epoch, content=b"", generated_at=0, stale_at=0, blob=b""
        )
    )
