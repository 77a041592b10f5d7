"""Where a tenant's trust stands, in one statement of the hot path: ten thousand hosts ask every half minute."""

from typing import NamedTuple

from sqlalchemy import bindparam, select

from tms_ca.store.hot import HotDriver, Prepared
from tms_ca.store.tables import krls, tenants

_STATE = (
    select(tenants.c.epoch, krls.c.version, krls.c.changes, krls.c.wanted, krls.c.stale_at)
    .select_from(tenants.join(krls, krls.c.tenant == tenants.c.tenant))
    .where(tenants.c.tenant == bindparam("of_tenant"))
)


class TrustState(NamedTuple):
    """The count of a tenant's changes, and how its KRL stands; see store.krls."""

    epoch: int
    krl_version: int
    changes: int
    wanted: int
    stale_at: int

    def krl_fresh(self, now: int) -> bool:
        """Tell whether the KRL in the database is the one of `now`."""
        return self.changes == self.wanted and now < self.stale_at


class TrustReader:
    """Read it."""

    def __init__(self, driver: HotDriver) -> None:
        self._driver = driver
        self._state = Prepared(_STATE, driver.dialect)

    async def state(self, tenant: str) -> TrustState | None:
        """Return how a tenant's trust stands now; None for no such tenant.

        Raises:
            Unavailable: the database does not answer

        """
        rows = await self._driver.fetch(self._state, self._state.args({"of_tenant": tenant}))
        return TrustState(*rows[0]) if rows else None
