"""Real logins with plain keys: counted once each, and on record before their sessions begin.

A host that reports its logins is given a key's line without a use being taken; the use is taken here, by the login that
the host's session hook tells of. services.sessions is the same for certificates.
"""

from sqlalchemy.exc import IntegrityError

from tms_ca.core.errors import Conflict, NotFound
from tms_ca.core.facts import Denial, Limits, LoginFacts
from tms_ca.core.keylogin import KEY_USED_UP, KeyRequest, as_login, decide_key
from tms_ca.core.model import NO_CERTIFICATE, Caller, Login
from tms_ca.core.publickey import PublicKey, parse_public_key
from tms_ca.core.record import record
from tms_ca.core.restrictions import forced_command
from tms_ca.services.clock import Clock
from tms_ca.services.journal import event, refusal
from tms_ca.services.sessions import OPEN, OpenedAnswer, Refused, told_twice
from tms_ca.store import logins
from tms_ca.store.engine import Database
from tms_ca.store.hot import Entry, GroupCommit


@record
class OpenedByKey:
    """A session that a host is about to open to whoever has proved to hold a plain key."""

    login_id: str
    node: str
    account: str
    public_key: str  # TYPE BASE64
    started_at: int
    remote_address: str | None = None


class KeyLogins:
    """What hosts report of logins with plain keys."""

    def __init__(self, database: Database, commits: GroupCommit, limits: Limits, clock: Clock) -> None:
        self._database = database
        self._commits = commits
        self._limits = limits
        self._clock = clock

    async def open(self, caller: Caller, told: OpenedByKey) -> OpenedAnswer:
        """Put a login of the host `caller` on record, and take its use; the same `login_id` again takes none.

        Raises:
            Malformed, Invalid: not one public key
            Denied: there must be no session, for a reason of core.keylogin; the refusal is on record
            Conflict: the `login_id` is another login's

        """
        key = parse_public_key(told.public_key)
        target = f"{told.account}@{caller.id} key:{key.fingerprint}"
        async with self._database.read() as connection:
            known = await logins.find(connection, caller.tenant, caller.id, told.login_id)
        if known is not None:
            return _same(known, told, key)
        try:
            return await self._record(caller, told, key, target)
        except Refused as refused:
            denial = refused.denial
            no = event(self._clock, caller, caller.tenant, OPEN, target, denial.reason, detail=denial.detail,
                       node=told.node)  # fmt: skip
            await self._commits.submit(Entry(no))
            raise refusal(denial) from None
        except IntegrityError as error:
            return _same(await told_twice(self._database, caller, told.login_id, error), told, key)

    async def _record(self, caller: Caller, told: OpenedByKey, key: PublicKey, target: str) -> OpenedAnswer:
        async with self._database.transaction() as transaction:
            connection = transaction.connection
            known = await logins.find(connection, caller.tenant, caller.id, told.login_id)
            if known is not None:
                return _same(known, told, key)
            await logins.hold_tenant(connection, caller.tenant)  # whatever is revoked meanwhile waits for this login
            facts = await logins.key_facts_within(connection, caller.tenant, caller.id, key.fingerprint)
            if facts is None:
                raise NotFound("tenant_unknown", "there is no such tenant")
            request = KeyRequest(caller.id, told.account, key.fingerprint, key.algorithm, reports_logins=True)
            verdict = decide_key(request, facts, self._limits, self._clock.now())
            if isinstance(verdict, Denial):
                raise Refused(verdict)
            assert facts.key is not None, "nothing opens without a key"
            left = None
            if verdict.takes_use:
                left = await logins.take_key_use(connection, caller.tenant, key.fingerprint, facts.key.key_id)
                if left is None:
                    raise Refused(KEY_USED_UP)  # the statement has the last word, whatever the facts said
            command = _command(as_login(facts.key, facts, key.fingerprint))
            answer = OpenedAnswer(told.login_id, verdict.takes_use, left, command)
            await logins.add(
                connection,
                tenant=caller.tenant,
                login_id=told.login_id,
                host=caller.id,
                node=told.node,
                account=told.account,
                user=facts.key.user,
                client_id=facts.key.client_id,
                delegation_id=facts.key.delegation_id,
                serial=NO_CERTIFICATE,
                key_id=facts.key.key_id,
                public_key_fingerprint=key.fingerprint,
                remote_address=told.remote_address,
                started_at=min(told.started_at, self._clock.now()),
                late=False,
                counted=answer.counted,
                uses_left=answer.uses_left,
                force_command=answer.force_command,
            )
            transaction.record(
                event(
                    self._clock,
                    caller,
                    caller.tenant,
                    OPEN,
                    target,
                    login=told.login_id,
                    node=told.node,
                    user=facts.key.user,
                    client=facts.key.client_id,
                    delegation=facts.key.delegation_id,
                    key_id=facts.key.key_id,
                    remote=told.remote_address,
                    counted=answer.counted,
                    uses_left=answer.uses_left,
                )
            )
        return answer


def _same(known: Login, told: OpenedByKey, key: PublicKey) -> OpenedAnswer:
    mine = (told.account, NO_CERTIFICATE, key.fingerprint, told.node)
    if (known.account, known.serial, known.public_key_fingerprint, known.node) != mine:
        raise Conflict("login_id_taken", f"the login_id {told.login_id!r} is another login's; choose a new one")
    return OpenedAnswer(known.login_id, known.counted, known.uses_left, known.force_command)


def _command(facts: LoginFacts) -> str | None:
    assert facts.issued is not None, "put there by as_login"
    rules = [found.restrictions for found in (facts.host, facts.delegation) if found is not None]
    return forced_command(rules, facts.issued.critical_options)
