"""Certificates of hosts: sign in memory, commit, answer. They say that a key is that of a host's names."""

import hashlib
import secrets
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from tms_ca.core.certificate import CertificateFields, CertType, assemble, certificate_line, to_be_signed
from tms_ca.core.certificate_lint import lint
from tms_ca.core.errors import Denied, Invalid, NotFound, Unavailable
from tms_ca.core.facts import KeyStanding
from tms_ca.core.model import Caller
from tms_ca.core.publickey import PublicKey, parse_ca_key
from tms_ca.core.record import record
from tms_ca.core.trust import host_names
from tms_ca.services.authentication import ChangedMeanwhile
from tms_ca.services.cakeys import KeyRing
from tms_ca.services.clock import Clock
from tms_ca.services.journal import event
from tms_ca.store import enrolment
from tms_ca.store.engine import Database, Transaction
from tms_ca.store.enrolment import HostCertificateRecord, Place

VALID_SECONDS = 30 * 24 * 3600
BACKDATE_SECONDS = 300  # for people whose clock is behind
ISSUE = "host-certificates.issue"


@record
class HostCertificates:
    """What a host receives: a certificate for each key, in the order of the keys."""

    certificates: tuple[str, ...]
    valid_before: int


@record
class Signed:
    """Certificates that nobody has seen yet: they leave once `save` has made them durable."""

    place: Place
    records: tuple[HostCertificateRecord, ...]
    issued: HostCertificates


def parse_keys(lines: Sequence[str]) -> list[PublicKey]:
    """Read keys that a host wants certified: no FIDO keys, RSA from 3072 bits, each once.

    Raises:
        Invalid: one is not such a key, or is there twice

    """
    keys = [parse_ca_key(line) for line in lines]
    if len({key.blob for key in keys}) != len(keys):
        raise Invalid("bad_public_key", "one of the keys is there twice; expected each once")
    return keys


class HostCertificateIssuer:
    """The one way to a host certificate."""

    def __init__(self, database: Database, ring: KeyRing, clock: Clock) -> None:
        self._database = database
        self._ring = ring
        self._clock = clock

    async def issue(self, caller: Caller, lines: Sequence[str]) -> HostCertificates:
        """Certify keys of the host `caller` for the names of that host.

        Raises:
            Invalid: not a key that may be certified, or none of this host's
            Denied: the host is not enabled
            Unavailable: the database or the CA key does not answer; nothing was issued
            ChangedMeanwhile: the host changed while this was at work; nothing was issued

        """
        keys = parse_keys(lines)
        async with self._database.read() as connection:
            await self._own(connection, caller, keys)
        signed = await self.sign(caller, caller.tenant, caller.id, keys)
        async with self._database.transaction() as transaction:
            await self.save(transaction, caller, signed)
            # A machine that left meanwhile has taken its keys along, and ended the certificates that there were.
            await self._own(transaction.connection, caller, keys)
        return signed.issued

    async def _own(self, connection: AsyncConnection, caller: Caller, keys: Sequence[PublicKey]) -> None:
        place = await enrolment.place(connection, caller.tenant, caller.id)
        nodes = await enrolment.nodes_of(connection, caller.tenant, caller.id)
        if place is None:
            raise NotFound("host_unknown", f"there is no host {caller.id!r}")
        registered = {_plain(line) for lines in (place.host.ssh_host_keys, *nodes.values()) for line in lines}
        for key in keys:
            if key.line not in registered:
                raise Denied(
                    "key_not_registered",
                    f"{key.fingerprint} is not among the registered keys of {caller.id!r}; join again, or let an admin "
                    "add it to ssh_host_keys",
                )

    async def sign(self, caller: Caller, tenant: str, host: str, keys: Sequence[PublicKey]) -> Signed:
        """Sign for `host` as it stands; what is returned must go through `save` before it leaves.

        Raises:
            Denied: the tenant or the host is disabled or revoked
            Invalid: a key may not be certified
            Unavailable: no host CA key is active

        """
        async with self._database.read() as connection:
            place = await enrolment.place(connection, tenant, host)
            forbidden = await enrolment.forbidden(connection, tenant, [key.fingerprint for key in keys])
        standing = _standing(place)
        _check_keys(forbidden)
        if standing.ca_fingerprint is None:
            raise Unavailable("ca_key_missing", "no host CA key is active; an admin makes one and activates it")
        signer = await self._ring.signer(tenant, standing.ca_fingerprint)
        names = host_names(host, standing.host.addresses)
        now = self._clock.now()
        lines: list[str] = []
        records: list[HostCertificateRecord] = []
        for key in keys:
            fields = CertificateFields(
                public_key=key,
                nonce=secrets.token_bytes(32),
                serial=secrets.randbits(63) or 1,
                type=CertType.HOST,
                key_id=f"t={tenant};h={host};r={caller.request_id[:13]}",
                principals=names,
                valid_after=now - BACKDATE_SECONDS,
                valid_before=now + VALID_SECONDS,
                critical_options=(),
                extensions=(),
                ca_key=signer.public_key,
            )
            tbs = to_be_signed(fields)
            lint(tbs, fields)  # nothing reaches the key that does not say, byte for byte, what was meant
            blob = assemble(tbs, await signer.sign(tbs))
            lines.append(certificate_line(blob))
            records.append(
                HostCertificateRecord(
                    fields.serial, tenant, host, fields.key_id, key.fingerprint, standing.ca_fingerprint, names,
                    fields.valid_after, fields.valid_before, now, hashlib.sha256(blob).digest(), caller.request_id,
                )
            )  # fmt: skip
        return Signed(standing, tuple(records), HostCertificates(tuple(lines), now + VALID_SECONDS))

    async def save(self, transaction: Transaction, caller: Caller, signed: Signed) -> None:
        """Make certificates durable with their events, unless what they rest on has changed since.

        Raises:
            ChangedMeanwhile: it has; begin anew

        """
        connection = transaction.connection
        first = signed.records[0]
        keys = [one.public_key_fingerprint for one in signed.records]
        now_there = await enrolment.place(connection, first.tenant, first.host, hold=True)
        if now_there != signed.place or await enrolment.forbidden(connection, first.tenant, keys):
            raise ChangedMeanwhile
        await enrolment.add_certificates(connection, signed.records)
        for one in signed.records:
            transaction.record(
                event(
                    self._clock, caller, one.tenant, ISSUE, f"serial:{one.serial}", host=one.host,
                    key=one.public_key_fingerprint, until=one.valid_before,
                )
            )  # fmt: skip


def _plain(line: str) -> str:
    return " ".join(line.split()[:2])


def _check_keys(forbidden: dict[str, str]) -> None:
    if KeyStanding.CA in forbidden.values():
        raise Invalid("key_is_ca_key", "one of the keys is a CA key, which is never certified")
    if forbidden:
        raise Invalid("key_revoked", "one of the keys is revoked; make a new host key")


def _standing(place: Place | None) -> Place:
    """Return `place` where certificates may be made for it."""
    if place is None:
        raise NotFound("host_unknown", "there is no such host")
    if not place.tenant_enabled:
        raise Denied("tenant_disabled", "the tenant is disabled; an operator can enable it")
    if place.host.revocation_id is not None:
        raise Denied("host_revoked", "the host is revoked; an admin can lift the revocation")
    if not place.host.enabled:
        raise Denied("host_disabled", "the host is disabled; an admin can enable it")
    return place
