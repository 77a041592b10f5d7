"""Pages of lists that cost the same wherever they are: a seek in an index, then as many rows as are shown.

An index serves a filter when it has the list's order behind the filter's columns. A filter that none serves is
applied within a window: one page looks at no more than WINDOW rows, so that it may have fewer than were asked for,
or none, and still a place to go on from.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, Text, and_, func, select, true, tuple_
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

WINDOW = 5000


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a list: its key, and the sets of filters that an index serves in this order, the best first."""

    key: tuple[str, ...]
    served: tuple[tuple[str, ...], ...] = ()
    descending: bool = False

    def driving(self, filters: Collection[str]) -> tuple[str, ...]:
        """Return which of `filters` the index is chosen by."""
        return next((names for names in self.served if set(names) <= set(filters)), ())


async def page(
    connection: AsyncConnection,
    query: Select[Any],
    table: Table,
    order: Order,
    fixed: Mapping[str, object],
    filters: Mapping[str, object],
    after: Sequence[object] | None,
    limit: int,
) -> tuple[Sequence[Row[Any]], list[object] | None]:
    """Return up to `limit` rows of `query` after the key `after`, in order, and the key to go on from.

    `fixed` are columns that every index begins with, such as the tenant; `table` is the one whose order it is.
    Keys have a value for each column of `order.key` that is not fixed.
    """
    columns = table.c
    chosen = order.driving(filters) or tuple(name for name in filters if name in order.key)
    lead = and_(
        true(), *(columns[name] == value for name, value in {**fixed, **{n: filters[n] for n in chosen}}.items())
    )
    rest = [name for name in filters if name not in chosen and name not in fixed]
    key = [columns[name] for name in order.key if name not in fixed]
    if after is not None:
        lead = and_(lead, tuple_(*key) < tuple_(*after) if order.descending else tuple_(*key) > tuple_(*after))
    ordered = [column.desc() for column in key] if order.descending else key
    until: list[object] | None = None
    if rest:
        edge = select(*key).where(lead).order_by(*ordered).offset(WINDOW - 1).limit(1)
        found = (await connection.execute(edge)).first()
        if found is not None:
            until = list(found)
            lead = and_(lead, tuple_(*key) >= tuple_(*until) if order.descending else tuple_(*key) <= tuple_(*until))
    # Wrapped, so that no index of the column itself looks better than the one with the order.
    narrowed = and_(lead, *(_unindexed(columns[name]) == filters[name] for name in rest))
    rows = (await connection.execute(query.where(narrowed).order_by(*ordered).limit(limit + 1))).all()
    if len(rows) > limit:
        last = rows[limit - 1]._mapping  # noqa: SLF001 - SQLAlchemy's documented name
        return rows[:limit], [last[column] for column in key]
    return rows, until


def _unindexed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(column, "") if isinstance(column.type, Text) else column
