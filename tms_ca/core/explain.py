"""What a login rests on, each thing with its state and its end, for people. No rules: core.policy has them."""

from tms_ca.core.facts import ClientFacts, DelegationFacts, HostFacts, LoginFacts, ReservationFacts, UserFacts
from tms_ca.core.model import DelegationStatus, KeyState, Restrictions, status_at
from tms_ca.core.policy import mfa_ends
from tms_ca.core.record import record

GOOD = "good"


@record
class Rest:
    """One thing that a login rests on; `ends_at` is None for what has no end or is not there."""

    thing: str
    name: str
    state: str  # GOOD, or what is wrong with it
    ends_at: int | None = None


def rests_on(facts: LoginFacts, now: int, *, same: bool) -> tuple[Rest, ...]:
    """Return everything that a certificate's login rests on; `same`: what is presented is what is on record."""
    found = [Rest("tenant", "", GOOD if facts.tenant.enabled else "disabled")]
    issued = facts.issued
    if issued is None:
        found.append(Rest("certificate", "", "not on record"))
        found.append(_host("", facts.host))
        return tuple(found)
    state = (
        "other bytes than those on record" if not same
        else "revoked" if issued.revoked
        else "not valid yet" if now < issued.valid_after
        else "ended" if now >= issued.valid_before
        else GOOD
    )  # fmt: skip
    found.append(Rest("certificate", f"{issued.account}@{issued.host}", state, issued.valid_before))
    trusted = facts.ca_key_state not in {None, KeyState.RETIRED}
    ca_state = "revoked" if facts.ca_key_revoked else GOOD if trusted else str(facts.ca_key_state or "not there")
    found.append(Rest("CA key", issued.ca_fingerprint, ca_state))
    standing = GOOD if facts.key_standing is None else f"forbidden: {facts.key_standing}"
    found.append(Rest("public key", issued.public_key_fingerprint, standing))
    found.append(_client(issued.client_id, facts.client, now))
    found.append(_user(issued.user, facts.user))
    found.append(_mfa(issued.user, facts, now))
    if issued.reservation_id is not None:
        found.append(_reservation(issued.reservation_id, facts.reservation, now))
    found.append(_host(issued.host, facts.host))
    link = facts.link
    if link is None:
        found.append(Rest("account link", f"{issued.user} to {issued.account}@{issued.host}", "not there"))
    else:
        state = "not begun" if now < link.starts_at else "ended" if now >= link.expires_at else GOOD
        found.append(Rest("account link", f"{issued.user} to {issued.account}@{issued.host}", state, link.expires_at))
    found += _delegation(issued.delegation_id, facts.delegation, now)
    for thing, holder in (
        ("restrictions of the host", facts.host),
        ("restrictions of the delegation", facts.delegation),
    ):
        if holder is not None and holder.restrictions is not None:
            found.append(Rest(thing, said(holder.restrictions), GOOD))
    return tuple(found)


def said(rules: Restrictions) -> str:
    """Return restrictions in words."""
    parts = ["restrict"] if rules.restrict else []
    parts += [f"from {', '.join(rules.source_address)}"] if rules.source_address else []
    parts += [f"command {rules.force_command!r}"] if rules.force_command is not None else []
    parts += [f"to {', '.join(rules.permit_open)}"] if rules.permit_open else []
    parts += ["until the tightest grant ends"] if rules.expiry else []
    return "; ".join(parts)


def _client(name: str, client: ClientFacts | None, now: int) -> Rest:
    if client is None:
        return Rest("client", name, "not there")
    ended = client.expires_at is not None and now >= client.expires_at
    state = "revoked" if client.revoked else "disabled" if not client.enabled else "ended" if ended else GOOD
    return Rest("client", name, state, client.expires_at)


def _user(name: str, user: UserFacts | None) -> Rest:
    if user is None:
        return Rest("user", name, "not there")
    return Rest("user", name, "revoked" if user.revoked else GOOD if user.enabled else "disabled")


def _mfa(name: str, facts: LoginFacts, now: int) -> Rest:
    ends = mfa_ends(facts.user, facts.tenant)
    if ends is None:
        return Rest("MFA window", name, "never opened")
    return Rest("MFA window", name, GOOD if now < ends else "ended", ends)


def _reservation(named: str, found: ReservationFacts | None, now: int) -> Rest:
    if found is None:
        return Rest("reservation", named, "not there")
    return Rest("reservation", named, GOOD if now < found.expires_at else "ended", found.expires_at)


def _host(name: str, host: HostFacts | None) -> Rest:
    if host is None:
        return Rest("host", name, "not there")
    return Rest("host", name, "revoked" if host.revoked else GOOD if host.enabled else "disabled")


def _delegation(name: str, delegation: DelegationFacts | None, now: int) -> list[Rest]:
    if delegation is None:
        return [Rest("delegation", name, "not there")]
    status = status_at(delegation.status, delegation.pending_until, delegation.expires_at, now)
    state = GOOD if status is DelegationStatus.APPROVED else str(status)
    found = [Rest("delegation", name, state, delegation.expires_at)]
    if delegation.uses_left is not None:
        left = delegation.uses_left
        found.append(Rest("logins left", str(left), GOOD if left > 0 else "used up"))
    return found
