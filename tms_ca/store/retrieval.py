"""Which tenant a host's name stands for, where whoever asks names no tenant."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, Text, bindparam, or_, select

from tms_ca.core.record import record
from tms_ca.store.hot import HotDriver, Prepared
from tms_ca.store.tables import hosts, public_keys, tenants


@record
class Where:
    """The tenant of a host, its count of changes, and whether it has the key at all."""

    tenant: str
    epoch: int
    has_key: bool


def _where(among: Sequence[str]) -> Select[Any]:
    h, k = hosts.c, public_keys.c
    key = select(k.fingerprint).where(k.tenant == h.tenant, k.fingerprint == bindparam("fingerprint", type_=Text()))
    query = (
        select(h.tenant, tenants.c.epoch, key.exists())
        .select_from(hosts.join(tenants, tenants.c.tenant == h.tenant))
        .where(h.host == bindparam("host", type_=Text()))
    )
    if among:
        query = query.where(or_(*(h.tenant == name for name in among)))
    # The tenant that had the name first: one that takes the same name later takes nothing away from it.
    return query.order_by(h.created_at, h.tenant).limit(1)


class HostFinder:
    """Find hosts by name, in the tenants `among` (none: in all), in one round trip."""

    def __init__(self, driver: HotDriver, among: Sequence[str] = ()) -> None:
        self._driver = driver
        query = _where(among)
        self._oldest = Prepared(query, driver.dialect)
        self._own = Prepared(query.where(hosts.c.tenant == bindparam("tenant", type_=Text())), driver.dialect)

    async def get(self, host: str, fingerprint: str, tenant: str = "") -> Where | None:
        """Return where the host is, of the oldest row of its name unless `tenant` is said; None where nowhere.

        Raises:
            Unavailable: the database does not answer

        """
        prepared = self._own if tenant else self._oldest
        params = {"host": host, "fingerprint": fingerprint, "tenant": tenant}
        rows = await self._driver.fetch(prepared, prepared.args(params))
        return Where(rows[0][0], rows[0][1], bool(rows[0][2])) if rows else None
