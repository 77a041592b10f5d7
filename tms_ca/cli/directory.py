"""`tms-ca tenants|admins|clients|users|identities|hosts|links ...`: the named things, declared."""

import argparse
from typing import Any

from schemas.directory import CA_ALGORITHMS, AdminCreate, NewAdminShape
from tms_ca.cli.frame import Noun, Verb, deed
from tms_ca.cli.hosts_machines import HOST_VERBS
from tms_ca.cli.inputs import (
    DISPLAY_NAME,
    ENABLED,
    NOTHING,
    PASSWORD_STDIN,
    UNTIL,
    account_at_host,
    constant,
    moment,
    new_password,
    option,
    other_password,
    positional,
    read_host_keys,
    seconds,
    switch,
)
from tms_ca.cli.restrictions import RESTRICT_HOST
from tms_ca.core.access import Action, Role
from tms_ca.core.model import ALL_TENANTS, OnRevocation, PrincipalFormat
from tms_ca.http.endpoint import Call, Endpoint
from tms_ca.http.routes import clients, hosts, identities, links, tenants, users
from tms_ca.http.routes.lists import with_secret
from tms_ca.store import rows

_TTLS = (
    option("--mfa-window", "mfa_window_seconds", "how long a second factor counts, such as 12h", type=seconds),
    option("--default-ttl", "default_ttl_seconds", "of certificates that ask for none, such as 1h", type=seconds),
    option("--max-ttl", "max_ttl_seconds", "the longest a certificate may live, such as 8h", type=seconds),
)
_SESSIONS = (
    option("--on-revocation", "on_revocation", "leave open sessions alone, or end them",
           choices=[str(one) for one in OnRevocation]),
    option("--warning", "warning_seconds", "between the warning and the end of a session, such as 30s", type=seconds),
    constant("--end-at-expiry", "end_at_expiry", True, "end sessions with certificate and MFA window, too",
             one_of="expiry?"),
    constant("--no-end-at-expiry", "end_at_expiry", False, "let them outlive both (the default)", one_of="expiry?"),
)  # fmt: skip
_TENANT = positional("tenant", "its name", metavar="NAME")

TENANTS = Noun(
    "tenants",
    "isolated installations, each with CA keys of its own",
    (
        Verb(name="create", does=tenants.create_tenant, arguments=(_TENANT, DISPLAY_NAME, *_TTLS,
             option("--ca-algorithm", "ca_algorithm", "of its CA keys (default: ed25519)", choices=CA_ALGORITHMS))),
        Verb(name="list", does=tenants.list_tenants,
             columns=("tenant", "display_name", "enabled", "default_ttl_seconds", "max_ttl_seconds",
                      "mfa_window_seconds", "created_at")),
        Verb(name="show", does=tenants.get_tenant, arguments=(_TENANT,)),
        Verb(name="update", does=tenants.update_tenant,
             arguments=(_TENANT, DISPLAY_NAME, *_TTLS, *_SESSIONS, *ENABLED)),
    ),
    "  tms-ca tenants create physics --max-ttl 8h --mfa-window 12h\n  tms-ca tenants update physics --disable\n",
)  # fmt: skip


async def _create_admin(call: Call[dict[str, Any]]) -> dict[str, Any]:
    """Make an admin of the tenant, or of the whole installation; the secret is shown once."""
    role = Role.OPERATOR if call.tenant == ALL_TENANTS else Role.ADMIN
    made, secret = await call.context.directory.add_with_secret(
        call.caller, rows.ADMINS, role, call.tenant, enabled=True, **call.body
    )
    return with_secret(made, secret)


async def _delete_admin(call: Call[None]) -> None:
    """Delete an admin; their secrets work no more."""
    directory, admin_id = call.context.directory, call.path["admin_id"]
    for held in await directory.secrets(rows.ADMINS, Role.OPERATOR, call.tenant, admin_id):
        await directory.remove_secret(call.caller, Role.OPERATOR, call.tenant, admin_id, held.credential_id)
    await directory.remove(call.caller, rows.ADMINS, call.tenant, admin_id)


def _whole_installation(_: dict[str, Any], options: argparse.Namespace) -> None:
    if options.operator:
        options.tenant = ALL_TENANTS


_OPERATOR = switch("--operator", "operator", "of the whole installation, every tenant")
_ADMIN = positional("admin_id", "their name", metavar="NAME")

ADMINS = Noun(
    "admins",
    "people and programs that manage a tenant, or all of them",
    (
        Verb(name="create", arguments=(_ADMIN, DISPLAY_NAME, _OPERATOR), prepare=_whole_installation,
             does=deed(_create_admin, Action.ADMIN_MANAGE, body=AdminCreate(), returns=NewAdminShape())),
        Verb(name="list", does=tenants.list_admins, arguments=(_OPERATOR,), prepare=_whole_installation,
             columns=("admin_id", "display_name", "enabled", "created_at")),
        Verb(name="delete", arguments=(_ADMIN, _OPERATOR), prepare=_whole_installation,
             does=deed(_delete_admin, Action.ADMIN_MANAGE, path="{admin_id}"), done="deleted admin {admin_id}"),
    ),
    "  tms-ca admins create carol --tenant physics\n  tms-ca admins create pager --operator\n",
)  # fmt: skip


def _secrets(of: str, name: str, create: Endpoint, every: Endpoint, delete: Endpoint, *more: str) -> tuple[Verb, ...]:
    """Return the verbs that roll out a new secret beside the old one."""
    holder = positional(name, f"the {of}", metavar=of.upper())
    which = positional("credential_id", "its id, as `secrets` lists it")
    return (
        Verb(name="new-secret", does=create, arguments=(holder,)),
        Verb(
            name="secrets",
            does=every,
            arguments=(holder,),
            columns=("credential_id", "created_at", "expires_at", *more),
        ),
        Verb(name="delete-secret", does=delete, arguments=(holder, which), done="deleted secret {credential_id}"),
    )


_CLIENT = positional("client_id", "the client", metavar="CLIENT")
_MAX_TTL = option("--max-ttl", "max_ttl_seconds", "the longest its certificates may live, such as 2h", type=seconds)
_EXPIRES = option("--until", "expires_at", "when it ends, such as 2027-01-31", type=moment, metavar="DATE")
_REDIRECT = option("--redirect-uri", "redirect_uris", "where users go back to; may be repeated", action="append",
                   metavar="URL")  # fmt: skip

CLIENTS = Noun(
    "clients",
    "applications that ask for certificates",
    (
        Verb(name="create", does=clients.create_client,
             arguments=(_CLIENT, DISPLAY_NAME, _MAX_TTL, _EXPIRES, _REDIRECT)),
        Verb(name="list", does=clients.list_clients,
             columns=("client_id", "display_name", "enabled", "max_ttl_seconds", "expires_at", "revocation_id")),
        Verb(name="show", does=clients.get_client, arguments=(_CLIENT,)),
        Verb(name="update", does=clients.update_client, arguments=(
            _CLIENT, DISPLAY_NAME, _MAX_TTL, _EXPIRES, _REDIRECT, *ENABLED,
            constant("--no-max-ttl", "max_ttl_seconds", NOTHING, "leave it to the tenant"),
            constant("--no-end", "expires_at", NOTHING, "let it never end"))),
        Verb(name="delete", does=clients.delete_client, arguments=(_CLIENT,), done="deleted client {client_id}"),
        *_secrets("client", "client_id", clients.create_client_secret, clients.list_client_secrets,
                  clients.delete_client_secret),
    ),
    "  tms-ca clients create portal --display-name 'Science portal' --max-ttl 2h\n"
    "  tms-ca clients new-secret portal          then roll it out, then:\n"
    "  tms-ca clients secrets portal\n"
    "  tms-ca clients delete-secret portal sec_...\n",
)  # fmt: skip

_USER = positional("user", "the user")

USERS = Noun(
    "users",
    "people",
    (
        Verb(name="create", does=users.create_user, prepare=new_password, arguments=(
            _USER, DISPLAY_NAME, PASSWORD_STDIN,
            switch("--no-password", "no_password", "they cannot log in with a password"))),
        Verb(name="list", does=users.list_users,
             columns=("user", "display_name", "enabled", "mfa_verified_at", "mfa_until", "created_at",
                      "revocation_id")),
        Verb(name="show", does=users.get_user, arguments=(_USER,)),
        Verb(name="update", does=users.update_user, prepare=other_password, arguments=(
            _USER, DISPLAY_NAME, *ENABLED, switch("--password", "password", "ask for a new password"),
            PASSWORD_STDIN,
            option("--mfa-until", "mfa_until", "your word that they are MFA-current until this date, or time",
                   type=moment, metavar="DATE", one_of="mfa?"),
            constant("--no-mfa-until", "mfa_until", NOTHING, "take that word back", one_of="mfa?"))),
        Verb(name="delete", does=users.delete_user, arguments=(_USER,), done="deleted user {user}"),
        Verb(name="reset-mfa", does=users.reset_mfa, arguments=(_USER,), done="reset the second factor of {user}"),
    ),
    "  tms-ca users create alice                 asks for the password\n"
    "  tms-ca users create alice --password-stdin <password.txt\n"
    "  tms-ca users reset-mfa alice              when the phone is lost, or after too many wrong codes\n",
)  # fmt: skip

_ISSUER = option("--issuer", "issuer", "the identity provider, https://...", required=True, metavar="URL")
_SUBJECT = option("--subject", "subject", "its word for the person", required=True, metavar="TEXT")

IDENTITIES = Noun(
    "identities",
    "who at which identity provider is which user",
    (
        Verb(name="create", does=identities.create_identity, arguments=(_USER, _ISSUER, _SUBJECT)),
        Verb(name="list", does=identities.list_identities, columns=("user", "issuer", "subject", "created_at"),
             arguments=(option("--user", "user", "only of this user"),)),
        Verb(name="delete", does=identities.delete_identity, arguments=(_ISSUER, _SUBJECT),
             done="deleted identity {subject} of {issuer}"),
    ),
    "  tms-ca identities create alice --issuer https://login.example.org --subject 00u1a2b3\n",
)  # fmt: skip

_HOST = positional("host", "the host")
_HOST_OPTIONS = (
    option("--address", "addresses", "a name or address it answers at; may be repeated", action="append"),
    option("--principal-format", "principal_format", "how certificates name an account (default: account@host)",
           choices=[str(known) for known in PrincipalFormat]),
    option("--ssh-host-keys", "ssh_host_keys", "a file with its public host keys; may be repeated", action="append",
           metavar="FILE"),
)  # fmt: skip

HOSTS = Noun(
    "hosts",
    "login targets",
    (
        Verb(name="create", does=hosts.create_host, arguments=(_HOST, *_HOST_OPTIONS), prepare=read_host_keys),
        Verb(name="list", does=hosts.list_hosts,
             columns=("host", "addresses", "principal_format", "enabled", "created_at", "revocation_id")),
        Verb(name="show", does=hosts.get_host, arguments=(_HOST,)),
        Verb(name="update", does=hosts.update_host, arguments=(_HOST, *_HOST_OPTIONS, *ENABLED),
             prepare=read_host_keys),
        Verb(name="delete", does=hosts.delete_host, arguments=(_HOST,), done="deleted host {host}"),
        *HOST_VERBS,
        RESTRICT_HOST,
        *_secrets("host", "host", hosts.create_host_secret, hosts.list_host_secrets, hosts.delete_host_secret, "node"),
    ),
    "  tms-ca hosts create stampede3 --address login.stampede3.example.org\n"
    "  tms-ca hosts update stampede3 --ssh-host-keys /etc/ssh/ssh_host_ed25519_key.pub\n"
    "  tms-ca hosts invite stampede3             prints the command to type on one of its machines\n"
    "  tms-ca hosts status                       which machines enforce what, and what is wrong with them\n",
)  # fmt: skip

_LINK = positional("link_id", "its id", metavar="LINK")
_STARTS = option("--from", "starts_at", "when it begins (default: now)", type=moment, metavar="DATE")
_UNTIL_MAYBE = tuple(type(one)(one.flags, one.keywords, "until?") for one in UNTIL)

LINKS = Noun(
    "links",
    "which user has which account on which host, until when",
    (
        Verb(name="create", does=links.create_link, prepare=account_at_host, arguments=(
            _USER, positional("account_at_host", "such as alice@stampede3", metavar="ACCOUNT@HOST"), _STARTS, *UNTIL,
            constant("--allow-reserved", "allow_reserved", True, "for accounts of the system, such as root"))),
        Verb(name="list", does=links.list_links, columns=("id", "user", "account", "host", "starts_at", "expires_at"),
             arguments=(option("--user", "user", "only of this user"), option("--host", "host", "only on this host"))),
        Verb(name="show", does=links.get_link, arguments=(_LINK,)),
        Verb(name="update", does=links.update_link, arguments=(_LINK, _STARTS, *_UNTIL_MAYBE)),
        Verb(name="delete", does=links.delete_link, arguments=(_LINK,), done="deleted link {link_id}"),
    ),
    "  tms-ca links create alice alice@stampede3 --days 365\n"
    "  tms-ca links create alice proj42@stampede3 --until 2027-06-30\n",
)  # fmt: skip

NOUNS = (TENANTS, ADMINS, CLIENTS, USERS, IDENTITIES, HOSTS, LINKS)
