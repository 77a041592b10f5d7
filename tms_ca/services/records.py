"""Read certificates and revocations."""

from collections.abc import Mapping, Sequence

from tms_ca.core.errors import NotFound
from tms_ca.core.model import Caller, CertificateRecord, Login, Revocation, Selector
from tms_ca.services.directory import own_filter
from tms_ca.store import logins, revocations, rows
from tms_ca.store.engine import Database


class Records:
    """What was issued and what was revoked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def certificate(self, caller: Caller, own: str, tenant: str, serial: int) -> CertificateRecord:
        """Return one that the caller may see; `own` is the column that makes it theirs.

        Raises:
            NotFound: there is none, or it is another's

        """
        which = revocations.selected(Selector.SERIAL, str(serial))
        async with self._database.read() as connection:
            found = await revocations.find_certificate(connection, tenant, which)
        if found is None or any(getattr(found, name) != value for name, value in own_filter(caller, own).items()):
            raise NotFound("certificate_unknown", f"there is no certificate {serial} that you may see")
        return found

    async def certificates(
        self, caller: Caller, own: str, tenant: str, filters: Mapping[str, object], before: int | None, limit: int
    ) -> tuple[list[CertificateRecord], int | None]:
        """Return a page, newest first."""
        async with self._database.read() as connection:
            return await revocations.certificate_page(
                connection, tenant, {**filters, **own_filter(caller, own)}, before, limit
            )

    async def logins(
        self, caller: Caller, own: str, tenant: str, filters: Mapping[str, object], before: int | None, limit: int
    ) -> tuple[list[Login], int | None]:
        """Return a page of logins, newest first."""
        async with self._database.read() as connection:
            return await logins.page(connection, tenant, {**filters, **own_filter(caller, own)}, before, limit)

    async def revocations(
        self, tenant: str, filters: Mapping[str, object], after: Sequence[object] | None, limit: int
    ) -> tuple[list[Revocation], list[object] | None]:
        """Return a page of revocations."""
        async with self._database.read() as connection:
            return await rows.REVOCATIONS.page(connection, {"tenant": tenant, **filters}, after, limit)
