"""Hosts that join: an admin invites, a machine comes with the token and makes its own credential."""

from collections import OrderedDict
from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError

from tms_ca.core.access import Reach
from tms_ca.core.errors import Conflict, Denied, NotFound, TooMany, Unauthenticated
from tms_ca.core.facts import KeyStanding
from tms_ca.core.model import Caller, KeyPurpose
from tms_ca.core.record import record
from tms_ca.services.cakeys import CaKeys
from tms_ca.services.clock import Clock
from tms_ca.services.hostcerts import HostCertificateIssuer, HostCertificates, parse_keys
from tms_ca.services.ids import new_id, new_secret, secret_digest
from tms_ca.services.journal import event
from tms_ca.store import cakeys, enrolment, rows
from tms_ca.store.engine import Database, Transaction

JOIN = "hosts.join"
MOST_NODES = 64  # of a host
FREE_FAILURES, FAILURES_SECONDS = 20, 60  # tokens that are not good, from one address, in one process
_MOST_ADDRESSES = 10_000


@record
class Invitation:
    """A token, shown once, and by what the machine that takes it knows this service."""

    join_token: str
    expires_at: int
    host_ca_fingerprints: tuple[str, ...]


@record
class Joined:
    """What a machine has once it has joined."""

    tenant: str
    host: str
    credential_id: str
    names: tuple[str, ...]
    host_certificates: HostCertificates


class Enrolment:
    """The life of the machines behind a host's name."""

    def __init__(self, database: Database, keys: CaKeys, issuer: HostCertificateIssuer, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._issuer = issuer
        self._clock = clock
        self._failures = Failures(clock)

    async def invite(self, caller: Caller, tenant: str, host: str, lifetime_seconds: int) -> Invitation:
        """Make a token that lets one machine join as `host`; an older one of this host is void.

        Raises:
            NotFound: no such host

        """
        secret = new_secret("join")
        now = self._clock.now()
        async with self._database.transaction() as transaction:
            if await rows.HOSTS.get(transaction.connection, tenant, host) is None:
                raise NotFound("host_unknown", f"there is no host {host!r} that you may see")
            until = now + lifetime_seconds
            await enrolment.put_token(transaction.connection, tenant, host, secret_digest(secret), now, until)
            transaction.record(event(self._clock, caller, tenant, "hosts.invite", host, until=until))
        trusted = await self._keys.trusted(tenant, KeyPurpose.HOST)
        return Invitation(secret, until, tuple(key.fingerprint for key in trusted))

    async def join(
        self, caller: Caller, token: str, credential: bytes, node: str, lines: Sequence[str], *, replace: bool = False
    ) -> Joined:
        """Let the machine `node` join as the host that `token` is for; `credential` is the digest of its own secret.

        The token is used up by the transaction that makes the certificates durable, or not at all. A machine that
        joins again keeps its newest older credential until it drops it (`drop_others`): should it fail before the new
        one is in its place, it goes on with the old one. With other host keys it needs `replace`.

        Raises:
            Unauthenticated: the token is not good, for whatever reason
            TooMany: too many tokens from this address were not good
            Invalid: a key may not be certified
            Conflict: the host has as many machines as it may, has this one with other host keys, or the credential is
                somebody's
            ChangedMeanwhile: the host changed while this was at work; begin anew

        """
        self._failures.check(caller.address)
        keys = parse_keys(lines)
        digest = secret_digest(token)
        async with self._database.read() as connection:
            place = await enrolment.token(connection, digest, self._clock.now())
        if place is None:
            raise self._not_good(caller)
        tenant, host = place
        try:
            signed = await self._issuer.sign(caller, tenant, host, keys)
        except (Denied, NotFound) as error:  # a host that is disabled or gone: a stranger is not told
            raise self._not_good(caller) from error
        credential_id = new_id("sec")
        async with self._database.change(tenant) as transaction:
            if not await enrolment.take_token(transaction.connection, digest, self._clock.now()):
                raise self._not_good(caller)
            await self._add_node(transaction, tenant, host, node, [key.line for key in keys], replace=replace)
            newest = await enrolment.newest_credential(transaction.connection, tenant, host, node)
            await enrolment.remove_credentials(transaction.connection, tenant, host, node, kept=newest)
            await self._add_credential(transaction, credential, credential_id, tenant, host, node)
            for key in keys:
                await cakeys.forbid(transaction.connection, key.fingerprint, KeyStanding.HOST, tenant)
            transaction.record(
                event(
                    self._clock, caller, tenant, JOIN, host, node=node, credential=credential_id,
                    keys=[key.fingerprint for key in keys],
                )
            )  # fmt: skip
            await self._issuer.save(transaction, caller, signed)
        return Joined(tenant, host, credential_id, signed.records[0].principals, signed.issued)

    def _not_good(self, caller: Caller) -> Unauthenticated:
        self._failures.count(caller.address)
        return Unauthenticated(
            "join_token_not_good", "the join token is not good: wrong, used or ended; ask an admin for a new one"
        )

    async def _add_node(
        self, transaction: Transaction, tenant: str, host: str, node: str, keys: list[str], *, replace: bool
    ) -> None:
        there = await enrolment.nodes_of(transaction.connection, tenant, host)
        if there.get(node) and set(there[node]) != set(keys) and not replace:
            raise Conflict(
                "node_exists",
                f"{host!r} has a machine {node!r} with other host keys; for another machine say --name NODE, for this "
                "one with new keys --replace",
            )
        if node not in there and len(there) >= MOST_NODES:
            raise Conflict(
                "too_many_nodes", f"{host!r} has {len(there)} machines, the most it may have; let one of them leave"
            )
        await enrolment.put_node(transaction.connection, tenant, host, node, keys, self._clock.now())

    async def _add_credential(
        self, transaction: Transaction, digest: bytes, credential_id: str, tenant: str, host: str, node: str
    ) -> None:
        now = self._clock.now()
        try:
            await enrolment.add_credential(transaction.connection, digest, credential_id, tenant, host, node, now)
        except IntegrityError as error:
            raise Conflict(
                "credential_exists", "this credential is in use already; make another 256 random bits"
            ) from error

    async def renew(self, caller: Caller, digest: bytes, credential: bytes, node: str) -> str:
        """Add the credential of which `credential` is the digest beside the one that calls; return its id.

        `digest` is that of the calling credential. The same twice is one: an answer that got lost is asked for again.

        Raises:
            Denied: the calling credential is another machine's
            Conflict: the new credential is somebody's

        """
        tenant, host, credential_id = caller.tenant, caller.id, new_id("sec")
        async with self._database.change(tenant) as transaction:
            connection = transaction.connection
            await self._own_node(transaction, digest, node)
            there = await enrolment.credential_of(connection, credential)
            if there is not None and (there.tenant, there.subject, there.node) == (tenant, host, node):
                return str(there.credential_id)
            await enrolment.remove_credentials(connection, tenant, host, node, kept=digest)
            await self._add_credential(transaction, credential, credential_id, tenant, host, node)
            transaction.record(
                event(
                    self._clock, caller, tenant, "secrets.create", f"host:{host}", node=node, credential=credential_id
                )
            )
        return credential_id

    async def drop_others(self, caller: Caller, digest: bytes) -> None:
        """Take back every credential of the calling machine but the one that calls, whose digest is `digest`.

        Raises:
            Conflict: the credential was made by an admin, and belongs to no machine

        """
        async with self._database.change(caller.tenant) as transaction:
            node = await enrolment.node_of(transaction.connection, digest)
            if node is None:
                raise Conflict("credential_without_node", "this credential was made by an admin: a machine joins first")
            gone = await enrolment.remove_credentials(
                transaction.connection, caller.tenant, caller.id, node, kept=digest
            )
            transaction.record(
                event(self._clock, caller, caller.tenant, "secrets.delete", f"host:{caller.id}", node=node, count=gone)
            )

    async def leave(self, caller: Caller, tenant: str, host: str, node: str, digest: bytes) -> None:
        """Remove a machine with its credentials and reports; end its host certificates that no other machine shares.

        Raises:
            NotFound: the host has no such machine
            Denied: the calling credential is another machine's

        """
        async with self._database.change(tenant) as transaction:
            connection = transaction.connection
            if caller.reach is not Reach.ANY:
                await self._own_node(transaction, digest, node)
            there = await enrolment.nodes_of(connection, tenant, host)
            gone = await enrolment.remove_credentials(connection, tenant, host, node)
            if not await enrolment.remove_node(connection, tenant, host, node) and not gone:
                raise NotFound("node_unknown", f"{host!r} has no machine {node!r}")
            found = await rows.HOSTS.get(connection, tenant, host)
            kept = {line for name, keys in there.items() if name != node for line in keys}
            kept |= {" ".join(line.split()[:2]) for line in (found.ssh_host_keys if found else ())}
            ended = await self._end(transaction, tenant, host, [k for k in there.get(node, ()) if k not in kept])
            transaction.record(
                event(self._clock, caller, tenant, "hosts.leave", host, node=node, secrets=gone, certificates=ended)
            )

    async def _end(self, transaction: Transaction, tenant: str, host: str, lines: Sequence[str]) -> int:
        ended = 0
        keys = parse_keys(lines)
        if keys:
            await enrolment.count_change(transaction.connection, tenant)
        for key in keys:
            ended += await enrolment.end_host_certificates(
                transaction.connection, tenant, "left:node", self._clock.now(), host=host,
                public_key_fingerprint=key.fingerprint,
            )  # fmt: skip
        return ended

    async def _own_node(self, transaction: Transaction, digest: bytes, node: str) -> None:
        mine = await enrolment.node_of(transaction.connection, digest)
        if mine not in {None, node}:
            raise Denied("node_mismatch", f"the credential belongs to the machine {mine!r}, not to {node!r}")


class Failures:
    """Tokens that were not good, by address; a guess of 256 bits is hopeless, so this only spares the audit log."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: OrderedDict[str, tuple[int, int]] = OrderedDict()  # address -> when it began, how many

    def check(self, address: str) -> None:
        """Return where another try is looked at.

        Raises:
            TooMany: it is not, until `retry_after` is over

        """
        began, count = self._counts.get(address, (0, 0))
        left = began + FAILURES_SECONDS - self._clock.now()
        if count >= FREE_FAILURES and left > 0:
            raise TooMany(
                "too_many_joins", f"{count} join tokens from this address were not good; wait", retry_after=left
            )

    def count(self, address: str) -> None:
        """Count a token that was not good."""
        now = self._clock.now()
        began, count = self._counts.pop(address, (now, 0))
        if now - began >= FAILURES_SECONDS:
            began, count = now, 0
        self._counts[address] = began, count + 1
        if len(self._counts) > _MOST_ADDRESSES:
            self._counts.popitem(last=False)
