"""The decisions: may this certificate be issued, does this one still stand.

Both are pure functions of a request, the facts of one snapshot and the time. Rules run in the order in which
they are written and the first that fails answers. What is not there is refused: no delegation, no link, no MFA
and no active CA key are all refusals, never an absent restriction.
"""

from ipaddress import ip_network
from operator import itemgetter

from tms_ca.core.facts import (
    HARD_MAX_SECONDS,
    MIN_LIFETIME_SECONDS,
    ClientFacts,
    DelegationFacts,
    Denial,
    DenialReason,
    Facts,
    Grant,
    HostFacts,
    IssuedFacts,
    IssueRequest,
    KeyStanding,
    LimitedBy,
    Limits,
    LinkFacts,
    LoginFacts,
    LoginGrant,
    LoginRequest,
    ReservationFacts,
    TenantFacts,
    UserFacts,
)
from tms_ca.core.model import Constraints, DelegationStatus, KeyState, status_at
from tms_ca.core.names import RESERVED_ACCOUNTS, matches, valid_principal
from tms_ca.core.record import record
from tms_ca.core.restrictions import options_line

_END = itemgetter(0)  # of a pair of an end and what sets it


def decide(request: IssueRequest, facts: Facts, limits: Limits, now: int) -> Grant | Denial:
    """Decide whether, and exactly what, may be signed for `request` at `now` (Unix seconds)."""
    denial = _standing(facts.tenant, facts.client, now)
    if denial:
        return denial
    reserved = _reserved(request, facts.reservation, now)
    if isinstance(reserved, Denial):
        return reserved
    # The delegation comes first: without one, a client learns nothing about users, hosts and links.
    live = _live(request, facts.delegations, now)
    if isinstance(live, Denial):
        return live
    denial = _person_and_place(request.user, request.host, facts.user, facts.host)
    if denial:
        return denial
    denial = _linked(request.user, request.host, request.account, facts.link, now) or _proved(
        request.user, facts.user, facts.tenant, reserved, now
    )
    if denial:
        return denial
    if facts.key_standing is not None:
        return _KEY_DENIALS[facts.key_standing]
    if facts.ca_key is None:
        return Denial(
            DenialReason.CA_KEY_MISSING, "the tenant has no active user CA key; an admin must create or activate one"
        )
    if len(live) == 1:
        return _grant(request, facts, live[0], limits, now)
    # Whichever gives the longest life, so that one delegation more, or a wider one, never gives less.
    verdicts = [_grant(request, facts, delegation, limits, now) for delegation in live]
    grants = [verdict for verdict in verdicts if isinstance(verdict, Grant)]
    return max(grants, key=lambda grant: grant.valid_before, default=verdicts[0])


def _standing(tenant: TenantFacts, client: ClientFacts | None, now: int) -> Denial | None:
    if not tenant.enabled:
        return Denial(DenialReason.TENANT_DISABLED, "the tenant is disabled; an operator can enable it")
    if client is None:
        return Denial(DenialReason.CLIENT_UNKNOWN, "the client is not registered in this tenant")
    if client.revoked:
        return Denial(DenialReason.CLIENT_REVOKED, "the client is revoked; an admin can lift the revocation")
    if not client.enabled:
        return Denial(DenialReason.CLIENT_DISABLED, "the client is disabled; an admin can enable it")
    if client.expires_at is not None and now >= client.expires_at:
        return Denial(DenialReason.CLIENT_EXPIRED, "the client's registration has ended; an admin can extend it")
    return None


def _person_and_place(user: str, host: str, person: UserFacts | None, place: HostFacts | None) -> Denial | None:
    if person is None:
        return Denial(DenialReason.USER_UNKNOWN, f"there is no user {user!r} in this tenant")
    if person.revoked:
        return Denial(DenialReason.USER_REVOKED, f"user {user!r} is revoked; an admin can lift the revocation")
    if not person.enabled:
        return Denial(DenialReason.USER_DISABLED, f"user {user!r} is disabled; an admin can enable it")
    if place is None:
        return Denial(DenialReason.HOST_UNKNOWN, f"there is no host {host!r} in this tenant")
    if place.revoked:
        return Denial(DenialReason.HOST_REVOKED, f"host {host!r} is revoked; an admin can lift the revocation")
    if not place.enabled:
        return Denial(DenialReason.HOST_DISABLED, f"host {host!r} is disabled; an admin can enable it")
    return None


def _reserved(request: IssueRequest, found: ReservationFacts | None, now: int) -> ReservationFacts | Denial | None:
    """Return the reservation that a request names, None where it names none."""
    named = request.reservation_id
    if named is None:
        return None
    if found is None:
        return Denial(
            DenialReason.RESERVATION_UNKNOWN,
            f"there is no reservation {named!r} of this client; leave reservation_id out, or ask for one first",
        )
    if (found.user, found.host, found.account) != (request.user, request.host, request.account):
        return Denial(
            DenialReason.RESERVATION_OTHER,
            f"reservation {named!r} is for user {found.user!r} and {found.account}@{found.host}",
        )
    if found.public_key_fingerprint is not None:
        return Denial(
            DenialReason.RESERVATION_OTHER, f"reservation {named!r} is for a plain key; ask for one for certificates"
        )
    return RESERVATION_ENDED if now >= found.expires_at else found


RESERVATION_ENDED = Denial(
    DenialReason.RESERVATION_EXPIRED, "the reservation has ended; the user must be MFA-current for another"
)


def _linked(user: str, host: str, account: str, link: LinkFacts | None, now: int) -> Denial | None:
    if link is None:
        return Denial(DenialReason.LINK_MISSING, f"user {user!r} has no link to account {account!r} on {host!r}")
    if now < link.starts_at:
        return Denial(DenialReason.LINK_NOT_STARTED, f"the link to account {account!r} on {host!r} has not begun")
    if now >= link.expires_at:
        return Denial(DenialReason.LINK_EXPIRED, f"the link to account {account!r} on {host!r} has ended")
    return None


def mfa_ends(person: UserFacts | None, tenant: TenantFacts) -> int | None:
    """Return when a user stops being MFA-current, in Unix seconds: with their window, or with an admin's word for it.

    Whichever is later counts; None where there was neither.
    """
    if person is None or person.mfa_verified_at is None:
        return None if person is None else person.mfa_until
    own = person.mfa_verified_at + tenant.mfa_window_seconds
    return own if person.mfa_until is None else max(own, person.mfa_until)


def _proved(
    user: str, person: UserFacts | None, tenant: TenantFacts, reserved: ReservationFacts | None, now: int
) -> Denial | None:
    """Return why nobody vouches for the user now; a reservation goes on where a window ended, and opens none."""
    ends = mfa_ends(person, tenant)
    if ends is None:
        return Denial(DenialReason.MFA_NEVER, f"user {user!r} has not done multi-factor authentication")
    if now < ends:
        return None
    if reserved is None:
        return Denial(
            DenialReason.MFA_EXPIRED, f"user {user!r} must do multi-factor authentication again: the window has ended"
        )
    return RESERVATION_ENDED if now >= reserved.expires_at else None


_KEY_DENIALS = {
    KeyStanding.CA: Denial(DenialReason.KEY_IS_CA_KEY, "this public key is a CA key; make a new key pair"),
    KeyStanding.HOST: Denial(DenialReason.KEY_IS_HOST_KEY, "this public key is a host's key; make a new key pair"),
    KeyStanding.REVOKED: Denial(DenialReason.KEY_REVOKED, "this public key is revoked; make a new key pair"),
}

USED_UP = Denial(
    DenialReason.USES_EXHAUSTED,
    "the delegation was for a number of logins, and all of them are used; ask the user for a new one",
)

_STATUS_DENIALS = {
    # In the order in which they help: what can still become a yes is said before what cannot.
    DelegationStatus.PENDING: Denial(
        DenialReason.DELEGATION_PENDING, "the user has not approved the delegation yet; send them to its approval_url"
    ),
    DelegationStatus.EXPIRED: Denial(
        DenialReason.DELEGATION_EXPIRED, "the delegation has ended; ask the user for a new one"
    ),
    DelegationStatus.REVOKED: Denial(
        DenialReason.DELEGATION_REVOKED, "the delegation was revoked; ask the user for a new one"
    ),
    DelegationStatus.DENIED: Denial(DenialReason.DELEGATION_DENIED, "the user denied the delegation"),
}


def _status(delegation: DelegationFacts, now: int) -> DelegationStatus:
    return status_at(delegation.status, delegation.pending_until, delegation.expires_at, now)


def _live(request: IssueRequest, offered: tuple[DelegationFacts, ...], now: int) -> list[DelegationFacts] | Denial:
    """Return the live delegations for this host and account: those that allow the request first, the longest first."""
    matching = [d for d in offered if matches(d.host, request.host) and _for_account(d.account, request.account)]
    approved = [d for d in matching if _status(d, now) is DelegationStatus.APPROVED]
    live = [d for d in approved if d.uses_left is None or d.uses_left > 0]
    if approved and not live:
        return USED_UP
    if len(live) == 1:
        return live
    if live:
        return sorted(
            live,
            key=lambda d: (options_within(request, d.constraints) is None, d.expires_at or 0, d.delegation_id),
            reverse=True,
        )
    statuses = {_status(d, now) for d in matching}
    for status, denial in _STATUS_DENIALS.items():
        if status in statuses:
            return denial
    elsewhere = [d for d in offered if _status(d, now) is DelegationStatus.APPROVED]
    if any(matches(d.host, request.host) for d in elsewhere):
        return Denial(
            DenialReason.DELEGATION_OTHER_ACCOUNT,
            f"the user's delegation for host {request.host!r} is for another account than {request.account!r}",
        )
    if elsewhere:
        return Denial(
            DenialReason.DELEGATION_OTHER_HOST, f"the user's delegation is for another host than {request.host!r}"
        )
    return Denial(
        DenialReason.DELEGATION_MISSING,
        f"user {request.user!r} has not delegated to this client; ask with POST delegations",
    )


def _for_account(pattern: str, account: str) -> bool:
    """Tell whether a delegation for `pattern` covers `account`; an account of the system must be named."""
    return pattern == account or (account not in RESERVED_ACCOUNTS and matches(pattern, account))


@record
class _Options:
    critical: tuple[tuple[str, str], ...]
    extensions: tuple[str, ...]


def _options(request: IssueRequest, allowed: Constraints) -> _Options | Denial:
    """Narrow the delegation's constraints by the request's wishes; a wish that would widen them is refused."""
    sources = request.source_address or allowed.source_address
    if request.source_address and allowed.source_address:
        outer = [ip_network(text) for text in allowed.source_address]
        for text in request.source_address:
            inner = ip_network(text)
            if not any(_inside(inner, network) for network in outer):
                return Denial(
                    DenialReason.SOURCE_ADDRESS_NOT_ALLOWED,
                    f"source address {text!r} is outside what the delegation allows",
                )
    command = allowed.force_command if request.force_command is None else request.force_command
    if allowed.force_command is not None and command != allowed.force_command:
        return Denial(
            DenialReason.FORCE_COMMAND_NOT_ALLOWED, "the delegation is for another command; leave force_command out"
        )
    extensions = allowed.extensions if request.extensions is None else request.extensions
    for extension in extensions:
        if extension not in allowed.extensions:
            return Denial(
                DenialReason.EXTENSION_NOT_ALLOWED, f"the delegation does not allow the extension {extension!r}"
            )
    critical = []
    if command is not None:
        critical.append(("force-command", command))
    if sources:
        critical.append(("source-address", ",".join(sources)))
    return _Options(tuple(critical), tuple(sorted(set(extensions))) if extensions else ())


def options_within(request: IssueRequest, allowed: Constraints) -> Denial | None:
    """Return why the options of `request` would go beyond `allowed`, or None where they do not."""
    options = _options(request, allowed)
    return options if isinstance(options, Denial) else None


def _inside(inner: object, outer: object) -> bool:
    # ipaddress raises TypeError where IPv4 meets IPv6: such a pair is simply not inside.
    return type(inner) is type(outer) and inner.subnet_of(outer)  # type: ignore[attr-defined] # a pair of one kind


def _grant(request: IssueRequest, facts: Facts, found: DelegationFacts, limits: Limits, now: int) -> Grant | Denial:
    options = _options(request, found.constraints)
    if isinstance(options, Denial):
        return options
    tenant, client, user, link, ca_key = facts.tenant, facts.client, facts.user, facts.link, facts.ca_key
    assert client is not None
    assert user is not None
    proved_until = mfa_ends(user, tenant)
    assert proved_until is not None
    assert link is not None
    assert ca_key is not None
    assert facts.host is not None
    verified_at = user.mfa_verified_at or 0
    # Of a window that has ended, the beginning says nothing: an admin's word or a reservation is what carries.
    carried_since = verified_at if now < verified_at + tenant.mfa_window_seconds else 0
    valid_after = max(now - limits.backdate, found.starts_at or 0, link.starts_at, carried_since)
    named = None if request.reservation_id is None else facts.reservation
    reserved_until = 0 if named is None else named.expires_at
    # A "most seconds" bounds the whole span, the back-dated start included, so that back-dating lengthens nothing.
    ends: list[tuple[int, LimitedBy]] = [
        (now + tenant.default_ttl_seconds, LimitedBy.DEFAULT)
        if request.ttl_seconds is None
        else (now + request.ttl_seconds, LimitedBy.REQUESTED),
        (found.expires_at or 0, LimitedBy.DELEGATION),
        (link.expires_at, LimitedBy.ACCOUNT_LINK),
        max((reserved_until, LimitedBy.RESERVATION), (proved_until, LimitedBy.MFA), key=_END),
        (valid_after + tenant.max_ttl_seconds, LimitedBy.TENANT),
        (valid_after + min(limits.max_ttl, HARD_MAX_SECONDS), LimitedBy.INSTALLATION),
    ]
    if found.constraints.max_ttl_seconds is not None:
        ends.append((valid_after + found.constraints.max_ttl_seconds, LimitedBy.DELEGATION))
    if client.max_ttl_seconds is not None:
        ends.append((valid_after + client.max_ttl_seconds, LimitedBy.CLIENT))
    if client.expires_at is not None:
        ends.append((client.expires_at, LimitedBy.CLIENT))
    if ca_key.retire_at is not None:
        ends.append((ca_key.retire_at, LimitedBy.CA_KEY))
    valid_before, limited_by = min(ends, key=_END)
    if valid_before - max(now, valid_after) < MIN_LIFETIME_SECONDS:
        return Denial(
            DenialReason.LIFETIME_TOO_SHORT,
            f"less than {MIN_LIFETIME_SECONDS} seconds would be left, limited by: {limited_by}",
        )
    principal = facts.host.principal_format.principal(request.account, request.host)
    if not valid_principal(principal):
        return Denial(DenialReason.PRINCIPAL_NOT_ALLOWED, f"{principal!r} cannot be a principal")
    return Grant(
        principals=(principal,),
        valid_after=valid_after,
        valid_before=valid_before,
        limited_by=limited_by,
        critical_options=options.critical,
        extensions=options.extensions,
        delegation_id=found.delegation_id,
        ca_fingerprint=ca_key.fingerprint,
    )


def decide_login(request: LoginRequest, facts: LoginFacts, limits: Limits, now: int) -> LoginGrant | Denial:
    """Decide whether a certificate still stands: every rule of `decide` again, on what is true now."""
    issued = facts.issued
    if not facts.tenant.enabled:
        return Denial(DenialReason.TENANT_DISABLED, "the tenant is disabled")
    if issued is None:
        return Denial(DenialReason.CERTIFICATE_UNKNOWN, "no certificate with this serial was issued in this tenant")
    if issued.sha256 != request.sha256:
        return Denial(
            DenialReason.CERTIFICATE_ALTERED, "a certificate with this serial was issued, but it is not this one"
        )
    if issued.revoked:
        return Denial(DenialReason.CERTIFICATE_REVOKED, "the certificate is revoked")
    if issued.host != request.host:
        return Denial(DenialReason.CERTIFICATE_OTHER_HOST, f"the certificate is for host {issued.host!r}")
    if issued.account != request.account:
        return Denial(DenialReason.CERTIFICATE_OTHER_ACCOUNT, f"the certificate is for account {issued.account!r}")
    # A host whose clock is behind by less than the back-dating may ask "early"; sshd has checked its own clock.
    if now < issued.valid_after - limits.backdate:
        return Denial(DenialReason.CERTIFICATE_NOT_STARTED, "the certificate is not valid yet")
    if now >= issued.valid_before:
        return Denial(DenialReason.CERTIFICATE_EXPIRED, "the certificate has ended")
    if facts.ca_key_revoked or facts.ca_key_state in {None, KeyState.RETIRED}:
        return Denial(DenialReason.CA_KEY_NOT_TRUSTED, "the CA key that signed the certificate is not trusted any more")
    if facts.key_standing is not None:
        return _KEY_DENIALS[facts.key_standing]
    denial = _standing(facts.tenant, facts.client, now) or _person_and_place(
        issued.user, issued.host, facts.user, facts.host
    )
    if denial:
        return denial
    if facts.delegation is None:
        return Denial(DenialReason.DELEGATION_MISSING, "the delegation behind the certificate is gone")
    status = _status(facts.delegation, now)
    if status is not DelegationStatus.APPROVED:
        return _STATUS_DENIALS[status]
    denial = _linked(issued.user, issued.host, issued.account, facts.link, now) or _still_proved(issued, facts, now)
    if denial:
        return denial
    principals = tuple(name for name in issued.principals if valid_principal(name))
    assert facts.host is not None
    expected = facts.host.principal_format.principal(request.account, request.host)
    if expected not in principals:
        return Denial(
            DenialReason.PRINCIPAL_NOT_ALLOWED,
            "the host names its principals in another way than when the certificate was issued; ask for a new one",
        )
    found, place = facts.delegation, facts.host
    if found.uses_left is not None and found.uses_left <= 0:
        return USED_UP
    if found.restrictions is None and place.restrictions is None:
        return LoginGrant((expected,), "", found.uses_left is not None)
    options = options_line((place.restrictions, found.restrictions), issued.critical_options, login_ends(facts))
    if isinstance(options, Denial):
        return options
    return LoginGrant((expected,), options, found.uses_left is not None)


def _still_proved(issued: IssuedFacts, facts: LoginFacts, now: int) -> Denial | None:
    """Return why nobody vouches for the user of what was issued any more."""
    reserved = _rests_on(issued, facts.reservation)
    denial = _proved(issued.user, facts.user, facts.tenant, reserved, now)
    if denial is None or denial.reason is not DenialReason.MFA_EXPIRED or issued.reservation_id is None:
        return denial
    return Denial(
        DenialReason.RESERVATION_UNKNOWN, "the MFA window has ended, and the reservation was taken back before its end"
    )


def _rests_on(issued: IssuedFacts, found: ReservationFacts | None) -> ReservationFacts | None:
    """Return the reservation that carries what was issued past the end of the MFA window, if it is there."""
    if found is None or issued.reservation_id is None:
        return None
    same = (found.user, found.host, found.account) == (issued.user, issued.host, issued.account)
    return found if same and found.public_key_fingerprint in {None, issued.public_key_fingerprint} else None


def login_ends(facts: LoginFacts) -> int:
    """Return when the tightest grant ends that a certificate's logins rest on, in Unix seconds; 0 where one is gone."""
    issued, delegation, link, user, client = (
        facts.issued, facts.delegation, facts.link, facts.user, facts.client
    )  # fmt: skip
    if issued is None or delegation is None or link is None or user is None or client is None:
        return 0
    reserved = _rests_on(issued, facts.reservation)
    ends = [
        issued.valid_before,
        delegation.expires_at or 0,
        link.expires_at,
        max(mfa_ends(user, facts.tenant) or 0, 0 if reserved is None else reserved.expires_at),
    ]
    if client.expires_at is not None:
        ends.append(client.expires_at)
    return min(ends)
