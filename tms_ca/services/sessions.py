"""Real logins: a host tells of each session that it opens and ends, and asks which of its sessions must end.

What sshd asks before a login (services.logins) counts nothing, since it asks several times for one. What is told here
has been let in by sshd and waits for its session: the decision is made once more, on what is true now, and the login
is counted and on record before the session begins.
"""

import hashlib
from contextlib import AbstractAsyncContextManager

from sqlalchemy.exc import IntegrityError

from tms_ca.core.certificate_reader import present_certificate_line
from tms_ca.core.errors import Conflict, Denied, NotFound, Unavailable
from tms_ca.core.facts import Denial, IssuedFacts, Limits, LoginFacts, LoginRequest
from tms_ca.core.model import Caller, Login
from tms_ca.core.policy import USED_UP, decide_login
from tms_ca.core.record import record
from tms_ca.core.restrictions import forced_command
from tms_ca.services.authentication import ChangedMeanwhile
from tms_ca.services.clock import Clock
from tms_ca.services.journal import event, refusal
from tms_ca.services.logins import Rules
from tms_ca.store import enrolment, logins
from tms_ca.store.engine import Database, Transaction
from tms_ca.store.hot import Entry, GroupCommit
from tms_ca.store.memory import RememberedFacts

OPEN, END = "logins.open", "logins.end"


@record
class Opened:
    """A session that a host is about to open, or (`late`) has opened without asking."""

    login_id: str
    node: str
    account: str
    certificate: str
    started_at: int
    remote_address: str | None = None
    late: bool = False


@record
class OpenedAnswer:
    """It is on record."""

    login_id: str
    counted: bool
    uses_left: int | None
    force_command: str | None  # what the session must run; sshd itself forgets it under a ForceCommand of its own


class Refused(Exception):
    """Undo the transaction: the login does not stand."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.detail)
        self.denial = denial


class Sessions:
    """What hosts report of sessions."""

    def __init__(
        self,
        database: Database,
        facts: RememberedFacts,
        commits: GroupCommit,
        limits: Limits,
        clock: Clock,
        rules: Rules = decide_login,
    ) -> None:
        self._database = database
        self._facts = facts
        self._commits = commits
        self._limits = limits
        self._clock = clock
        self._rules = rules

    async def open(self, caller: Caller, told: Opened) -> OpenedAnswer:
        """Put a login of the host `caller` on record, and count it; the same `login_id` again counts no more.

        Raises:
            Malformed, Invalid: not one OpenSSH certificate
            Denied: there must be no session, for a reason of core.policy; the refusal is on record
            Conflict: the `login_id` is another login's
            ChangedMeanwhile: the delegation was made one for a number of logins meanwhile

        """
        presented = present_certificate_line(told.certificate)
        serial, digest = presented.serial, hashlib.sha256(presented.blob).digest()
        async with self._database.read() as connection:
            known = await logins.find(connection, caller.tenant, caller.id, told.login_id)
        if known is not None:
            return _same(known, told, serial)
        facts = await self._facts.for_login(caller.tenant, caller.id, serial)
        if facts is None:
            raise NotFound("tenant_unknown", "there is no such tenant")
        request = LoginRequest(caller.id, told.account, digest)
        verdict = self._rules(request, facts, self._limits, self._clock.now())
        if isinstance(verdict, Denial) and not _recorded_all_the_same(told, facts, digest):
            await self._refuse(caller, told, serial, verdict)
        try:
            return await self._record(caller, told, serial, request, limited=_limited(facts))
        except Refused as refused:
            await self._refuse(caller, told, serial, refused.denial)
        except IntegrityError as error:
            return _same(await told_twice(self._database, caller, told.login_id, error), told, serial)
        raise AssertionError("a refusal was not raised")

    async def _refuse(self, caller: Caller, told: Opened, serial: int, denial: Denial) -> None:
        target = f"{told.account}@{caller.id} serial:{serial}"
        await self._commits.submit(
            Entry(event(self._clock, caller, caller.tenant, OPEN, target, denial.reason, detail=denial.detail,
                        node=told.node))
        )  # fmt: skip
        raise refusal(denial)

    async def _record(
        self, caller: Caller, told: Opened, serial: int, request: LoginRequest, *, limited: bool
    ) -> OpenedAnswer:
        async with self._transaction(caller.tenant, limited=limited) as transaction:
            connection = transaction.connection
            known = await logins.find(connection, caller.tenant, caller.id, told.login_id)
            if known is not None:
                return _same(known, told, serial)
            if not limited:
                await logins.hold_tenant(connection, caller.tenant)
            facts = await logins.facts_within(connection, caller.tenant, caller.id, serial)
            if facts is None or facts.issued is None or _limited(facts) is not limited:
                raise ChangedMeanwhile
            verdict = self._rules(request, facts, self._limits, self._clock.now())
            if isinstance(verdict, Denial) and not _recorded_all_the_same(told, facts, request.sha256):
                raise Refused(verdict)
            left = await logins.take_use(connection, caller.tenant, facts.issued.delegation_id) if limited else None
            if limited and left is None and not told.late:
                raise Refused(USED_UP)  # the statement has the last word, whatever the facts said
            now = self._clock.now()
            issued = facts.issued
            answer = OpenedAnswer(
                told.login_id, limited and left is not None, (left or 0) if limited else None, _command(facts, issued)
            )
            await logins.add(
                connection,
                tenant=caller.tenant,
                login_id=told.login_id,
                host=caller.id,
                node=told.node,
                account=told.account,
                user=issued.user,
                client_id=issued.client_id,
                delegation_id=issued.delegation_id,
                serial=serial,
                key_id=await logins.key_id_of(connection, serial),
                public_key_fingerprint=issued.public_key_fingerprint,
                remote_address=told.remote_address,
                started_at=min(told.started_at, now),
                late=told.late,
                counted=answer.counted,
                uses_left=answer.uses_left,
                force_command=answer.force_command,
            )
            more = {"refused": str(verdict.reason)} if isinstance(verdict, Denial) else {}
            transaction.record(
                event(
                    self._clock,
                    caller,
                    caller.tenant,
                    OPEN,
                    f"{told.account}@{caller.id} serial:{serial}",
                    login=told.login_id,
                    node=told.node,
                    user=issued.user,
                    client=issued.client_id,
                    delegation=issued.delegation_id,
                    remote=told.remote_address,
                    late=told.late,
                    counted=answer.counted,
                    **more,
                )
            )
        return answer

    def _transaction(self, tenant: str, *, limited: bool) -> AbstractAsyncContextManager[Transaction]:
        # A count is a change of the tenant: what is remembered of its delegations is void with it.
        return self._database.change(tenant) if limited else self._database.transaction()

    async def end(self, caller: Caller, digest: bytes, login_id: str, ended_at: int, reason: str) -> None:
        """Put the end of a session on record; a second time changes nothing. `digest` is of the calling credential.

        Raises:
            NotFound: the host never told of this login
            Denied: the credential belongs to another machine of the host than the login's

        """
        async with self._database.transaction() as transaction:
            found = await logins.find(transaction.connection, caller.tenant, caller.id, login_id)
            if found is None:
                raise NotFound("login_unknown", f"this host has told of no login {login_id!r}")
            mine = await enrolment.node_of(transaction.connection, digest)
            if mine not in {None, found.node}:
                raise Denied("node_mismatch", f"the credential is of the machine {mine!r}, the login of {found.node!r}")
            end = min(max(ended_at, found.started_at), self._clock.now())
            if not await logins.end(transaction.connection, found.id, end, reason):
                return
            target = f"{found.account}@{caller.id} {found.used}"
            transaction.record(
                event(self._clock, caller, caller.tenant, END, target, login=login_id, node=found.node, reason=reason)
            )


async def told_twice(database: Database, caller: Caller, login_id: str, error: IntegrityError) -> Login:
    """Return the login that was told of at the same moment as one that now cannot be inserted.

    Raises:
        Unavailable: there is none, so something else was wrong

    """
    async with database.read() as connection:
        known = await logins.find(connection, caller.tenant, caller.id, login_id)
    if known is None:
        raise Unavailable("database_unavailable", "the login could not be recorded", retry_after=1) from error
    return known


def _limited(facts: LoginFacts) -> bool:
    return facts.delegation is not None and facts.delegation.uses_left is not None


def _recorded_all_the_same(told: Opened, facts: LoginFacts, digest: bytes) -> bool:
    """Tell whether a login that would be refused goes on record: it has happened, on a certificate that is ours."""
    return told.late and facts.issued is not None and facts.issued.sha256 == digest


def _same(known: Login, told: Opened, serial: int) -> OpenedAnswer:
    if (known.account, known.serial, known.node) != (told.account, serial, told.node):
        raise Conflict("login_id_taken", f"the login_id {told.login_id!r} is another login's; choose a new one")
    return OpenedAnswer(known.login_id, known.counted, known.uses_left, known.force_command)


def _command(facts: LoginFacts, issued: IssuedFacts) -> str | None:
    rules = [found.restrictions for found in (facts.host, facts.delegation) if found is not None]
    return forced_command(rules, issued.critical_options)
