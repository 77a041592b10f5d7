"""Clients as the TMS wire API registers them: under the name and version of an application, with a secret of its form.

They are clients like all others; this is what only that API can do with one.
"""

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.access import Role
from tms_ca.core.errors import Conflict, NotFound
from tms_ca.core.model import Caller
from tms_ca.services.clock import Clock
from tms_ca.services.ids import new_id, new_tms_secret, secret_digest
from tms_ca.services.journal import event
from tms_ca.services.shelved import add_in, remove_in, there, update_in
from tms_ca.services.tms_v1_numbers import NumberOf
from tms_ca.store import credentials, rows, tenants, tms_v1
from tms_ca.store.engine import Database, Transaction


class Registration:
    """Each deed is one transaction with its audit events."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(
        self, caller: Caller, tenant: str, client_id: str, app_name: str, app_version: str, *, enabled: bool
    ) -> str:
        """Register a client; return its secret.

        Raises:
            Conflict: there is one of this name, or of this application and version; or there was one of this name, and
                the caller is nobody
            NotFound: no such tenant

        """
        async with self._database.change(tenant) as transaction:
            there(rows.TENANTS, await rows.TENANTS.get(transaction.connection, tenant), tenant)
            values = {
                "client_id": client_id,
                "display_name": app_name,
                "enabled": enabled,
                "redirect_uris": [],
                "app_name": app_name,
                "app_version": app_version,
            }
            await self._app_is_free(transaction.connection, tenant, app_name, app_version)
            await self._is_new(transaction.connection, caller, tenant, client_id)
            app = f"{app_name} {app_version}"
            await add_in(transaction, self._clock, caller, rows.CLIENTS, tenant, values, app=app)
            return await add_tms_secret(transaction, self._clock, caller, Role.CLIENT, tenant, client_id)

    async def change(self, caller: Caller, tenant: str, client_id: str, **values: object) -> bool:
        """Change `app_version` or `enabled`; False where there is no such client.

        Raises:
            Conflict: there is another client of this application and version

        """
        async with self._database.change(tenant) as transaction:
            connection = transaction.connection
            before = await rows.CLIENTS.get(connection, tenant, client_id)
            if before is None:
                return False
            if "app_version" in values and values["app_version"] != before.app_version:
                await self._app_is_free(connection, tenant, before.app_name, str(values["app_version"]))
            await update_in(transaction, self._clock, caller, rows.CLIENTS, before, **values)
        return True

    async def rotate(self, caller: Caller, tenant: str, client_id: str) -> str:
        """Put a new secret in the place of every secret that a client has; return it.

        Raises:
            NotFound: no such client

        """
        async with self._database.change(tenant) as transaction:
            connection = transaction.connection
            there(rows.CLIENTS, await rows.CLIENTS.get(connection, tenant, client_id), client_id)
            for held in await credentials.held(connection, tenant, Role.CLIENT, client_id):
                await credentials.remove(connection, tenant, Role.CLIENT, client_id, held.credential_id)
                gone = {"credential": held.credential_id}
                transaction.record(event(self._clock, caller, tenant, "secrets.delete", f"client:{client_id}", **gone))
            await tms_v1.touch(connection, tenant, NumberOf.CLIENT, client_id, self._clock.now())
            return await add_tms_secret(transaction, self._clock, caller, Role.CLIENT, tenant, client_id)

    async def remove(self, caller: Caller, tenant: str, client_id: str) -> bool:
        """Delete a client with its delegations, keys and reservations; False where there is none.

        Its certificates are revoked.
        """
        async with self._database.change(tenant) as transaction:
            try:
                await remove_in(transaction, self._clock, caller, rows.CLIENTS, tenant, client_id)
            except NotFound:
                return False
        return True

    async def _is_new(self, connection: AsyncConnection, caller: Caller, tenant: str, client_id: str) -> None:
        """Return where somebody without a credential may register a client: it reads what its name has on record."""
        if caller.role is not Role.ANYONE or await rows.CLIENTS.get(connection, tenant, client_id) is not None:
            return
        if await tenants.client_has_history(connection, tenant, client_id):
            raise Conflict(
                "name_has_history",
                f"there was a client {client_id!r}, whose certificates and logins a new one would be given; an admin "
                "can register it",
            )

    async def _app_is_free(
        self, connection: AsyncConnection, tenant: str, app_name: str | None, app_version: str
    ) -> None:
        if app_name is not None and await tenants.client_of(connection, tenant, app_name, app_version) is not None:
            raise Conflict("exists", f"there is a client of the application {app_name!r} {app_version!r} already")


async def add_tms_secret(
    transaction: Transaction, clock: Clock, caller: Caller, role: Role, tenant: str, subject: str
) -> str:
    """Give a client or an admin a new secret of the TMS wire API's form, within a transaction; return it."""
    secret = new_tms_secret()
    await put_digest(transaction, clock, caller, role, tenant, subject, secret_digest(secret))
    return secret


async def put_digest(
    transaction: Transaction, clock: Clock, caller: Caller, role: Role, tenant: str, subject: str, digest: bytes
) -> None:
    """Keep what there is of a secret: SHA-256, or SHA-512 as a TMS server kept it.

    Raises:
        Conflict: another holder has the same secret

    """
    credential_id = new_id("sec")
    try:
        await credentials.add(transaction.connection, digest, credential_id, role, tenant, subject, clock.now())
    except IntegrityError as error:
        raise Conflict("exists", f"the secret of {role} {subject!r} is another's, too: give it a new one") from error
    transaction.record(
        event(clock, caller, tenant, "secrets.create", f"{role}:{subject}", credential=credential_id)
    )  # fmt: skip
