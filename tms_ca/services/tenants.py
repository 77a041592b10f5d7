"""Tenants as the TMS wire API makes and ends them; /api/v1 never deletes one.

A tenant that is deleted takes everything with it but history: certificates, logins and audit events stay on record.
Its certificates stay refused, also where a tenant of the same name is made anew: their CA keys are gone with it, are
never made again, and no check trusts a CA key that its tenant does not have. A name that has such a history is made
anew by operators alone.
"""

from sqlalchemy import true

from tms_ca.core.access import Role
from tms_ca.core.errors import Conflict
from tms_ca.core.model import ALL_TENANTS, Caller
from tms_ca.services.clock import Clock
from tms_ca.services.directory import Directory, new_signers
from tms_ca.services.journal import OK, event
from tms_ca.services.registration import add_tms_secret
from tms_ca.services.shelved import add_in, update_in
from tms_ca.services.tms_v1_numbers import NumberOf
from tms_ca.store import revocations, rows, tenants, tms_v1
from tms_ca.store.engine import Database, Transaction

FIRST_ADMIN = "~~admin"
FOUNDATION = "default"  # whose admins make tenants: it is never deleted
CA_ALGORITHM = "ed25519"


class Tenants:
    """Each deed is one transaction with its audit events."""

    def __init__(self, database: Database, directory: Directory, clock: Clock) -> None:
        self._database = database
        self._directory = directory
        self._clock = clock

    async def create(self, caller: Caller, tenant: str) -> str:
        """Make a tenant with CA keys and its admin FIRST_ADMIN; return the admin's secret.

        Raises:
            Conflict: there is one of this name; or there was, and the caller is no operator

        """
        signers = new_signers(CA_ALGORITHM)
        async with self._database.change(tenant) as transaction:
            await self._is_new(transaction, caller, tenant)
            await self._directory.create_tenant_in(transaction, caller, tenant, signers)
            values = {"admin_id": FIRST_ADMIN, "display_name": "", "enabled": True}
            await add_in(transaction, self._clock, caller, rows.ADMINS, tenant, values)
            return await add_tms_secret(transaction, self._clock, caller, Role.ADMIN, tenant, FIRST_ADMIN)

    async def _is_new(self, transaction: Transaction, caller: Caller, tenant: str) -> None:
        """Return where an admin may make a tenant: with its credentials, all that is on record of its name is read."""
        if caller.role is Role.OPERATOR or await rows.TENANTS.get(transaction.connection, tenant) is not None:
            return
        if await tenants.has_history(transaction.connection, tenant):
            raise Conflict(
                "name_has_history",
                f"there was a tenant {tenant!r}, whose certificates, logins and audit events a new one would be given; "
                f"an operator can make it: tms-ca tenants create {tenant}",
            )

    async def enable(self, caller: Caller, tenant: str, *, enabled: bool) -> bool:
        """Enable or disable a tenant; False where there is none."""
        async with self._database.change(tenant) as transaction:
            before = await rows.TENANTS.get(transaction.connection, tenant)
            if before is None:
                return False
            await update_in(transaction, self._clock, caller, rows.TENANTS, before, enabled=enabled)
        return True

    async def delete(self, caller: Caller, tenant: str) -> int:
        """Delete a tenant with nothing in it but admins; return how many rows those and it were, 0 where there is none.

        Raises:
            Conflict: something is in it, or it is FOUNDATION

        """
        _require_other(tenant)
        async with self._database.change(tenant) as transaction:
            connection = transaction.connection
            if await rows.TENANTS.get(connection, tenant) is None:
                return 0
            counts = await tenants.counts(connection, tenant)
            counts["hosts with a credential"] = await tenants.enrolled_hosts(connection, tenant)
            held = [f"{count} {name}" for name, count in counts.items() if count and name != "admins"]
            if held:
                raise Conflict(
                    "tenant_in_use", f"the tenant {tenant!r} still has {', '.join(held)}: delete them first, or wipe it"
                )
            await self._end(transaction, caller, tenant, "tenants.delete", {"admins": counts["admins"]})
        return counts["admins"] + 1

    async def wipe(self, caller: Caller, tenant: str) -> int:
        """Delete a tenant with everything in it; return how many rows of the old server's kinds, 0 where there is none.

        Raises:
            Conflict: it is FOUNDATION

        """
        _require_other(tenant)
        async with self._database.change(tenant) as transaction:
            connection = transaction.connection
            if await rows.TENANTS.get(connection, tenant) is None:
                return 0
            counts = await tenants.counts(connection, tenant)
            await self._end(transaction, caller, tenant, "tenants.wipe", counts)
        return sum(counts.values()) + 1

    async def _end(
        self, transaction: Transaction, caller: Caller, tenant: str, action: str, counts: dict[str, int]
    ) -> None:
        connection = transaction.connection
        # They go with the tenant; counted, so that the event says how many certificates were still good.
        ended = await revocations.end_certificates(connection, tenant, true(), "deleted:tenant", self._clock.now())
        await tenants.remove_loose(connection, tenant)
        await tms_v1.forget(connection, ALL_TENANTS, NumberOf.TENANT, tenant)
        await rows.TENANTS.remove(connection, tenant)
        detail: dict[str, object] = {**counts}
        transaction.record(event(self._clock, caller, tenant, action, tenant, OK, certificates=ended, **detail))


def _require_other(tenant: str) -> None:
    if tenant == FOUNDATION:
        raise Conflict("tenant_needed", f"the tenant {tenant!r} cannot be deleted: its admins make all others")
