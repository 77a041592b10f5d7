"""What an import did, or would do: counts for each old table, and every row that did not come as it was, by name."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from tms_ca.core.record import record
from tms_ca.store.tms_source_rows import TABLES


class Came(StrEnum):
    """Why a row is named."""

    NOT = "left"  # it stays behind
    IN_PART = "in part"  # it came, and something of it stays behind
    OTHERWISE = "differs"  # it was here already, otherwise than the old server has it, and stays as it is here
    NOTED = "note"  # it came, and will not do what it did


@record
class Remark:
    """What is to be said of one row: `reason` is what is wrong, then, after a semicolon, what to do."""

    how: Came
    table: str
    id: int
    tenant: str | None
    name: str
    reason: str


@dataclass(slots=True)
class Tally:
    """How many rows of one old table there were: all of them came, were here already, or are left."""

    found: int = 0
    came: int = 0
    here: int = 0
    left: int = 0


@dataclass(slots=True)
class ImportReport:
    """Filled while an import is planned and done."""

    version: str
    dry_run: bool
    tables: dict[str, Tally] = field(default_factory=lambda: {table: Tally() for table in TABLES})
    remarks: list[Remark] = field(default_factory=list)

    def of(self, how: Came) -> list[Remark]:
        """Return the rows that are named for one reason."""
        return [one for one in self.remarks if one.how is how]

    @property
    def whole(self) -> bool:
        """Tell whether nothing stays behind."""
        return not self.of(Came.NOT) and not self.of(Came.IN_PART)

    def as_object(self) -> dict[str, Any]:
        """Return what `--json` prints."""

        def plain(rows: Sequence[Remark]) -> list[dict[str, object]]:
            return [{name: value for name, value in asdict(row).items() if name != "how"} for row in rows]

        return {
            "source": self.version,
            "dry_run": self.dry_run,
            "whole": self.whole,
            "tables": {table: asdict(tally) for table, tally in self.tables.items()},
            "left": plain(self.of(Came.NOT)),
            "in_part": plain(self.of(Came.IN_PART)),
            "differs": plain(self.of(Came.OTHERWISE)),
            "notes": plain(self.of(Came.NOTED)),
        }
