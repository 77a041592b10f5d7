"""Who may do what: the one table. docs/authorization.md shows it, tests/api/test_matrix.py walks it.

A role that a row does not name may not. `OWN` means that the service narrows the act to what belongs to the
caller; another's thing then answers as if it did not exist.
"""

from collections.abc import Mapping
from enum import StrEnum


class Role(StrEnum):
    """Kinds of caller."""

    OPERATOR = "operator"  # an admin of the whole installation
    ADMIN = "admin"  # an admin of one tenant
    CLIENT = "client"
    HOST = "host"
    USER = "user"
    ANYONE = "anyone"  # nobody in particular: no credential


class Reach(StrEnum):
    """How far a role reaches with an action."""

    ANY = "any"
    OWN = "own"
    OWN_MFA = "own, MFA-current"


class Action(StrEnum):
    """What can be done; a noun and a verb."""

    PUBLIC = "public"
    CERTIFICATE_ISSUE = "certificates.issue"
    CERTIFICATE_READ = "certificates.read"
    PUBLIC_KEY_CREATE = "public-keys.create"
    PUBLIC_KEY_READ = "public-keys.read"
    PUBLIC_KEY_CHANGE = "public-keys.change"
    PUBLIC_KEY_DELETE = "public-keys.delete"
    REVOCATION_CREATE = "revocations.create"
    REVOCATION_READ = "revocations.read"
    REVOCATION_LIFT = "revocations.lift"
    LOGIN_CHECK = "logins.check"
    LOGIN_REPORT = "logins.report"
    LOGIN_READ = "logins.read"
    DELEGATION_REQUEST = "delegations.request"
    DELEGATION_READ = "delegations.read"
    DELEGATION_DECIDE = "delegations.decide"
    DELEGATION_REVOKE = "delegations.revoke"
    DELEGATION_RESTRICT = "delegations.restrict"
    DELEGATION_GRANT = "delegations.grant"
    RESERVATION_CREATE = "reservations.create"
    RESERVATION_READ = "reservations.read"
    RESERVATION_DELETE = "reservations.delete"
    SESSION_END = "sessions.end"
    MFA_READ = "mfa.read"
    MFA_ENROL = "mfa.enrol"
    MFA_VERIFY = "mfa.verify"
    MFA_RESET = "mfa.reset"
    PASSWORD_CHANGE = "password.change"  # noqa: S105 - the name of an action
    TENANT_READ = "tenants.read"
    TENANT_WRITE = "tenants.write"
    TENANT_MANAGE = "tenants.manage"
    ADMIN_MANAGE = "admins.manage"
    CLIENT_READ = "clients.read"
    CLIENT_WRITE = "clients.write"
    CLIENT_SELF = "clients.self"
    USER_READ = "users.read"
    USER_WRITE = "users.write"
    IDENTITY_READ = "identities.read"
    IDENTITY_WRITE = "identities.write"
    HOST_READ = "hosts.read"
    HOST_WRITE = "hosts.write"
    HOST_INVITE = "hosts.invite"
    HOST_SELF = "hosts.self"
    NODE_REMOVE = "nodes.remove"
    LINK_READ = "account-links.read"
    LINK_WRITE = "account-links.write"
    CA_KEY_READ = "ca-keys.read"
    CA_KEY_WRITE = "ca-keys.write"
    AUDIT_READ = "audit-events.read"


_ADMINS: Mapping[Role, Reach] = {Role.OPERATOR: Reach.ANY, Role.ADMIN: Reach.ANY}
_OPERATOR: Mapping[Role, Reach] = {Role.OPERATOR: Reach.ANY}
_USER: Mapping[Role, Reach] = {Role.USER: Reach.OWN}

ACCESS: Mapping[Action, Mapping[Role, Reach]] = {
    Action.PUBLIC: dict.fromkeys(Role, Reach.ANY),
    Action.CERTIFICATE_ISSUE: {Role.CLIENT: Reach.OWN},
    Action.CERTIFICATE_READ: {**_ADMINS, Role.CLIENT: Reach.OWN, Role.USER: Reach.OWN},
    Action.PUBLIC_KEY_CREATE: {Role.CLIENT: Reach.OWN},
    Action.PUBLIC_KEY_READ: {**_ADMINS, Role.CLIENT: Reach.OWN, Role.USER: Reach.OWN},
    Action.PUBLIC_KEY_CHANGE: {**_ADMINS, Role.CLIENT: Reach.OWN},
    Action.PUBLIC_KEY_DELETE: {**_ADMINS, Role.CLIENT: Reach.OWN, Role.USER: Reach.OWN},
    Action.REVOCATION_CREATE: {**_ADMINS, Role.CLIENT: Reach.OWN, Role.USER: Reach.OWN},
    Action.REVOCATION_READ: _ADMINS,
    Action.REVOCATION_LIFT: _ADMINS,
    Action.LOGIN_CHECK: {Role.HOST: Reach.OWN},
    Action.LOGIN_REPORT: {Role.HOST: Reach.OWN},
    Action.LOGIN_READ: {**_ADMINS, Role.CLIENT: Reach.OWN, Role.USER: Reach.OWN},
    Action.DELEGATION_REQUEST: {Role.CLIENT: Reach.OWN},
    Action.DELEGATION_READ: {**_ADMINS, Role.CLIENT: Reach.OWN, Role.USER: Reach.OWN},
    Action.DELEGATION_DECIDE: {Role.USER: Reach.OWN_MFA},
    Action.DELEGATION_REVOKE: {Role.USER: Reach.OWN_MFA},
    Action.DELEGATION_RESTRICT: {**_ADMINS, Role.USER: Reach.OWN_MFA},
    Action.DELEGATION_GRANT: _ADMINS,
    Action.RESERVATION_CREATE: {Role.CLIENT: Reach.OWN},
    Action.RESERVATION_READ: {**_ADMINS, Role.CLIENT: Reach.OWN, Role.USER: Reach.OWN},
    Action.RESERVATION_DELETE: {**_ADMINS, Role.CLIENT: Reach.OWN, Role.USER: Reach.OWN_MFA},
    Action.SESSION_END: _USER,
    Action.MFA_READ: _USER,
    Action.MFA_ENROL: _USER,
    Action.MFA_VERIFY: _USER,
    Action.MFA_RESET: _ADMINS,
    Action.PASSWORD_CHANGE: _USER,
    Action.TENANT_READ: _ADMINS,
    Action.TENANT_WRITE: _ADMINS,
    Action.TENANT_MANAGE: _OPERATOR,
    Action.ADMIN_MANAGE: _OPERATOR,
    Action.CLIENT_READ: {**_ADMINS, Role.CLIENT: Reach.OWN},
    Action.CLIENT_WRITE: _ADMINS,
    Action.CLIENT_SELF: {**_ADMINS, Role.CLIENT: Reach.OWN},
    Action.USER_READ: {**_ADMINS, Role.USER: Reach.OWN},
    Action.USER_WRITE: _ADMINS,
    Action.IDENTITY_READ: {**_ADMINS, Role.USER: Reach.OWN},
    Action.IDENTITY_WRITE: _ADMINS,
    Action.HOST_READ: {**_ADMINS, Role.HOST: Reach.OWN},
    Action.HOST_WRITE: _ADMINS,
    Action.HOST_INVITE: _ADMINS,
    Action.HOST_SELF: {Role.HOST: Reach.OWN},
    Action.NODE_REMOVE: {**_ADMINS, Role.HOST: Reach.OWN},
    Action.LINK_READ: {**_ADMINS, Role.USER: Reach.OWN},
    Action.LINK_WRITE: _ADMINS,
    Action.CA_KEY_READ: _ADMINS,
    Action.CA_KEY_WRITE: _ADMINS,
    Action.AUDIT_READ: _ADMINS,
}


def reach(action: Action, role: Role) -> Reach | None:
    """Return how far `role` reaches with `action`; None where it may not at all."""
    return ACCESS[action].get(role)
