"""Addresses of hosts that admins note through the TMS wire API. Nothing reads them for a decision."""

import json

from sqlalchemy.exc import IntegrityError

from tms_ca.core.errors import Conflict, NotFound
from tms_ca.core.model import Caller
from tms_ca.services.clock import Clock
from tms_ca.services.journal import event
from tms_ca.services.tms_v1_numbers import NumberOf
from tms_ca.store import grants, tms_v1
from tms_ca.store.engine import Database
from tms_ca.store.grants import HostAddress


class HostAddresses:
    """Noted, forgotten; a host may have any number of them."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def named(self, tenant: str, name: str) -> HostAddress:
        """Return the one that numbers know by `name`.

        Raises:
            NotFound: it is gone

        """
        host, addr = json.loads(name)
        async with self._database.read() as connection:
            found = await grants.address_of(connection, tenant, host, addr)
        if found is None:
            raise NotFound("reference_unknown", f"no address {addr!r} of the host {host!r} is noted")
        return found

    async def add(self, caller: Caller, tenant: str, host: str, addr: str) -> HostAddress:
        """Note an address.

        Raises:
            Conflict: it is noted already
            NotFound: the tenant went meanwhile

        """
        made = HostAddress(tenant, host, addr, self._clock.now())
        try:
            async with self._database.change(tenant) as transaction:
                if await grants.address_of(transaction.connection, tenant, host, addr) is not None:
                    raise Conflict("exists", f"the address {addr!r} of the host {host!r} is noted already")
                await grants.put_address(transaction.connection, made)
                await tms_v1.numbers(transaction.connection, tenant, NumberOf.HOST, [number_name(made)])
                transaction.record(event(self._clock, caller, tenant, "host-addresses.create", host, address=addr))
        except IntegrityError as error:
            raise NotFound("tenant_unknown", f"there is no tenant {tenant!r}") from error
        return made

    async def remove(self, caller: Caller, tenant: str, host: str, addr: str) -> bool:
        """Forget an address; False where none is noted."""
        async with self._database.change(tenant) as transaction:
            connection = transaction.connection
            gone = await grants.remove_address(connection, tenant, host, addr)
            if gone:
                name = number_name(HostAddress(tenant, host, addr, 0))
                await tms_v1.forget(connection, tenant, NumberOf.HOST, name)
                transaction.record(event(self._clock, caller, tenant, "host-addresses.delete", host, address=addr))
        return gone


def number_name(noted: HostAddress) -> str:
    """Return by what numbers know it."""
    return json.dumps([noted.host, noted.addr])
