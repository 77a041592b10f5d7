"""The tenant `test` of the TMS server, in which everybody knows a client's secret: made, enabled or disabled at start.

Several processes may start at once: whoever comes second finds it done.
"""

from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.access import Reach, Role
from tms_ca.core.errors import Conflict
from tms_ca.core.model import ALL_TENANTS, Caller
from tms_ca.core.times import LAST_SECOND
from tms_ca.services.clock import Clock
from tms_ca.services.directory import Directory, new_signers
from tms_ca.services.grants import Grants
from tms_ca.services.ids import secret_digest, tms_digest
from tms_ca.services.registration import add_tms_secret, put_digest
from tms_ca.services.shelved import add_in
from tms_ca.services.tenants import CA_ALGORITHM, FIRST_ADMIN
from tms_ca.store import credentials, rows, tms_v1
from tms_ca.store.engine import Database, Transaction

TENANT, CLIENT, SECRET = "test", "testclient1", "secret1"
USER, HOST, ACCOUNT = "testuser1", "testhost1", "testhostaccount1"
APP = {"app_name": "testapp1", "app_version": "1.0"}
_SEEDED = "seeded"  # the kind of number that says who made the tenant: it goes with the tenant, and no API shows it
_SELF = Caller(Role.OPERATOR, ALL_TENANTS, "tms_v1.test_tenant", Reach.ANY)


class SeededTenant:
    """See above."""

    def __init__(self, database: Database, directory: Directory, grants: Grants, clock: Clock) -> None:
        self._database = database
        self._directory = directory
        self._grants = grants
        self._clock = clock

    async def settle(self, *, wanted: bool) -> str:
        """Have the tenant as it is wanted; return a sentence where that cannot be.

        Not wanted, it is disabled where it was made here, whatever became of it since, or while the well-known secret
        is good in it, whoever made it.

        Raises:
            Unavailable: the database does not answer

        """
        async with self._database.read() as connection:
            found = await rows.TENANTS.get(connection, TENANT)
            known = await _made_here(connection) or await credentials.any_of(
                connection, TENANT, [tms_digest(SECRET), secret_digest(SECRET)]
            )
        if found is not None and not known:
            return f"there is a tenant {TENANT!r} already, and it is not the test tenant" if wanted else ""
        if found is not None:
            if found.enabled is not wanted:
                await self._directory.change(_SELF, rows.TENANTS, (TENANT,), enabled=wanted)
            return ""
        if not wanted:
            return ""
        signers = new_signers(CA_ALGORITHM)
        try:
            async with self._database.change(TENANT) as transaction:
                await self._directory.create_tenant_in(transaction, _SELF, TENANT, signers)
                await self._furnish(transaction)
        except Conflict as error:
            async with self._database.read() as connection:
                found = await rows.TENANTS.get(connection, TENANT)
            return "" if found is not None else f"the tenant {TENANT!r} cannot be made: {error.detail}"
        return ""

    async def made_here(self) -> bool:
        """Tell whether the tenant was made by `settle`."""
        async with self._database.read() as connection:
            return await _made_here(connection)

    async def is_everybody(self, caller: Caller) -> bool:
        """Tell whether a caller is the well-known client, which anybody can be."""
        who = (caller.role, caller.tenant, caller.id)
        return who == (Role.CLIENT, TENANT, CLIENT) and await self.made_here()

    async def _furnish(self, transaction: Transaction) -> None:
        """Make all that the old server's install made; nobody learns the admin's secret."""
        clock = self._clock
        await tms_v1.numbers(transaction.connection, TENANT, _SEEDED, [TENANT])
        admin = {"admin_id": FIRST_ADMIN, "display_name": "", "enabled": True}
        await add_in(transaction, clock, _SELF, rows.ADMINS, TENANT, admin)
        await add_tms_secret(transaction, clock, _SELF, Role.ADMIN, TENANT, FIRST_ADMIN)
        client = {"client_id": CLIENT, "display_name": APP["app_name"], "enabled": True, "redirect_uris": [], **APP}
        await add_in(transaction, clock, _SELF, rows.CLIENTS, TENANT, client)
        await put_digest(transaction, clock, _SELF, Role.CLIENT, TENANT, CLIENT, tms_digest(SECRET))
        await self._grants.assert_mfa_in(transaction, _SELF, TENANT, USER, LAST_SECOND)
        await self._grants.link_in(transaction, _SELF, TENANT, USER, HOST, ACCOUNT, LAST_SECOND)
        await self._grants.delegate_in(transaction, _SELF, TENANT, CLIENT, USER, LAST_SECOND)


async def _made_here(connection: AsyncConnection) -> bool:
    return bool(await tms_v1.known(connection, TENANT, _SEEDED, [TENANT]))
