"""The whole numbers by which the TMS wire API names things, given when a thing is first shown."""

from collections.abc import Mapping, Sequence

from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.record import record
from tms_ca.store.parts import parts
from tms_ca.store.tables import tms_v1_numbers
from tms_ca.store.upsert import insert_into

_N = tms_v1_numbers.c
_SHOWN = func.coalesce(_N.kept, _N.number)


@record
class Number:
    """A thing's number, and when the wire API last changed it; None: not since it was made."""

    number: int
    updated_at: int | None


async def numbers(
    connection: AsyncConnection, tenant: str, kind: str, names: Sequence[str]
) -> Mapping[str, Number]:  # fmt: skip
    """Return the number of each of `names`; those that have none get one, in the order given."""
    found = await known(connection, tenant, kind, names)
    fresh = [name for name in dict.fromkeys(names) if name not in found]
    if fresh:
        values = [{"tenant": tenant, "kind": kind, "name": name} for name in fresh]
        await connection.execute(insert_into(connection, tms_v1_numbers).on_conflict_do_nothing(), values)
        found |= await known(connection, tenant, kind, fresh)
    return found


async def known(connection: AsyncConnection, tenant: str, kind: str, names: Sequence[str]) -> dict[str, Number]:
    """Return the number of each of `names` that has one."""
    found: dict[str, Number] = {}
    for some in parts(names):
        query = select(_N.name, _SHOWN.label("number"), _N.updated_at).where(
            _N.tenant == tenant, _N.kind == kind, _N.name.in_(some)
        )
        found |= {row.name: Number(row.number, row.updated_at) for row in await connection.execute(query)}
    return found


async def name_of(connection: AsyncConnection, tenant: str, kind: str, number: int) -> str | None:
    """Return whose number it is in the tenant."""
    shown = or_(_N.kept == number, and_(_N.number == number, _N.kept.is_(None)))
    query = select(_N.name).where(_N.tenant == tenant, _N.kind == kind, shown)
    found: str | None = (await connection.execute(query)).scalar_one_or_none()
    return found


async def touch(connection: AsyncConnection, tenant: str, kind: str, name: str, now: int) -> None:
    """Note that a thing was changed."""
    await numbers(connection, tenant, kind, [name])
    await connection.execute(
        update(tms_v1_numbers)
        .where(_N.tenant == tenant, _N.kind == kind, _N.name == name)
        .values(updated_at=now)
    )  # fmt: skip


async def forget(connection: AsyncConnection, tenant: str, kind: str, *names: str) -> None:
    """Take numbers back: what is made anew under an old name has a new one."""
    await connection.execute(delete(tms_v1_numbers).where(_N.tenant == tenant, _N.kind == kind, _N.name.in_(names)))
