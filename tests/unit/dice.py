"""Random facts for decisions, of which most are good: hypothesis' own strategies favour what is refused at once."""

from dataclasses import replace
from random import Random

from hypothesis import strategies as st

from tests.unit.facts import FACTS, LOGIN_FACTS, NOW, REQUEST, RESERVATION
from tms_ca.core.facts import HARD_MAX_SECONDS, KeyStanding, Limits
from tms_ca.core.model import Constraints, DelegationStatus, KeyState, PrincipalFormat

HOW = ["revoked", "denied", "pending", "removed", "earlier end", "shorter", "no extensions", "elsewhere"]
WHAT = ["tenant", "client", "user", "host", "link", "ca_key", "key_standing", "reservation"] + ["delegations"] * 5


class Dice:
    """Facts that are mostly good, so that most of what is decided about them is interesting."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.rarely = lambda: random.random() < 0.02
        self.mostly = lambda: not self.rarely()
        self.among = random.choice

    def maybe(self, draw, chance=0.5):
        return draw() if self.random.random() < chance else None

    def past(self) -> int:
        return NOW - self.among([self.random.randint(-50, 1000), self.random.randint(0, 2000)])

    def end(self) -> int:
        return NOW + self.among([self.random.randint(-50, 4000), self.random.randint(60, 10**6)])

    def length(self) -> int:
        return self.among([self.random.randint(60, 1000), self.random.randint(60, 200_000)])

    def networks(self) -> tuple[str, ...]:
        if self.random.random() < 0.5:
            return ()
        every = ["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "::/0", "2001:db8::/32", "::ffff:10.0.0.0/104"]
        return tuple(self.random.sample(every, self.random.randint(1, 2)))

    def words(self) -> tuple[str, ...]:
        return tuple(self.random.sample(["permit-pty", "permit-port-forwarding"], self.random.randint(0, 2)))

    def command(self) -> str | None:
        return self.among([None, None, None, "squeue", "sh"])

    def delegation(self):
        return replace(
            FACTS.delegations[0],
            delegation_id=f"dlg_{self.random.getrandbits(32)}",
            host=self.among(["h1", "h1", "h*", "*", "h2"]),
            account=self.among(["alice", "alice", "*", "bob"]),
            status=self.among([DelegationStatus.APPROVED] * 12 + list(DelegationStatus)),
            pending_until=self.end(),
            starts_at=self.maybe(self.past),
            expires_at=self.maybe(self.end, 0.95),
            constraints=Constraints(self.maybe(self.length), self.networks(), self.command(), self.words()),
        )

    def common(self):
        """Return the facts that an issue and a login share."""
        keep = {name: self.mostly() for name in ("client", "user", "host", "link")}
        good = {
            "client": replace(FACTS.client, enabled=self.mostly(), revoked=self.rarely(), expires_at=self.maybe(self.end), max_ttl_seconds=self.maybe(self.length)),
            "user": replace(FACTS.user, enabled=self.mostly(), revoked=self.rarely(), mfa_verified_at=self.maybe(self.past, 0.9), mfa_until=self.maybe(self.end, 0.3)),
            "host": replace(FACTS.host, enabled=self.mostly(), revoked=self.rarely(), principal_format=self.among([*PrincipalFormat])),
            "link": replace(FACTS.link, starts_at=self.past(), expires_at=self.end()),
        }  # fmt: skip
        tenant = replace(FACTS.tenant, enabled=self.mostly(), mfa_window_seconds=1000 + self.length(), default_ttl_seconds=self.length(), max_ttl_seconds=self.length())  # fmt: skip
        standing = self.among([*KeyStanding]) if self.rarely() else None
        return {"tenant": tenant, "key_standing": standing} | {n: v if keep[n] else None for n, v in good.items()}

    def facts(self):
        ca_key = replace(FACTS.ca_key, retire_at=self.maybe(self.end)) if self.mostly() else None
        delegations = tuple(self.delegation() for _ in range(self.random.randint(0, 4)))
        reservation = self.maybe(self.reservation, 0.9)
        return replace(FACTS, delegations=delegations, ca_key=ca_key, reservation=reservation, **self.common())

    def reservation(self):
        fingerprint = self.among([None] * 19 + ["SHA256:key"])
        account = self.among(["alice"] * 19 + ["bob"])
        return replace(RESERVATION, account=account, public_key_fingerprint=fingerprint, expires_at=self.end())

    def request(self):
        return replace(
            REQUEST,
            ttl_seconds=self.maybe(self.length),
            source_address=self.networks(),
            force_command=self.command(),
            extensions=self.maybe(self.words),
            account=self.among(["alice"] * 8 + ["root", "a,b"]),
            reservation_id=self.among([None] * 3 + ["r1"]),
        )

    def limits(self) -> Limits:
        return Limits(self.random.randint(0, 900), self.random.randint(60, HARD_MAX_SECONDS))

    def change(self, what):
        return self.among(what), self.among(HOW), self.random.randint(1, 4000), self.random.randrange(4)

    def login_facts(self):
        issued = replace(
            LOGIN_FACTS.issued, revoked=self.rarely(), valid_after=self.past(), valid_before=self.end(),
            principals=self.among([("alice@h1",), ("alice",), ("alice", "alice@h1")]), reservation_id=self.among([None, "r1"]),
        )  # fmt: skip
        return replace(
            LOGIN_FACTS,
            delegation=self.delegation() if self.mostly() else None,
            issued=issued if self.mostly() else None,
            ca_key_state=self.among([KeyState.ACTIVE] * 9 + [*KeyState, None]),
            ca_key_revoked=self.rarely(),
            reservation=self.maybe(self.reservation, 0.9),
            **self.common(),
        )


dices = st.randoms(use_true_random=True).map(Dice)
