"""Numbers and times of change that only the TMS wire API shows."""

from collections.abc import Mapping, Sequence

from tms_ca.core.tms_v1 import NumberOf
from tms_ca.store import tms_v1
from tms_ca.store.engine import Database
from tms_ca.store.tms_v1 import Number

__all__ = ["NumberOf", "TmsV1Numbers"]


class TmsV1Numbers:
    """See store.tms_v1."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, tenant: str, kind: NumberOf, names: Sequence[str]) -> Mapping[str, Number]:
        """Return the number of each of `names`, a few hundred at most: those that have none are written at once."""
        async with self._database.read() as connection:
            found = await tms_v1.known(connection, tenant, kind, names)
        fresh = [name for name in names if name not in found]
        if fresh:
            async with self._database.transaction() as transaction:
                found |= await tms_v1.numbers(transaction.connection, tenant, kind, fresh)
        return found

    async def name(self, tenant: str, kind: NumberOf, number: int) -> str | None:
        """Return whose number it is; None for nobody's."""
        async with self._database.read() as connection:
            return await tms_v1.name_of(connection, tenant, kind, number)
