"""The decisions about plain keys: may this one be escrowed, does it open an account now, and with which options.

A plain key rests on the same grants as a certificate, and every rule of core.policy holds for it. What a certificate
would say of itself stands in the line that sshd is given: `restrict` first, which takes everything away, then only
what was allowed. The line's grammar is that of sshd(8), AUTHORIZED_KEYS FILE FORMAT.
"""

from dataclasses import replace

from tms_ca.core.facts import (
    CaKeyFacts,
    Denial,
    DenialReason,
    Facts,
    Grant,
    IssuedFacts,
    IssueRequest,
    Limits,
    LoginFacts,
    LoginRequest,
    ReservationFacts,
)
from tms_ca.core.model import KeyState, Restrictions
from tms_ca.core.policy import decide, decide_login, login_ends
from tms_ca.core.record import record
from tms_ca.core.restrictions import options_line, valid_command

USE_SECONDS = 30  # one use: sshd asks twice for a login, and a client may offer its key before it signs with it
# What sshd allows again after `restrict`; no-touch-required has no place here: such a key must then be touched.
_WORDS = {
    "permit-pty": "pty",
    "permit-port-forwarding": "port-forwarding",
    "permit-agent-forwarding": "agent-forwarding",
    "permit-X11-forwarding": "X11-forwarding",
    "permit-user-rc": "user-rc",
}
_NO_CA_KEY = CaKeyFacts("", None)  # nothing is signed


@record
class EscrowedKey:
    """What the store knows of a key."""

    key_id: str
    user: str
    client_id: str
    host: str
    account: str
    delegation_id: str
    key_type: str
    public_key: str  # base64
    critical_options: tuple[tuple[str, str], ...]
    extensions: tuple[str, ...]
    valid_after: int
    expires_at: int
    uses_left: int | None
    used_at: int | None  # when a use was last taken
    revoked: bool


@record
class KeyFacts:
    """What the store knew, in one snapshot, about everything that a plain key's login rests on."""

    key: EscrowedKey | None
    around: LoginFacts  # `issued`, the CA key and its reservation are of no account here
    reserved_until: int | None = None  # the last end of the reservations for this key; None where there are none


@record
class KeyRequest:
    """What a host asks: whether this key opens this account, here and now."""

    host: str
    account: str
    fingerprint: str
    key_type: str
    reports_logins: bool = False  # the host tells of each login before its session: a use is taken then


@record
class KeyGrant:
    """Yes: the line that the host gives sshd."""

    options: str
    key_type: str
    public_key: str
    takes_use: bool = False  # a use must be taken before the session, see KeyRequest.reports_logins
    forgiven: DenialReason | None = None  # what decide_key would have said, where core.leniency let it pass

    @property
    def line(self) -> str:
        """Return the authorized_keys line."""
        return f"{self.options} {self.key_type} {self.public_key}"


def decide_escrow(request: IssueRequest, facts: Facts, limits: Limits, now: int) -> Grant | Denial:
    """Decide whether a key may be escrowed, with which options and until when: as a certificate would be issued."""
    # A number of logins is counted where a session announces its certificate; a plain key's would go uncounted.
    countless = tuple(one for one in facts.delegations if one.uses_left is None)
    verdict = decide(request, replace(facts, ca_key=_NO_CA_KEY, delegations=countless), limits, now)
    if isinstance(verdict, Denial):
        with_all = decide(request, replace(facts, ca_key=_NO_CA_KEY), limits, now)
        return _NOT_COUNTED if isinstance(with_all, Grant) else with_all
    command = dict(verdict.critical_options).get("force-command")
    if command is not None and not valid_command(command):
        return Denial(
            DenialReason.COMMAND_NOT_WRITABLE,
            "the forced command has a quote, a backslash, # or another character that cannot stand in a line for "
            "sshd; ask for another command, or for a certificate",
        )
    return verdict


def decide_key(request: KeyRequest, facts: KeyFacts, limits: Limits, now: int) -> KeyGrant | Denial:
    """Decide whether a key opens an account: every rule of core.policy again, on what is true now."""
    key, around = facts.key, facts.around
    if not around.tenant.enabled:
        return Denial(DenialReason.TENANT_DISABLED, "the tenant is disabled")
    if key is None or key.key_type != request.key_type:
        return Denial(DenialReason.PUBLIC_KEY_UNKNOWN, "no such public key is escrowed in this tenant")
    if key.revoked:
        return Denial(DenialReason.KEY_REVOKED, "the public key is revoked")
    if key.host != request.host:
        return Denial(DenialReason.PUBLIC_KEY_OTHER_HOST, f"the public key is for host {key.host!r}")
    if key.account != request.account:
        return Denial(DenialReason.PUBLIC_KEY_OTHER_ACCOUNT, f"the public key is for account {key.account!r}")
    if now >= key.expires_at:
        return Denial(DenialReason.PUBLIC_KEY_EXPIRED, "the public key's time has ended; it can be escrowed again")
    as_issued = as_login(key, facts, request.fingerprint)
    verdict = decide_login(LoginRequest(request.host, request.account, b""), as_issued, limits, now)
    if isinstance(verdict, Denial):
        return verdict
    if verdict.limited:
        return _NOT_COUNTED
    takes_use = key.uses_left is not None and (request.reports_logins or not _within_a_use(key, now))
    if takes_use and not key.uses_left:
        return KEY_USED_UP
    options = _options(key, as_issued)
    return options if isinstance(options, Denial) else KeyGrant(options, key.key_type, key.public_key, takes_use)


KEY_USED_UP = Denial(DenialReason.USES_EXHAUSTED, "the public key was for a number of uses, and all are used")
_NOT_COUNTED = Denial(
    DenialReason.LOGINS_NOT_COUNTED,
    "the delegation is for a number of logins, and those with a plain key cannot be counted; use a certificate",
)


def as_login(key: EscrowedKey, facts: KeyFacts, fingerprint: str) -> LoginFacts:
    """Return the facts of a login with the certificate that would say of itself what the key's line will say."""
    return replace(
        facts.around,
        issued=_as_issued(key, facts, fingerprint),
        ca_key_state=KeyState.ACTIVE,
        ca_key_revoked=False,
        reservation=_reservation(key, facts.reserved_until, fingerprint),
    )


def _within_a_use(key: EscrowedKey, now: int) -> bool:
    return key.used_at is not None and key.used_at <= now < key.used_at + USE_SECONDS


def _reservation(key: EscrowedKey, until: int | None, fingerprint: str) -> ReservationFacts | None:
    return None if until is None else ReservationFacts(key.user, key.host, key.account, fingerprint, until)


def _as_issued(key: EscrowedKey, facts: KeyFacts, fingerprint: str) -> IssuedFacts:
    host = facts.around.host
    return IssuedFacts(
        sha256=b"",
        client_id=key.client_id,
        user=key.user,
        host=key.host,
        account=key.account,
        delegation_id=key.delegation_id,
        ca_fingerprint="",
        public_key_fingerprint=fingerprint,
        principals=() if host is None else (host.principal_format.principal(key.account, key.host),),
        valid_after=key.valid_after,
        valid_before=key.expires_at,
        revoked=False,
        critical_options=key.critical_options,
        reservation_id=None if facts.reserved_until is None else "",
    )


def _options(key: EscrowedKey, facts: LoginFacts) -> str | Denial:
    """Return the options of a key's line, or why there can be none."""
    said = dict(key.critical_options)
    sources = said.get("source-address", "")
    own = Restrictions(
        restrict=True,
        source_address=tuple(sources.split(",")) if sources else (),
        force_command=said.get("force-command"),
        expiry=True,
    )
    others = [one.restrictions for one in (facts.host, facts.delegation) if one is not None and one.restrictions]
    options = options_line((own, *others), (), login_ends(facts))
    if isinstance(options, Denial) or any(one.restrict for one in others):
        return options
    allowed = [word for extension, word in _WORDS.items() if extension in key.extensions]
    return options.replace("restrict", ",".join(["restrict", *allowed]), 1)
