"""The plan for one tenant: rows to insert with their events and numbers, and what is said of those that cannot come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table

from tms_ca.core.record import record
from tms_ca.core.times import LAST_SECOND
from tms_ca.services.import_report import Came, ImportReport, Remark
from tms_ca.services.tms_v1_numbers import NumberOf
from tms_ca.store.imports import HIGHEST_KEPT, Here, Kept, Stood
from tms_ca.store.tms_source_rows import OldKey, OldRow


@record
class Deed:
    """An audit event to be."""

    action: str
    target: str
    detail: dict[str, object]


@record
class Item:
    """One old row as it will be here: all of it is inserted in one transaction, or none."""

    rows: tuple[tuple[Table, Mapping[str, object]], ...]
    deeds: tuple[Deed, ...]
    kept: Kept | None


@dataclass(slots=True)
class Draft:
    """The plan for one tenant. `here` is what is there and, as the plan grows, what will be."""

    tenant: str
    now: int
    here: Here
    report: ImportReport
    numbers: dict[str, set[int]]  # that are shown for things of each kind
    taken: set[bytes]  # digests of the secrets that are here, in any tenant
    elsewhere: set[str]  # hosts that other tenants had before the import
    begun: dict[str, int]  # when each host was first linked on the old server
    adopted: frozenset[str]  # clients that are here and are the old server's, whatever tells against it
    stood: Stood  # what the plan relies on of what is here
    epoch: int | None  # of the tenant, at which that is known to stand
    items: list[Item] = field(default_factory=list)
    hosts: dict[str, int] = field(default_factory=dict)  # that the plan makes: since when they count as registered
    renumbered: Kept | None = None  # the tenant, where it is here under another number than it had
    keys: list[tuple[OldKey, str]] = field(default_factory=list)  # that come, with how they are named in the report
    clients: set[str] = field(default_factory=set)  # that come, or are here and are the old server's

    def mine(self) -> str:
        """Return what a remedy's command needs to be about this tenant."""
        return f" --tenant {self.tenant}"

    def absent(self, client_id: str | None, user: str) -> str:
        """Return why what rests on a client, where one is named, and a user cannot come; empty where it can.

        A user who is here without an admin's word on MFA is somebody whom no admin has vouched for here, and a client
        of that name need not be the old server's: neither is given anything that the old server had for the name.
        """
        for kind, table, here, came in (
            ("client", "clients", client_id in self.here.clients, client_id is None or client_id in self.clients),
            ("user", "user_mfa", user in self.here.users, self.here.users.get(user, (False, None))[1] is not None),
        ):
            if not came:
                return f"its {kind} {'is here, and not by an import' if here else 'has not come'}; see {table}"
        return ""

    def comes(
        self,
        table: str,
        row: OldRow,
        number_of: NumberOf | None,
        name: str,
        rows: Sequence[tuple[Table, Mapping[str, object]]],
        deeds: Sequence[Deed],
        said: str,
    ) -> None:
        """Let a row come; `name` is what it is numbered by here, `said` is how it is named in the report."""
        self.report.tables[table].came += 1
        kept = None if number_of is None else self.kept(table, row, number_of, name, said)
        self.items.append(Item(tuple(rows), tuple(deeds), kept))

    def kept(self, table: str, row: OldRow, number_of: NumberOf, name: str, said: str) -> Kept | None:
        """Return the number that a row had, where it can have it here; otherwise name it."""
        shown = self.numbers.setdefault(number_of, set())
        if not 1 <= row.id <= HIGHEST_KEPT:
            self.remark(Came.NOTED, table, row, said, f"the id {row.id} is not 1 to {HIGHEST_KEPT}; it has a new one")
        elif row.id in shown:
            self.remark(Came.NOTED, table, row, said, f"the id {row.id} is another's here; it has a new one")
        else:
            shown.add(row.id)
            return Kept(number_of, name, row.id, row.updated if row.updated > row.created else None)
        return None

    def is_here(self, table: str, row: OldRow, name: str, differences: Sequence[str] = ()) -> None:
        """Say that there is one of this name already, and in what it differs."""
        self.report.tables[table].here += 1
        for difference in differences:
            self.remark(Came.OTHERWISE, table, row, name, difference)

    def stays(self, table: str, row: OldRow, name: str, reason: str) -> None:
        """Say that a row cannot come, why, and what to do."""
        self.report.tables[table].left += 1
        self.remark(Came.NOT, table, row, name, reason)

    def remark(self, how: Came, table: str, row: OldRow, name: str, reason: str) -> None:
        """Name a row."""
        self.report.remarks.append(Remark(how, table, row.id, row.tenant, name, reason))


def named(**what: Any) -> str:
    """Return a natural key as people read it, such as `client_id=portal`; no value fills a screen."""
    return " ".join(f"{name}={str(value)[:100]}" for name, value in what.items())


def other_end(old: int, here: int) -> list[str]:
    """Return what is said of an end that is not the same on both sides."""
    return [] if old == here else [f"ends {_said(old)} on the old server, {_said(here)} here"]


def _said(end: int) -> str:
    return "never" if end >= LAST_SECOND else datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
