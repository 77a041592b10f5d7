"""Which tenant a host's name stands for, where whoever asks names no tenant."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Select, Text, bindparam, literal_column, or_, select, union_all

from tms_ca.core.record import record
from tms_ca.store.hot import HotDriver, Prepared
from tms_ca.store.tables import credentials, host_nodes, hosts, public_keys, tenants


@record
class Where:
    """The tenant of a host, its count of changes, and whether it has the key at all."""

    tenant: str
    epoch: int
    has_key: bool


def _where(among: Sequence[str], *, own: bool) -> CompoundSelect[Any]:
    """Return the best row, and perhaps the next best before or after it: `rank` says which it is.

    Each is the first of its kind by an index, where an ORDER BY on what is computed would sort.
    """
    h, k, c, n = hosts.c, public_keys.c, credentials.c, host_nodes.c
    key = select(k.fingerprint).where(k.tenant == h.tenant, k.fingerprint == bindparam("fingerprint", type_=Text()))
    secret = select(c.digest).where(c.tenant == h.tenant, c.role == literal_column("'host'"), c.subject == h.host)
    machine = select(n.node).where(n.tenant == h.tenant, n.host == h.host)

    def first(rank: str, *which: ColumnElement[bool]) -> Select[Any]:
        query = (
            select(h.tenant, tenants.c.epoch, key.exists().label("has_key"), literal_column(rank).label("rank"))
            .select_from(hosts.join(tenants, tenants.c.tenant == h.tenant))
            .where(h.host == bindparam("host", type_=Text()), *which)
        )
        if among:
            query = query.where(or_(*(h.tenant == name for name in among)))
        if own:
            query = query.where(h.tenant == bindparam("tenant", type_=Text()))
        # The tenant that had the name first: one that takes the same name later takes nothing away from it.
        return select(query.order_by(h.created_at, h.tenant).limit(literal_column("1")).subquery())

    # A name that an admin wrote down proves nothing; a host that was given a secret, or has said something, is there.
    return union_all(first("1", or_(secret.exists(), machine.exists())), first("0"))


class HostFinder:
    """Find hosts by name, in the tenants `among` (none: in all), in one round trip."""

    def __init__(self, driver: HotDriver, among: Sequence[str] = ()) -> None:
        self._driver = driver
        self._oldest = Prepared(_where(among, own=False), driver.dialect)
        self._own = Prepared(_where(among, own=True), driver.dialect)

    async def get(self, host: str, fingerprint: str, tenant: str = "") -> Where | None:
        """Return where the host is; None where nowhere.

        Unless `tenant` is said, it is the oldest row of its name that has proved to be a host, else the oldest.

        Raises:
            Unavailable: the database does not answer

        """
        prepared = self._own if tenant else self._oldest
        params = {"host": host, "fingerprint": fingerprint, "tenant": tenant}
        rows = await self._driver.fetch(prepared, prepared.args(params))
        if not rows:
            return None
        best = max(rows, key=itemgetter(3))
        return Where(best[0], best[1], bool(best[2]))
