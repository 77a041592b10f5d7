"""Bring what an existing TMS server had into this service.

One tenant after the other is planned wholly, from one snapshot of the old database and one of ours, and then written
in transactions of some hundred rows with their audit events. A row is written with all that belongs to it or not at
all, and what is here already is left alone: a run that was killed is simply repeated.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.exc import IntegrityError

from tms_ca.core.errors import Conflict
from tms_ca.core.model import ALL_TENANTS, Caller
from tms_ca.core.names import valid_tenant
from tms_ca.services.clock import Clock
from tms_ca.services.directory import Directory, new_signers
from tms_ca.services.import_draft import Draft, Item, named
from tms_ca.services.import_grants import plan_address, plan_delegation, plan_link
from tms_ca.services.import_holders import digests_of, plan_admin, plan_client, plan_mfa
from tms_ca.services.import_keys import note_hosts_of_others, plan_key, plan_reservation
from tms_ca.services.import_report import Came, ImportReport, Remark
from tms_ca.services.journal import OK, event
from tms_ca.services.tenants import CA_ALGORITHM
from tms_ca.services.tms_v1_numbers import NumberOf
from tms_ca.store import imports, rows, tms_v1
from tms_ca.store.engine import Database
from tms_ca.store.imports import HereHost, Kept
from tms_ca.store.tms_source_rows import TABLES, OldReservation, OldTenant, Source

AT_ONCE = 500  # rows in one transaction: it must end before others wait for long
_PLANS: dict[str, Any] = {
    "admin": plan_admin,
    "clients": plan_client,
    "user_mfa": plan_mfa,
    "user_hosts": plan_link,
    "delegations": plan_delegation,
    "pubkeys": plan_key,
    "reservations": plan_reservation,
    "hosts": plan_address,
}


class Importing:
    """Imports an old database."""

    def __init__(self, database: Database, directory: Directory, clock: Clock) -> None:
        self._database = database
        self._directory = directory
        self._clock = clock

    async def run(
        self, caller: Caller, source: Source, tenants: Sequence[str] = (), adopted: Sequence[str] = (), *, dry_run: bool
    ) -> ImportReport:  # fmt: skip
        """Import every tenant of `source`, or those of `tenants` alone; `dry_run` only says what would be.

        Of `adopted` clients somebody says that those of that name that are here are the old server's.

        Raises:
            Conflict: somebody made the same things meanwhile; whatever was reported is here, repeat the import

        """
        report = ImportReport(source.version, dry_run)
        self._count(report, source, tenants)
        kept = (row.id for table in TABLES for row in source.rows[table])
        highest = max((one for one in kept if one <= imports.HIGHEST_KEPT), default=0)
        belonging = _by_tenant(source)
        async with self._database.read() as connection:
            hosts = await imports.hosts_everywhere(connection)
        drafts: list[Draft] = []
        for tenant in source.rows["tenants"]:
            if tenants and tenant.tenant not in tenants:
                continue
            draft = await self._plan(report, belonging[tenant.tenant], tenant, hosts, frozenset(adopted))
            drafts.append(draft)
            if not dry_run:
                try:
                    await self._write(caller, tenant, draft, highest)
                except IntegrityError as error:
                    raise Conflict(
                        "import_raced",
                        f"somebody made the same things in tenant {draft.tenant!r} meanwhile; "
                        "nothing is half done: repeat the import",
                    ) from error
        note_hosts_of_others(drafts, hosts)
        return report

    def _count(self, report: ImportReport, source: Source, tenants: Sequence[str]) -> None:
        """Count every row, and name those that belong to no tenant that can come."""
        known = {one.tenant for one in source.rows["tenants"] if valid_tenant(one.tenant)}
        for table in TABLES:
            for row in source.rows[table]:
                if tenants and row.tenant not in tenants:
                    continue
                report.tables[table].found += 1
                if row.tenant not in known:
                    reason = _of_no_tenant(row.tenant)
                    report.tables[table].left += 1
                    report.remarks.append(Remark(Came.NOT, table, row.id, row.tenant, _name(row), reason))
        for one in source.unreadable:
            if tenants and one.tenant not in tenants:
                continue
            tally = report.tables[one.table]
            tally.found, tally.left = tally.found + 1, tally.left + 1
            reason = f"{one.why}; mend it on the old server"
            report.remarks.append(Remark(Came.NOT, one.table, one.id, one.tenant, f"id={one.id}", reason))

    async def _plan(
        self,
        report: ImportReport,
        of_table: Mapping[str, list[Any]],
        tenant: OldTenant,
        hosts: Sequence[HereHost],
        adopted: frozenset[str],
    ) -> Draft:
        name = str(tenant.tenant)
        async with self._database.read() as connection:
            epoch = await imports.epoch(connection, name)  # first: whatever changes from here on is looked at again
            here = await imports.here(connection, name)
            numbers = await imports.numbers_shown(connection)
            own = (await tms_v1.known(connection, ALL_TENANTS, NumberOf.TENANT, [name])).get(name)
            taken = await imports.known_digests(connection, digests_of(of_table["admin"] + of_table["clients"]))
        now = self._clock.now()
        elsewhere = {one.host for one in hosts if one.tenant != name}
        begun: dict[str, int] = {}
        for link in of_table["user_hosts"]:
            begun[link.host] = min(link.created, now, begun.get(link.host, now))
        draft = Draft(name, now, here, report, numbers, taken, elsewhere, begun, adopted, imports.stood(here), epoch)
        if not valid_tenant(name):
            return draft
        if here.enabled is None:
            draft.comes("tenants", tenant, NumberOf.TENANT, name, [], [], named(tenant=name))
        else:
            words = {True: "enabled", False: "disabled"}
            differs = f"is {words[tenant.enabled]} on the old server, {words[here.enabled]} here"
            same = here.enabled is tenant.enabled
            draft.is_here("tenants", tenant, named(tenant=name), [] if same else [differs])
            if own is None or own.number != tenant.id:
                draft.renumbered = draft.kept("tenants", tenant, NumberOf.TENANT, name, named(tenant=name))
        of_table["reservations"].sort(key=_parents_first)
        for table, plan in _PLANS.items():
            for row in of_table[table]:
                plan(draft, row)
        return draft

    async def _write(self, caller: Caller, tenant: OldTenant, draft: Draft, highest: int) -> None:
        items = draft.items
        if draft.here.enabled is None and items:
            await self._make_tenant(caller, tenant, items[0], highest)
            items = items[1:]
        if draft.renumbered is not None:
            async with self._database.change(draft.tenant) as transaction:
                await tms_v1.forget(transaction.connection, ALL_TENANTS, NumberOf.TENANT, draft.tenant)
                await imports.keep_numbers(transaction.connection, ALL_TENANTS, [draft.renumbered], highest)
        for at in range(0, len(items), AT_ONCE):
            await self._write_some(caller, draft, items[at : at + AT_ONCE], highest)

    async def _make_tenant(self, caller: Caller, old: OldTenant, item: Item, highest: int) -> None:
        name = str(old.tenant)
        signers = new_signers(CA_ALGORITHM)
        async with self._database.change(name) as transaction:
            await self._directory.create_tenant_in(transaction, caller, name, signers)
            await rows.TENANTS.update(
                transaction.connection, (name,), enabled=old.enabled, created_at=old.created
            )  # fmt: skip
            await imports.keep_numbers(transaction.connection, ALL_TENANTS, _kept([item]), highest)

    async def _write_some(self, caller: Caller, draft: Draft, items: Sequence[Item], highest: int) -> None:
        tenant = draft.tenant
        async with self._database.change(tenant, look=True) as transaction:
            if transaction.before != draft.epoch:
                now = imports.stood(await imports.here(transaction.connection, tenant))
                if not draft.stood.stands(now, draft.here.keys):
                    raise Conflict(
                        "import_raced",
                        f"somebody took something back in tenant {tenant!r} meanwhile; nothing is half done: "
                        "repeat the import",
                    )
            draft.epoch = await imports.epoch(transaction.connection, tenant)
            await imports.insert_rows(transaction.connection, [row for item in items for row in item.rows])
            await imports.keep_numbers(transaction.connection, tenant, _kept(items), highest)
            for item in items:
                for deed in item.deeds:
                    transaction.record(event(self._clock, caller, tenant, deed.action, deed.target, OK, **deed.detail))


def _of_no_tenant(tenant: str | None) -> str:
    if tenant is None:
        return "it belongs to no tenant; the old server never shows it to anybody"
    if valid_tenant(tenant):
        return "its tenant has not come; see tenants"
    return (
        f"{tenant[:100]!r} cannot be the name of a tenant here (lower-case letters, digits and hyphens); rename it on "
        "the old server, which renames it in every row: UPDATE tms.tenants"
    )


def _by_tenant(source: Source) -> Mapping[str | None, Mapping[str, list[Any]]]:
    """Return the rows of each table, by tenant."""
    found: dict[str | None, dict[str, list[Any]]] = defaultdict(lambda: {table: [] for table in _PLANS})
    for table in _PLANS:
        for row in source.rows[table]:
            found[row.tenant][table].append(row)
    return found


def _kept(items: Sequence[Item]) -> list[Kept]:
    return [item.kept for item in items if item.kept is not None]


def _parents_first(row: OldReservation) -> tuple[bool, int]:
    return row.parent_resid != row.resid, row.id


def _name(row: Any) -> str:
    for names in (
        ("public_key_fingerprint", "host"), ("resid",), ("client_id", "client_user_id"), ("client_id",),
        ("admin_user",), ("tms_user_id", "host"), ("tms_user_id",), ("host",), ("tenant",),
    ):  # fmt: skip
        if all(hasattr(row, name) for name in names):
            return named(**{name: getattr(row, name) for name in names})
    return named(id=row.id)
