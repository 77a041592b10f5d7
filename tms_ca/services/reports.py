"""What machines report: which of them enforce a revocation, how fast they had it, and what is wrong with them.

Reports change nothing that a decision rests on. Those that come together share one commit.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from tms_ca.core.errors import Denied, NotFound, TmsError, Unavailable
from tms_ca.core.model import Caller
from tms_ca.core.record import record
from tms_ca.services.clock import Clock
from tms_ca.services.krl import Krls
from tms_ca.store import enrolment, reports
from tms_ca.store.engine import Database
from tms_ca.store.reports import Counts, Due, Report

# A machine asks every 30 s unless it is set otherwise; one poll may be lost before anybody is called, and each takes a
# moment. Machines that are set to ask less often than once a minute show up here for a while after each change.
BEHIND_SECONDS = 65
SILENT_SECONDS = 300
CLOCK_MS = 30_000  # beyond this, certificates begin and end at wrong times
LOOK_SECONDS = 10  # how long one count of all machines serves
_MOST_IN_A_GROUP = 500
_MOST_KNOWN = 50_000


@record
class Node:
    """A machine of a host, what it last said, and what is wrong with that."""

    host: str
    node: str
    joined_at: int | None
    reported_at: int | None
    krl_version: int | None
    user_ca_fingerprints: tuple[str, ...] | None
    trust_epoch: int | None
    clock_offset_ms: int | None
    openssh_version: str | None
    tms_host_version: str | None
    when_away: str | None
    wrong: tuple[str, ...]


@record
class Enforcing:
    """One machine, and how long after a revocation it first said that it has it; None: it has not, or not known."""

    host: str
    node: str
    krl_version: int | None
    reported_at: int | None
    seconds: float | None


@record
class Enforcement:
    """Who enforces a revocation by the KRL."""

    krl_version: int
    hosts: int
    enforcing: int
    slowest_seconds: float | None
    items: tuple[Enforcing, ...]


class Reports:
    """Take reports, and tell what they say together."""

    def __init__(self, database: Database, krls: Krls, clock: Clock) -> None:
        self._database = database
        self._krls = krls
        self._clock = clock
        self._nodes: dict[bytes, str | None] = {}  # whose credential a digest is: that never changes
        self._waiting: list[tuple[Report, bytes, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None
        self._counted: tuple[int, list[Counts]] | None = None

    async def take(self, caller: Caller, digest: bytes, node: str, said: Mapping[str, Any]) -> int:
        """Keep what a machine says of itself; return when it was taken. `digest` is that of the calling credential.

        Raises:
            Denied: the credential is another machine's
            Unavailable: the database does not answer

        """
        await self.require_node(digest, node)
        now_ms = self._clock.now_ms()
        fields = {**said, "user_ca_fingerprints": tuple(said["user_ca_fingerprints"])}
        report = Report(tenant=caller.tenant, host=caller.id, node=node, reported_ms=now_ms, **fields)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((report, digest, future))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._drain())
        await future
        return now_ms // 1000

    async def require_node(self, digest: bytes, node: str) -> None:
        """Return only where the credential with this digest may speak for the machine `node`.

        Raises:
            Denied: it belongs to another machine of the host

        """
        mine = await self._node(digest)
        if mine not in {None, node}:
            raise Denied("node_mismatch", f"the credential belongs to the machine {mine!r}, not to {node!r}")

    async def _node(self, digest: bytes) -> str | None:
        if digest not in self._nodes:
            if len(self._nodes) >= _MOST_KNOWN:
                self._nodes.clear()
            async with self._database.read() as connection:
                self._nodes[digest] = await enrolment.node_of(connection, digest)
        return self._nodes[digest]

    async def _drain(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:_MOST_IN_A_GROUP], self._waiting[_MOST_IN_A_GROUP:]
            failed: BaseException | None = None
            try:
                async with self._database.transaction() as transaction:
                    await reports.put(transaction.connection, [(report, digest) for report, digest, _ in group])
            except Exception as error:  # noqa: BLE001 - whatever it is, every waiting request must hear of it
                failed = error
            for *_, future in group:
                if future.done():
                    continue
                if failed is None:
                    future.set_result(None)
                else:
                    future.set_exception(_refused(failed))

    async def nodes(
        self, tenant: str, filters: Mapping[str, object], after: Sequence[object] | None, limit: int
    ) -> tuple[list[Node], list[object] | None]:
        """Return a page of machines, by their names, each with what is wrong."""
        now = self._clock.now()
        async with self._database.read() as connection:
            due = await reports.due(connection, tenant, now - BEHIND_SECONDS)
            rows, following = await reports.page(connection, tenant, filters, after, limit)
        return [_node(row, due, now) for row in rows], following

    async def enforcement(self, tenant: str, revocation_id: str) -> Enforcement:
        """Return which machines have a KRL with this revocation, and how fast they had it.

        Raises:
            NotFound: no such revocation

        """
        krl = await self._krls.get(tenant)  # it has every revocation: from here on there is a version to look for
        async with self._database.read() as connection:
            found = await reports.revocation(connection, tenant, revocation_id)
            if found is None:
                raise NotFound("revocation_unknown", f"there is no revocation {revocation_id!r} in this tenant")
            version = krl.version if found.krl_version is None else found.krl_version
            seen = await reports.enforcement(connection, tenant, version)
        items = []
        for one in seen:
            has = one.krl_version is not None and one.krl_version >= version
            seconds = None if not has or one.first_ms is None else max(0, one.first_ms - found.at_ms) / 1000
            items.append(Enforcing(one.host, one.node, one.krl_version, _seconds(one.reported_ms), seconds))
        enforcing = sum(1 for one in items if one.krl_version is not None and one.krl_version >= version)
        slowest = max((one.seconds for one in items if one.seconds is not None), default=None)
        return Enforcement(version, len(items), enforcing, slowest, tuple(items))

    async def counts(self) -> list[Counts]:
        """Return for each tenant how its machines stand, at most LOOK_SECONDS old; nothing while nobody can say."""
        now = self._clock.now()
        if self._counted is None or not 0 <= now - self._counted[0] < LOOK_SECONDS:
            try:
                async with self._database.read() as connection:
                    silent_ms = (now - SILENT_SECONDS) * 1000
                    self._counted = now, await reports.counts(connection, now - BEHIND_SECONDS, silent_ms)
            except TmsError:
                return []
        return self._counted[1]

    async def lacking(self, tenant: str, fingerprint: str) -> list[str]:
        """Return the machines, as host/node, that have not said that they trust the user CA key `fingerprint`."""
        async with self._database.read() as connection:
            return await reports.lacking(connection, tenant, fingerprint)


def _refused(error: BaseException) -> TmsError:
    if isinstance(error, TmsError):
        return type(error)(error.code, error.detail, retry_after=error.retry_after)
    refused = Unavailable("database_unavailable", "the report was not kept; send it again", retry_after=2)
    refused.__cause__ = error
    return refused


def _seconds(moment_ms: int | None) -> int | None:
    return None if moment_ms is None else moment_ms // 1000


def _node(row: Mapping[Any, Any], due: Due, now: int) -> Node:
    held = None if row["user_ca_fingerprints"] is None else tuple(row["user_ca_fingerprints"])
    return Node(
        host=row["host"],
        node=row["node"],
        joined_at=row["joined_at"],
        reported_at=_seconds(row["reported_ms"]),
        krl_version=row["krl_version"],
        user_ca_fingerprints=held,
        trust_epoch=row["trust_epoch"],
        clock_offset_ms=row["clock_offset_ms"],
        openssh_version=row["openssh_version"],
        tms_host_version=row["tms_host_version"],
        when_away=row["when_away"],
        wrong=tuple(_wrong(row, held, due, now)),
    )


def _wrong(row: Mapping[Any, Any], held: tuple[str, ...] | None, due: Due, now: int) -> list[str]:
    """Return what should be mended, in words."""
    if held is None or row["reported_ms"] is None:
        return ["has never reported"]
    wrong = []
    silent = now - row["reported_ms"] // 1000
    if silent > SILENT_SECONDS:
        wrong.append(f"silent for {silent} s")
    if due.krl_version is not None and row["krl_version"] < due.krl_version:
        wrong.append(f"KRL {row['krl_version']} is older than {due.krl_version}")
    wrong += [f"does not trust {one}" for one in due.user_ca_fingerprints if one not in held]
    wrong += [f"still trusts {one}" for one in held if one not in due.trusted]
    if abs(row["clock_offset_ms"]) > CLOCK_MS:
        wrong.append(f"clock is off by {row['clock_offset_ms'] / 1000:+.0f} s")
    return wrong
