"""Whether a group's certificates may still be written, asked on SQLite within the transaction that writes them."""

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BindParameter, bindparam, select

from tms_ca.core.model import ALL_TENANTS
from tms_ca.store.hot import Prepared
from tms_ca.store.tables import forbidden_keys, tenants

# What a certificate was decided on: its tenant, that tenant's epoch, and the fingerprint of its key.
Decided = tuple[str, int, str]
_EPOCH = select(tenants.c.tenant, tenants.c.epoch).where(tenants.c.tenant == bindparam("of_tenant"))
_AT_ONCE = 16  # keys that one statement asks about: Python lets go of its lock and takes it again for each statement


class Standing:
    """The two questions, compiled for one connection."""

    def __init__(self, connection: sqlite3.Connection, dialect: Any) -> None:
        self._connection = connection
        self._epoch = Prepared(_EPOCH, dialect).sql
        key, tenant = forbidden_keys.c.fingerprint, forbidden_keys.c.tenant
        keys: list[BindParameter[str]] = [bindparam(f"key{number}") for number in range(_AT_ONCE)]
        self._forbidden = Prepared(select(key, tenant).where(key.in_(keys)), dialect).sql

    def of(self, group: Sequence[Decided | None]) -> list[bool]:
        """Tell for each whether it stands: its tenant's epoch is what was seen, and its key is not forbidden.

        None is something without a certificate, which always stands.
        """
        decided = [one for one in group if one is not None]
        epochs = self._epochs_of({tenant for tenant, _, _ in decided})
        forbidden = self._forbidden_of([key for _, _, key in decided])
        return [
            one is None
            or (epochs.get(one[0]) == one[1] and forbidden.isdisjoint({(one[2], one[0]), (one[2], ALL_TENANTS)}))
            for one in group
        ]

    def _epochs_of(self, names: set[str]) -> Mapping[str, int]:
        epochs: dict[str, int] = {}
        for name in names:
            epochs.update(self._connection.execute(self._epoch, [name]).fetchall())
        return epochs

    def _forbidden_of(self, keys: Sequence[str]) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        for first in range(0, len(keys), _AT_ONCE):
            some = keys[first : first + _AT_ONCE]
            # The last key again where there are fewer: the statement has places for all.
            asked = [*some, *[some[-1]] * (_AT_ONCE - len(some))]
            found.update(self._connection.execute(self._forbidden, asked).fetchall())
        return found
