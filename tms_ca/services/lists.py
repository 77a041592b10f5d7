"""Whole lists, as the TMS wire API has them: of any length, read so that others go on meanwhile.

A list is read a batch at a time, each in a transaction of its own, and put in order a batch at a time. So what is made
or deleted while it is read may be in it or not; everything else is, once.
"""

import asyncio
import heapq
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, TypeVar

from tms_ca.core.model import AccountLink, Caller, Client, Delegation, DelegationStatus, PublicKeyRecord, User
from tms_ca.services.directory import own_filter
from tms_ca.store import grants, rows
from tms_ca.store.engine import Database
from tms_ca.store.grants import ANY, HostAddress
from tms_ca.store.plainkeys import KEYS
from tms_ca.store.rows import Shelf

R = TypeVar("R")
BATCH = 250  # rows; to make records of them keeps everybody else waiting for a few milliseconds


class Lists:
    """Each in the order of its names, which is not that of the database's collation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def clients(self, caller: Caller, tenant: str) -> list[Client]:
        """Return the clients that the caller may see."""
        wanted = {"tenant": tenant, **own_filter(caller, "client_id")}
        return await self._every(rows.CLIENTS, wanted, lambda one: one.client_id)

    async def keys(self, caller: Caller, tenant: str) -> list[PublicKeyRecord]:
        """Return the plain keys that the caller may see, by user, host and account."""
        wanted = {"tenant": tenant, **own_filter(caller, "client_id")}
        return await self._every(
            KEYS, wanted, lambda one: (one.user, one.host, one.account, one.created_at, one.fingerprint)
        )

    async def asserted(self, tenant: str) -> list[User]:
        """Return every user for whom an admin's word on MFA stands, ended or not."""
        found = await self._every(rows.USERS, {"tenant": tenant}, lambda one: one.user)
        return [one for one in found if one.mfa_until is not None]

    async def links(self, tenant: str) -> list[AccountLink]:
        """Return every account link, by user, host and account."""
        return await self._every(rows.LINKS, {"tenant": tenant}, lambda one: (one.user, one.host, one.account))

    async def delegations(self, tenant: str) -> list[Delegation]:
        """Return, of each client and user, the approved delegation for any host and account that ends last."""
        wanted = {"tenant": tenant, "host": ANY, "account": ANY, "status": DelegationStatus.APPROVED}
        found = await self._every(
            rows.DELEGATIONS,
            wanted,
            lambda one: (one.client_id, one.user, -(one.expires_at or 0), one.delegation_id),
        )
        last = {(one.client_id, one.user): one for one in reversed(found)}
        return list(reversed(last.values()))

    async def addresses(self, tenant: str) -> list[HostAddress]:
        """Return every noted address of a host."""
        return await self._every(grants.ADDRESSES, {"tenant": tenant}, lambda one: (one.host, one.addr))

    async def _every(self, shelf: Shelf[R], wanted: Mapping[str, object], order: Callable[[R], Any]) -> list[R]:
        batches: list[list[R]] = []
        after = None
        while not batches or after is not None:
            async with self._database.read() as connection:
                found, after = await shelf.page(connection, wanted, after, BATCH)
            batches.append(sorted(found, key=order))
        merged = heapq.merge(*batches, key=order)
        whole: list[R] = []
        while batch := list(islice(merged, BATCH)):
            whole += batch
            await asyncio.sleep(0)
        return whole
