"""One row by its key: inline on SQLite; on PostgreSQL the keys of many requests share a round trip."""

import asyncio
from collections.abc import Hashable, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Select

from tms_ca.store.hot import HotDriver, Prepared

Row = Sequence[Any]
Key = tuple[Hashable, str]


class Lookup:
    """Rows by a key and a tenant: `one` takes one of each, `many` takes arrays and begins each row with both.

    A batch begins after every request in it has arrived, so that each is answered by what was true after that: what
    arrives while a batch is under way waits for the next one.
    """

    def __init__(self, driver: HotDriver, one: Select[Any], many: Select[Any]) -> None:
        self._driver = driver
        self._inline = driver.dialect.name == "sqlite"
        self._prepared = Prepared(one if self._inline else many, driver.dialect)
        # A lookup is made for every request: where the statement has its key and its tenant is found once.
        given = [object(), object()]
        self._args = self._prepared.args(dict(zip(("wanted_key", "wanted_tenant"), given, strict=True)))
        self._in_order = itemgetter(*[given.index(a) if a in given else 2 + at for at, a in enumerate(self._args)])
        self._waiting: dict[Key, list[asyncio.Future[Row | None]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def get(self, key: Hashable, tenant: str) -> Row | None:
        """Return the row of `key` in `tenant`.

        Raises:
            Unavailable: the database does not answer

        """
        if self._inline:
            rows = await self._driver.fetch(self._prepared, self._ordered(key, tenant))
            return rows[0] if rows else None
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Row | None] = loop.create_future()
        self._waiting.setdefault((key, tenant), []).append(future)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._drain())
        return await future

    def at_once(self, key: Hashable, tenant: str) -> Row | None:
        """Return the row where that takes no waiting; None may also mean that it does.

        Raises:
            Unavailable: the database does not answer

        """
        if not self._inline:
            return None
        rows = self._driver.fetch_at_once(self._prepared, self._ordered(key, tenant))
        return rows[0] if rows else None

    def _ordered(self, key: object, tenant: object) -> tuple[object, ...]:
        ordered: tuple[object, ...] = self._in_order((key, tenant, *self._args))
        return ordered

    async def _drain(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, {}
            try:
                args = self._ordered([key for key, _ in asked], [tenant for _, tenant in asked])
                rows = await self._driver.fetch(self._prepared, args)
            except Exception as error:  # noqa: BLE001 - whatever it is, every waiting request must hear of it
                for future in _open(asked.values()):
                    future.set_exception(error)
                continue
            found = {(row[0], row[1]): row[2:] for row in rows}
            for key, futures in asked.items():
                for future in _open([futures]):
                    future.set_result(found.get(key))


def _open(waiting: Any) -> list["asyncio.Future[Row | None]"]:
    """Return the futures whose requests have not gone away."""
    return [future for futures in waiting for future in futures if not future.done()]
