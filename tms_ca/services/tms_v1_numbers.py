"""Numbers and times of change that only the TMS wire API shows."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from tms_ca.services.clock import Clock
from tms_ca.store import tms_v1
from tms_ca.store.engine import Database
from tms_ca.store.tms_v1 import Number


class NumberOf(StrEnum):
    """What has a number; a name is what identifies it within its tenant here."""

    TENANT = "tenant"  # its own name
    CLIENT = "client"  # client_id
    MFA = "mfa"  # user
    LINK = "link"  # link_id
    DELEGATION = "delegation"  # delegation_id
    HOST = "host"  # host and addr, as a JSON list
    KEY = "key"  # fingerprint
    RESERVATION = "reservation"  # reservation_id


class TmsV1Numbers:
    """See store.tms_v1."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def of(self, tenant: str, kind: NumberOf, names: Sequence[str]) -> Mapping[str, Number]:
        """Return the number of each of `names`."""
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

    async def touch(self, tenant: str, kind: NumberOf, name: str) -> None:
        """Note that a thing was changed now."""
        async with self._database.transaction() as transaction:
            await tms_v1.touch(transaction.connection, tenant, kind, name, self._clock.now())

    async def forget(self, tenant: str, kind: NumberOf, name: str) -> None:
        """Take a number back, of what was deleted."""
        async with self._database.transaction() as transaction:
            await tms_v1.forget(transaction.connection, tenant, kind, name)
