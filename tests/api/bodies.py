"""A good body and a good path for every operation: where tests begin to spoil things."""

from typing import Any

from tms_ca.core.access import Action, Role, reach
from tms_ca.http.endpoint import Endpoint
from tms_ca.http.routes import ENDPOINTS

BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}
WITH_BODY = [endpoint for endpoint in ENDPOINTS if endpoint.body is not None]
PASSWORD = "another horse battery staple"


def good_bodies(world) -> dict[str, dict[str, Any]]:
    """Return for each operation a body with every field that it takes, in a furnished world."""
    key = world.issue_body()["public_key"]
    constraints = {
        "max_ttl_seconds": 600,
        "source_address": ["10.0.0.0/8"],
        "force_command": "true",
        "extensions": ["permit-pty"],
        "max_uses": 5,
    }
    restrictions = {
        "restrict": True,
        "source_address": ["10.0.0.0/8"],
        "force_command": "true",
        "permit_open": ["db.example.org:5432"],
        "expiry": True,
    }
    login = {"login_id": "0" * 32, "node": "login1"}
    return {
        "issue_certificate": {
            "user": "alice",
            "host": "h1",
            "account": "alice",
            "public_key": key,
            "ttl_seconds": 600,
            "source_address": ["10.0.0.0/8"],
            "force_command": "true",
            "extensions": ["permit-pty"],
            "reservation_id": "00000000-0000-4000-8000-000000000000",
        },
        "create_public_key": {
            "user": "alice",
            "host": "h1",
            "account": "alice",
            "public_key": key,
            "ttl_seconds": 600,
            "max_uses": 5,
            "source_address": ["10.0.0.0/8"],
            "force_command": "true",
            "extensions": ["permit-pty"],
        },
        "check_key": {
            "account": "alice",
            "fingerprint": "SHA256:" + "A" * 43,
            "key_type": "ssh-ed25519",
            "nonce": "0" * 32,
            "reports_logins": True,
        },
        "check_login": {"account": "alice", "certificate": key, "nonce": "00"},
        "revoke": {"key_id": "t=default;c=x;u=y;r=z", "reason": "lost"},
        "request_delegation": {
            "user": "alice",
            "host": "h1",
            "account": "alice",
            "lifetime_seconds": 3600,
            "purpose": "nightly",
            "constraints": constraints,
            "redirect_uri": "https://portal.example/back",
        },
        "create_reservation": {
            "user": "alice",
            "host": "h1",
            "account": "alice",
            "lifetime_seconds": 3600,
            "purpose": "nightly",
            "public_key_fingerprint": "SHA256:" + "A" * 43,
        },
        "approve_delegation": {"host": "h1", "account": "alice", "lifetime_seconds": 3600, **constraints},
        "restrict_delegation": restrictions,
        "open_login": {
            **login,
            "account": "alice",
            "certificate": key,
            "remote_address": "192.0.2.7",
            "started_at": "2027-01-01T00:00:00Z",
            "late": False,
        },
        "end_login": {"ended_at": "2027-01-01T00:00:00Z", "reason": "closed"},
        "report_sessions": {"node": "login1", "open": ["0" * 32], "complete": True},
        "create_session": {"user": "alice", "password": PASSWORD, "totp": "000000"},
        "change_password": {"current_password": PASSWORD, "new_password": PASSWORD},
        "verify_mfa": {"code": "000000"},
        "create_tenant": {
            "tenant": "new",
            "display_name": "New",
            "mfa_window_seconds": 3600,
            "default_ttl_seconds": 600,
            "max_ttl_seconds": 3600,
            "ca_algorithm": "ed25519",
        },
        "update_tenant": {
            "display_name": "New",
            "enabled": True,
            "mfa_window_seconds": 43200,
            "default_ttl_seconds": 600,
            "max_ttl_seconds": 3600,
            "on_revocation": "end",
            "warning_seconds": 60,
            "end_at_expiry": True,
        },
        "create_admin": {"admin_id": "boss", "display_name": "Boss"},
        "create_client": {
            "client_id": "new",
            "display_name": "New",
            "max_ttl_seconds": 600,
            "expires_at": "2099-01-01T00:00:00Z",
            "redirect_uris": ["https://portal.example/back"],
        },
        "update_client": {
            "display_name": "New",
            "enabled": True,
            "max_ttl_seconds": 600,
            "expires_at": "2099-01-01T00:00:00Z",
            "redirect_uris": ["https://portal.example/back"],
        },
        "create_user": {"user": "new", "display_name": "New", "password": PASSWORD},
        "update_user": {
            "display_name": "New",
            "enabled": True,
            "password": PASSWORD,
            "mfa_until": "2027-01-01T00:00:00Z",
        },
        "create_identity": {"issuer": "https://idp.example", "subject": "42", "user": "alice"},
        "create_host": {
            "host": "new",
            "addresses": ["10.0.0.1"],
            "principal_format": "account",
            "ssh_host_keys": [key],
        },
        "update_host": {
            "addresses": ["10.0.0.1"],
            "principal_format": "account",
            "ssh_host_keys": [key],
            "enabled": True,
            "restrictions": restrictions,
        },
        "invite_host": {"lifetime_seconds": 900},
        "join": {
            "join_token": "tms_j_" + "A" * 43,
            "credential_sha256": "0" * 64,
            "node": "login1",
            "ssh_host_keys": [key],
            "replace": False,
        },
        "renew_credential": {"credential_sha256": "0" * 64, "node": "login1"},
        "report": {
            "node": "login1",
            "user_ca_fingerprints": ["SHA256:" + "A" * 43],
            "krl_version": "1",
            "trust_epoch": "1",
            "clock_offset_ms": 3,
            "openssh_version": "OpenSSH_9.2p1",
            "tms_host_version": "0.1.0",
            "when_away": "closed",
        },
        "issue_host_certificates": {"public_keys": [key]},
        "create_link": {
            "user": "alice",
            "host": "h1",
            "account": "root",
            "starts_at": "2027-01-01T00:00:00Z",
            "expires_at": "2099-01-01T00:00:00Z",
            "allow_reserved": True,
        },
        "update_link": {"starts_at": "2027-01-01T00:00:00Z", "expires_at": "2099-01-01T00:00:00Z"},
        "create_ca_key": {"purpose": "user", "algorithm": "ed25519"},
        "retire_ca_key": {"force": False},
    }


def credential(world, endpoint: Endpoint) -> str | None:
    """Return a credential that may call `endpoint` in a furnished world."""
    if endpoint.needs is Action.PUBLIC:
        return None
    held = {
        Role.OPERATOR: world.operator,
        Role.CLIENT: world.clients.get("portal"),
        Role.HOST: world.hosts.get("h1"),
        Role.USER: world.sessions.get("alice"),
    }
    return next(secret for role, secret in held.items() if reach(endpoint.needs, role))


def path_of(world, endpoint: Endpoint, **others: str) -> str:
    """Return the path of `endpoint`, with names that are there where the furnished world has them."""
    names = {
        "tenant": "default",
        "client_id": "portal",
        "admin_id": "nobody",
        "user": "alice",
        "host": "h1",
        "node": "login1",
        "serial": "12345",
        "fingerprint": "SHA256:" + "A" * 43,
        "delegation_id": world.delegation["id"],
        "link_id": "lnk_" + "a" * 20,
        "revocation_id": "rev_" + "a" * 20,
        "credential_id": "sec_" + "a" * 20,
        "login_id": "0" * 32,
        "reservation_id": "00000000-0000-4000-8000-000000000000",
    }
    return endpoint.path.format(**{**names, **others})


async def ask(world, endpoint: Endpoint, **options: Any):
    """Call `endpoint` as somebody who may."""
    path = options.pop("path", None) or path_of(world, endpoint)
    return await world.call(endpoint.method, path, **{"auth": credential(world, endpoint), **options})
