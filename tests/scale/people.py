"""The rows that fill a database: who is in it and what they were given, as dicts of the tables' columns."""

import base64
import random
from collections.abc import Iterator
from dataclasses import dataclass

from tms_ca.core.chain import GENESIS, append, head_mac
from tms_ca.core.model import ChainedEvent, DelegationStatus, Event, PrincipalFormat, Selector

Row = dict[str, object]

DAY = 86400
CERTIFICATES, USERS, HOSTS, CLIENTS, REVOCATIONS = 1_000_000, 100_000, 10_000, 100, 100_000
SESSIONS = 20_000
OLDEST_DAYS = 90
EVENTS_IN_A_CHAIN = 200_000


@dataclass(frozen=True)
class Crowd:
    """How many of each, and when it is; every yield is the same for the same crowd."""

    tenant: str
    ca_fingerprint: str
    now: int
    scale: float
    change: int  # the KRL's count of changes that covers the revocations made here

    def count(self, whole: int) -> int:
        """Return how many of `whole` there are at this scale, at least four."""
        return max(4, round(whole * self.scale))

    @property
    def certificates(self) -> int:
        return self.count(CERTIFICATES)

    @property
    def revoked(self) -> int:
        return self.count(REVOCATIONS)

    @property
    def fresh(self) -> int:
        """The last so many certificates have not ended; every other one of them is revoked."""
        return 2 * self.revoked

    def user(self, number: int) -> str:
        return f"scale-u{number % self.count(USERS):06d}"

    def host(self, number: int) -> str:
        return f"scale-h{number % self.count(USERS) % self.count(HOSTS):05d}"

    def client(self, number: int) -> str:
        """Half of everything is one portal's, as it is where one gateway serves most."""
        user = number % self.count(USERS)
        return "scale-c000" if user % 2 == 0 else f"scale-c{user % self.count(CLIENTS):03d}"

    def account(self, number: int) -> str:
        return f"acc{number % self.count(USERS):06d}"

    def delegation(self, number: int) -> str:
        return f"dlg_scale{number % self.count(USERS):06d}"


def clients(crowd: Crowd) -> Iterator[Row]:
    for number in range(crowd.count(CLIENTS)):
        yield {
            "tenant": crowd.tenant, "client_id": f"scale-c{number:03d}", "display_name": "", "enabled": True,
            "max_ttl_seconds": None, "expires_at": None, "redirect_uris": "[]", "created_at": crowd.now,
            "revocation_id": None,
        }  # fmt: skip


def users(crowd: Crowd) -> Iterator[Row]:
    for number in range(crowd.count(USERS)):
        yield {
            "tenant": crowd.tenant, "user": crowd.user(number), "display_name": f"Number {number}", "enabled": True,
            "password_hash": None, "mfa_verified_at": crowd.now, "created_at": crowd.now, "revocation_id": None,
        }  # fmt: skip


def hosts(crowd: Crowd) -> Iterator[Row]:
    for number in range(crowd.count(HOSTS)):
        yield {
            "tenant": crowd.tenant, "host": f"scale-h{number:05d}", "addresses": "[]",
            "principal_format": PrincipalFormat.ACCOUNT_AT_HOST.value, "ssh_host_keys": "[]", "enabled": True,
            "created_at": crowd.now, "revocation_id": None,
        }  # fmt: skip


def forbidden_keys(crowd: Crowd) -> Iterator[Row]:
    """Each host's own key."""
    dice = random.Random("host keys")
    for _ in range(crowd.count(HOSTS)):
        yield {"fingerprint": _fingerprint(dice), "standing": "host", "tenant": "*"}


def credentials(crowd: Crowd) -> Iterator[Row]:
    dice = random.Random("credentials")
    names = [("client", f"scale-c{number:03d}") for number in range(crowd.count(CLIENTS))]
    names += [("host", f"scale-h{number:05d}") for number in range(crowd.count(HOSTS))]
    for number, (role, subject) in enumerate(names):
        yield {
            "digest": dice.randbytes(32), "credential_id": f"sec_scale{number:06d}", "role": role,
            "tenant": crowd.tenant, "subject": subject, "created_at": crowd.now, "expires_at": None,
        }  # fmt: skip


def sessions(crowd: Crowd) -> Iterator[Row]:
    dice = random.Random("sessions")
    for number in range(crowd.count(SESSIONS)):
        yield {
            "digest": dice.randbytes(32), "tenant": crowd.tenant, "user": crowd.user(number), "created_at": crowd.now,
            "expires_at": crowd.now + 28800, "mfa_verified_at": None,
        }  # fmt: skip


def identities(crowd: Crowd) -> Iterator[Row]:
    for number in range(crowd.count(USERS)):
        yield {
            "tenant": crowd.tenant, "issuer": "https://idp.example.org", "subject": f"{number:06d}",
            "user": crowd.user(number), "created_at": crowd.now,
        }  # fmt: skip


def account_links(crowd: Crowd) -> Iterator[Row]:
    for number in range(crowd.count(USERS)):
        yield {
            "tenant": crowd.tenant, "link_id": f"lnk_scale{number:06d}", "user": crowd.user(number),
            "host": crowd.host(number), "account": crowd.account(number), "starts_at": crowd.now - 9,
            "expires_at": crowd.now + 365 * DAY, "created_at": crowd.now,
        }  # fmt: skip


def delegations(crowd: Crowd) -> Iterator[Row]:
    constraints = '{"max_ttl_seconds":null,"source_address":[],"force_command":null,"extensions":[]}'
    for number in range(crowd.count(USERS)):
        host, account = crowd.host(number), crowd.account(number)
        yield {
            "tenant": crowd.tenant, "delegation_id": crowd.delegation(number), "user": crowd.user(number),
            "client_id": crowd.client(number), "host": host, "account": account, "host_like": host,
            "account_like": account, "status": DelegationStatus.APPROVED.value, "purpose": "nightly",
            "lifetime_seconds": 30 * DAY, "constraints": constraints, "redirect_uri": None,
            "user_code": f"SCALE-{number:06d}", "created_at": crowd.now, "pending_until": crowd.now + DAY,
            "decided_at": crowd.now, "starts_at": crowd.now, "expires_at": crowd.now + 30 * DAY,
        }  # fmt: skip


def certificates(crowd: Crowd) -> Iterator[Row]:
    """Oldest first; the last of them have not ended."""
    dice = random.Random("certificates")
    old = crowd.certificates - crowd.fresh
    for number in range(crowd.certificates):
        host, account, user, client = (
            crowd.host(number), crowd.account(number), crowd.user(number), crowd.client(number)
        )  # fmt: skip
        if number < old:
            issued = crowd.now - OLDEST_DAYS * DAY + number * (OLDEST_DAYS - 1) * DAY // max(1, old)
            ends = issued + 3600
        else:
            issued, ends = crowd.now - 60, crowd.now + DAY - number % 3600
        yield {
            "serial": _serial(dice), "tenant": crowd.tenant,
            "key_id": f"t={crowd.tenant};c={client};u={user};r=scale{number:07d}", "user": user, "client_id": client,
            "host": host, "account": account, "delegation_id": crowd.delegation(number),
            "public_key_fingerprint": _fingerprint(dice), "ca_fingerprint": crowd.ca_fingerprint,
            "principals": f'["{account}@{host}"]', "critical_options": "[]", "extensions": "[]",
            "valid_after": issued - 60, "valid_before": ends, "limited_by": "default", "issued_at": issued,
            "sha256": dice.randbytes(32), "request_id": f"scale{number:07d}",
        }  # fmt: skip


def serials(crowd: Crowd) -> list[int]:
    """Return the serials that certificates() gives out, in its order."""
    dice = random.Random("certificates")
    found = []
    for _ in range(crowd.certificates):
        found.append(_serial(dice))
        dice.randbytes(32 + 32)
    return found


def revoked(crowd: Crowd) -> Iterator[tuple[int, int, int]]:
    """Yield number, serial and end of each certificate that is revoked."""
    first = crowd.certificates - crowd.fresh
    for number, serial in enumerate(serials(crowd)):
        if number >= first and (number - first) % 2 == 0:
            yield number - first, serial, crowd.now + DAY - number % 3600


def revocations(crowd: Crowd) -> Iterator[Row]:
    for number, serial, _ in revoked(crowd):
        yield {
            "tenant": crowd.tenant, "revocation_id": f"rev_scale{number:06d}", "selector": Selector.SERIAL.value,
            "value": str(serial), "reason": "lost", "actor": "operator:scale", "certificates": 1,
            "created_at": crowd.now, "lifted_at": None,
        }  # fmt: skip


def revoked_certificates(crowd: Crowd) -> Iterator[Row]:
    for number, serial, ends in revoked(crowd):
        yield {
            "serial": serial, "tenant": crowd.tenant, "ca_fingerprint": crowd.ca_fingerprint, "valid_before": ends,
            "revocation_id": f"rev_scale{number:06d}", "change": crowd.change,
        }  # fmt: skip


def chains(crowd: Crowd, seal_key: bytes) -> Iterator[tuple[Row, list[ChainedEvent]]]:
    """Yield chains of an event for each certificate, each with its sealed head."""
    numbers = range(crowd.certificates)
    for first in range(0, len(numbers), EVENTS_IN_A_CHAIN):
        chain = f"{0x5CA1E000 + first:016x}"
        events = append(chain, 0, GENESIS, [_event(crowd, number) for number in numbers[first:][:EVENTS_IN_A_CHAIN]])
        head = events[-1]
        yield {
            "chain": chain, "writer": "scale:1", "started_at": crowd.now - OLDEST_DAYS * DAY, "head_seq": head.seq,
            "head_hash": head.hash, "head_mac": head_mac(seal_key, chain, head.seq, head.hash),
        }, events  # fmt: skip


def _event(crowd: Crowd, number: int) -> Event:
    at = crowd.now - OLDEST_DAYS * DAY + number * OLDEST_DAYS * DAY // crowd.certificates
    detail: dict[str, object] = {
        "user": crowd.user(number), "account": crowd.account(number), "host": crowd.host(number), "until": at + 3600,
    }  # fmt: skip
    return Event(
        at * 1000, crowd.tenant, f"client:{crowd.client(number)}", "certificates.issue", "ok",
        f"serial:{number}", detail, f"scale{number:07d}", "127.0.0.1",
    )  # fmt: skip


def _serial(dice: random.Random) -> int:
    return dice.getrandbits(63) or 1


def _fingerprint(dice: random.Random) -> str:
    return "SHA256:" + base64.b64encode(dice.randbytes(32)).decode().rstrip("=")
