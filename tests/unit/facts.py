"""One valid baseline of facts; each test changes one thing."""

from dataclasses import replace

from tms_ca.core.facts import (
    CaKeyFacts,
    ClientFacts,
    DelegationFacts,
    Facts,
    HostFacts,
    IssuedFacts,
    IssueRequest,
    LinkFacts,
    LoginFacts,
    LoginRequest,
    ReservationFacts,
    TenantFacts,
    UserFacts,
)
from tms_ca.core.model import NO_EXTRAS, DelegationStatus, KeyState, PrincipalFormat

NOW = 1_800_000_000
HOUR, DAY = 3600, 86400

REQUEST = IssueRequest(user="alice", host="h1", account="alice")
RESERVATION = ReservationFacts("alice", "h1", "alice", None, NOW + 6 * HOUR)
DELEGATION = DelegationFacts(
    "dlg_1", "h1", "alice", DelegationStatus.APPROVED, NOW, NOW - HOUR, NOW + 30 * DAY, NO_EXTRAS
)
FACTS = Facts(
    epoch=7,
    tenant=TenantFacts(enabled=True, mfa_window_seconds=12 * HOUR, default_ttl_seconds=HOUR, max_ttl_seconds=8 * HOUR),
    client=ClientFacts(enabled=True, revoked=False, expires_at=None, max_ttl_seconds=None),
    user=UserFacts(enabled=True, revoked=False, mfa_verified_at=NOW - HOUR),
    host=HostFacts(enabled=True, revoked=False, principal_format=PrincipalFormat.ACCOUNT_AT_HOST),
    link=LinkFacts(NOW - DAY, NOW + 300 * DAY),
    delegations=(DELEGATION,),
    ca_key=CaKeyFacts("SHA256:ca", None),
    key_standing=None,
)
DIGEST = b"\x01" * 32
LOGIN = LoginRequest("h1", "alice", DIGEST)
LOGIN_FACTS = LoginFacts(
    tenant=FACTS.tenant,
    host=FACTS.host,
    issued=IssuedFacts(
        DIGEST,
        "portal",
        "alice",
        "h1",
        "alice",
        "dlg_1",
        "SHA256:ca",
        "SHA256:key",
        ("alice@h1",),
        NOW - 60,
        NOW + HOUR,
        revoked=False,
    ),
    client=FACTS.client,
    user=FACTS.user,
    link=FACTS.link,
    delegation=DELEGATION,
    ca_key_state=KeyState.ACTIVE,
    ca_key_revoked=False,
    key_standing=None,
)


def changed(record, path, value):
    """Return `record` with one field, named by a dotted path, changed."""
    name, _, rest = path.partition(".")
    if not rest:
        return replace(record, **{name: value})
    inner = getattr(record, name)
    if isinstance(inner, tuple):
        return replace(record, **{name: (changed(inner[0], rest, value),)})
    return replace(record, **{name: changed(inner, rest, value)})
