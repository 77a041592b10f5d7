"""Delegations: a client asks, the user approves (perhaps less than was asked), denies or revokes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy.exc import IntegrityError

from tms_ca.core.access import Reach, Role
from tms_ca.core.errors import Conflict, Invalid, NotFound
from tms_ca.core.facts import IssueRequest
from tms_ca.core.model import NO_EXTRAS, Caller, Constraints, Delegation, DelegationStatus
from tms_ca.core.patterns import like_pattern, narrows
from tms_ca.core.policy import options_within
from tms_ca.core.record import fields_of
from tms_ca.services.clock import Clock
from tms_ca.services.ids import new_id, new_user_code
from tms_ca.services.journal import event
from tms_ca.store import rows
from tms_ca.store.engine import Database, Transaction
from tms_ca.store.rows import constraints_to_json, restrictions_to_json

PENDING_SECONDS = 24 * 3600  # a request that nobody answers ends after a day


@dataclass(frozen=True, slots=True)
class DelegationRequest:
    """What a client asks a user for."""

    user: str
    host: str
    account: str
    lifetime_seconds: int
    purpose: str
    constraints: Constraints = NO_EXTRAS
    redirect_uri: str | None = None


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What the user makes of it when approving; None keeps what was asked."""

    host: str | None = None
    account: str | None = None
    lifetime_seconds: int | None = None
    max_ttl_seconds: int | None = None
    source_address: tuple[str, ...] | None = None
    force_command: str | None = None
    extensions: tuple[str, ...] | None = None
    max_uses: int | None = None


class Delegations:
    """The life of a delegation."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def request(self, caller: Caller, wish: DelegationRequest) -> Delegation:
        """Ask for a delegation; the user finds it pending.

        Raises:
            Invalid: a redirect_uri that is not registered for the client, to the letter
            NotFound: no such user in the tenant

        """
        now = self._clock.now()
        made = Delegation(
            tenant=caller.tenant,
            delegation_id=new_id("dlg"),
            user=wish.user,
            client_id=caller.id,
            host=wish.host,
            account=wish.account,
            status=DelegationStatus.PENDING,
            purpose=wish.purpose,
            lifetime_seconds=wish.lifetime_seconds,
            constraints=wish.constraints,
            redirect_uri=wish.redirect_uri,
            user_code=new_user_code(),
            created_at=now,
            pending_until=now + PENDING_SECONDS,
            decided_at=None,
            starts_at=None,
            expires_at=None,
            uses_left=wish.constraints.max_uses,
        )
        try:
            async with self._database.change(caller.tenant) as transaction:
                client = await rows.CLIENTS.get(transaction.connection, caller.tenant, caller.id)
                if wish.redirect_uri is not None and (client is None or wish.redirect_uri not in client.redirect_uris):
                    raise Invalid(
                        "redirect_uri_not_registered",
                        f"{wish.redirect_uri!r} is not, to the letter, one of the client's redirect_uris",
                    )
                await rows.DELEGATIONS.add(transaction.connection, **delegation_row(made))
                transaction.record(
                    event(
                        self._clock,
                        caller,
                        caller.tenant,
                        "delegations.request",
                        made.delegation_id,
                        user=wish.user,
                        host=wish.host,
                        account=wish.account,
                    )
                )
        except IntegrityError as error:
            raise NotFound("user_unknown", f"there is no user {wish.user!r} in this tenant") from error
        return made

    async def get(self, caller: Caller, tenant: str, delegation_id: str) -> Delegation:
        """Return one that the caller may see.

        Raises:
            NotFound: there is none, or it is another's

        """
        async with self._database.read() as connection:
            found = await rows.DELEGATIONS.get(connection, tenant, delegation_id)
        return _visible(caller, found, delegation_id)

    async def page(
        self, caller: Caller, tenant: str, filters: Mapping[str, object], after: list[object] | None, limit: int
    ) -> tuple[list[Delegation], list[object] | None]:
        """Return a page of what the caller may see."""
        own = {} if caller.reach is Reach.ANY else {_own_column(caller): caller.id}
        async with self._database.read() as connection:
            return await rows.DELEGATIONS.page(connection, {"tenant": tenant, **filters, **own}, after, limit)

    async def approve(self, caller: Caller, tenant: str, delegation_id: str, narrowing: Narrowing) -> Delegation:
        """Approve, narrowing as the user wishes; the lifetime runs from now.

        Raises:
            Conflict: not pending any more
            Invalid: the narrowing would widen something

        """
        async with self._database.change(tenant) as transaction:
            asked = await self._pending(transaction, caller, tenant, delegation_id)
            now = self._clock.now()
            granted = _narrowed(asked, narrowing)
            granted = replace(
                granted,
                status=DelegationStatus.APPROVED,
                decided_at=now,
                starts_at=now,
                expires_at=now + granted.lifetime_seconds,
                uses_left=granted.constraints.max_uses,
            )
            await rows.DELEGATIONS.update(transaction.connection, (tenant, delegation_id), **delegation_row(granted))
            transaction.record(
                event(
                    self._clock,
                    caller,
                    tenant,
                    "delegations.approve",
                    delegation_id,
                    client=granted.client_id,
                    host=granted.host,
                    account=granted.account,
                    until=granted.expires_at,
                )
            )
        return granted

    async def deny(self, caller: Caller, tenant: str, delegation_id: str) -> Delegation:
        """Say no.

        Raises:
            Conflict: not pending any more

        """
        async with self._database.change(tenant) as transaction:
            asked = await self._pending(transaction, caller, tenant, delegation_id)
            denied = replace(asked, status=DelegationStatus.DENIED, decided_at=self._clock.now())
            await rows.DELEGATIONS.update(transaction.connection, (tenant, delegation_id), **delegation_row(denied))
            transaction.record(
                event(self._clock, caller, tenant, "delegations.deny", delegation_id, client=asked.client_id)
            )
        return denied

    async def restrict(
        self, caller: Caller, tenant: str, delegation_id: str, changes: Mapping[str, object]
    ) -> Delegation:
        """Change what logins under an approved delegation may do less than their certificates say.

        Raises:
            NotFound: there is none that the caller may see
            Conflict: it is not approved, or an admin has set what its user would change

        """
        async with self._database.change(tenant) as transaction:
            found = await rows.DELEGATIONS.get(transaction.connection, tenant, delegation_id)
            before = _visible(caller, found, delegation_id)
            status = before.status_at(self._clock.now())
            if status is not DelegationStatus.APPROVED:
                raise Conflict(
                    "delegation_not_approved", f"the delegation is {status}; only an approved one has logins"
                )
            mine = before.restrictions or rows.NO_RESTRICTIONS
            by_admin = caller.reach is Reach.ANY
            if mine.by_admin and not by_admin:
                raise Conflict(
                    "restrictions_by_admin",
                    "an admin set the restrictions of this delegation; only an admin can change them",
                )
            wanted = replace(mine, **changes, by_admin=False)  # type: ignore[arg-type] # as the shape has them
            stored = restrictions_to_json(
                replace(wanted, by_admin=by_admin) if wanted != rows.NO_RESTRICTIONS else None
            )
            await rows.DELEGATIONS.update(transaction.connection, (tenant, delegation_id), restrictions=stored)
            after = await rows.DELEGATIONS.get(transaction.connection, tenant, delegation_id)
            assert after is not None
            transaction.record(
                event(
                    self._clock,
                    caller,
                    tenant,
                    "delegations.restrict",
                    delegation_id,
                    before=restrictions_to_json(before.restrictions),
                    after=stored,
                )
            )
        return after

    async def _pending(self, transaction: Transaction, caller: Caller, tenant: str, delegation_id: str) -> Delegation:
        found = await rows.DELEGATIONS.get(transaction.connection, tenant, delegation_id)
        asked = _visible(caller, found, delegation_id)
        status = asked.status_at(self._clock.now())
        if status is not DelegationStatus.PENDING:
            raise Conflict("delegation_not_pending", f"the delegation is {status}; only a pending one can be decided")
        return asked


def _own_column(caller: Caller) -> str:
    return "client_id" if caller.role is Role.CLIENT else "user"


def _visible(caller: Caller, found: Delegation | None, name: str) -> Delegation:
    if found is None or (caller.reach is not Reach.ANY and getattr(found, _own_column(caller)) != caller.id):
        raise NotFound("delegation_unknown", f"there is no delegation {name!r} that you may see")
    return found


def _narrowed(asked: Delegation, wish: Narrowing) -> Delegation:
    """Return `asked` with the user's narrowing; anything wider than what was asked is an error, never a silent cut."""
    fields: dict[str, list[str]] = {}
    for name in ("host", "account"):
        value, limit = getattr(wish, name), getattr(asked, name)
        if value is not None and not narrows(value, limit):
            fields[name] = [f"{value!r} is wider than {limit!r}, which was asked for"]
    if wish.lifetime_seconds is not None and wish.lifetime_seconds > asked.lifetime_seconds:
        fields["lifetime_seconds"] = [f"at most {asked.lifetime_seconds}, which was asked for"]
    most = asked.constraints.max_ttl_seconds
    if wish.max_ttl_seconds is not None and most is not None and wish.max_ttl_seconds > most:
        fields["max_ttl_seconds"] = [f"at most {most}, which was asked for"]
    uses = asked.constraints.max_uses
    if wish.max_uses is not None and uses is not None and wish.max_uses > uses:
        fields["max_uses"] = [f"at most {uses}, which was asked for"]
    options = IssueRequest("", "", "", None, wish.source_address or (), wish.force_command, wish.extensions)
    denial = options_within(options, asked.constraints)
    if denial:
        fields["constraints"] = [denial.detail]
    if fields:
        raise Invalid("delegation_widened", "approving can only narrow what was asked for", fields=fields)
    constraints = Constraints(
        max_ttl_seconds=most if wish.max_ttl_seconds is None else wish.max_ttl_seconds,
        source_address=wish.source_address or asked.constraints.source_address,
        force_command=asked.constraints.force_command if wish.force_command is None else wish.force_command,
        extensions=asked.constraints.extensions if wish.extensions is None else wish.extensions,
        max_uses=uses if wish.max_uses is None else wish.max_uses,
    )
    return replace(
        asked,
        host=asked.host if wish.host is None else wish.host,
        account=asked.account if wish.account is None else wish.account,
        lifetime_seconds=asked.lifetime_seconds if wish.lifetime_seconds is None else wish.lifetime_seconds,
        constraints=constraints,
    )


def delegation_row(delegation: Delegation) -> dict[str, object]:
    """Return what the table `delegations` holds of one."""
    values = {name: getattr(delegation, name) for name in fields_of(type(delegation))}
    values["constraints"] = constraints_to_json(delegation.constraints)
    values["restrictions"] = restrictions_to_json(delegation.restrictions)
    values["host_like"] = like_pattern(delegation.host)
    values["account_like"] = like_pattern(delegation.account)
    return values
