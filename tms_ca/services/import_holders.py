"""Admins, clients and users of an old TMS server, with the hashes of their secrets, as they will be here."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence

from sqlalchemy import Table

from tms_ca.core import names
from tms_ca.core.access import Role
from tms_ca.core.model import Selector
from tms_ca.core.tms_v1 import MOST_APP_NAME, MOST_APP_VERSION
from tms_ca.services.ids import tms_digest
from tms_ca.services.import_draft import Deed, Draft, named, other_end
from tms_ca.services.import_report import Came
from tms_ca.services.test_tenant import SECRET
from tms_ca.services.tms_v1_numbers import NumberOf
from tms_ca.store import tables
from tms_ca.store.imports import HereClient
from tms_ca.store.tms_source_rows import OldAdmin, OldClient, OldMfa, OldRow

_WELL_KNOWN = tms_digest(SECRET)
_SHA512 = re.compile(r"[0-9a-f]{128}")
_Rows = list[tuple[Table, Mapping[str, object]]]


def plan_admin(draft: Draft, row: OldAdmin) -> None:
    """Plan an admin of the tenant with their secret."""
    name = named(admin_user=row.admin_user)
    if not names.valid_admin_id(row.admin_user):
        draft.stays("admin", row, name, _no_name(draft, "an admin", row.admin_user, "admins"))
        return
    digest, fault = _digest(draft, row.admin_secret)
    secret_id = _secret_id(draft.tenant, Role.ADMIN, row.admin_user, row.admin_secret)
    if row.admin_user in draft.here.admins:
        draft.is_here("admin", row, name, _other_secret(draft, secret_id, fault))
        return
    rows: _Rows = [
        (tables.admins, _values(draft, row, admin_id=row.admin_user, display_name="", enabled=True)),
    ]
    deeds = [_deed("admins.create", row.admin_user, row)]
    _with_secret(draft, rows, deeds, Role.ADMIN, row.admin_user, secret_id, digest, row)
    draft.here.admins.add(row.admin_user)
    draft.comes("admin", row, None, row.admin_user, rows, deeds, name)
    if fault:
        # Admins have one secret, from when they are made.
        again = f"tms-ca admins delete {row.admin_user}{draft.mine()}, then: tms-ca admins create"
        draft.remark(
            Came.IN_PART, "admin", row, name,
            f"{_comes(draft)} without its secret: {fault}; make it anew: {again} {row.admin_user}{draft.mine()}",
        )  # fmt: skip


def plan_client(draft: Draft, row: OldClient) -> None:
    """Plan a client with its secret."""
    name = named(client_id=row.client_id)
    here = draft.here
    if not names.valid_client_id(row.client_id):
        draft.stays("clients", row, name, _no_name(draft, "a client", row.client_id, "clients"))
        return
    digest, fault = _digest(draft, row.client_secret)
    secret_id = _secret_id(draft.tenant, Role.CLIENT, row.client_id, row.client_secret)
    if row.client_id in here.clients:
        if not _is_same(draft, row, secret_id):
            draft.stays(
                "clients", row, name,
                "a client of this name is here, and not by an import: with its delegations, keys and reservations it "
                f"stays behind; if it is the same application: --adopt-client {row.client_id}",
            )  # fmt: skip
            return
        draft.clients.add(row.client_id)
        differences = _other_secret(draft, secret_id, fault)
        enabled = here.clients[row.client_id].enabled
        if enabled is not row.enabled:
            differences.append(f"is {_enabled(row.enabled)} on the old server, {_enabled(enabled)} here")
        draft.is_here("clients", row, name, differences)
        return
    for member, text, most in (
        ("app_name", row.app_name, MOST_APP_NAME), ("app_version", row.app_version, MOST_APP_VERSION),
    ):  # fmt: skip
        if len(text) > most or not (text == "" or text.isprintable()):
            draft.stays(
                "clients", row, name,
                f"its {member} has {len(text)} characters, or one that is not printable; expected up to {most} "
                "printable ones; shorten it on the old server",
            )  # fmt: skip
            return
    if (Selector.CLIENT, row.client_id) in here.revoked:
        draft.stays("clients", row, name, "the client was revoked here, and then deleted; lift the revocation first")
        return
    of_app = here.apps.get((row.app_name, row.app_version))
    if of_app is not None:
        draft.stays(
            "clients", row, name,
            f"its app_name {row.app_name!r} and app_version {row.app_version!r} are those of client {of_app!r} here; "
            f"change them on one side",
        )  # fmt: skip
        return
    values = _values(
        draft, row, client_id=row.client_id, display_name=row.app_name, enabled=row.enabled, redirect_uris=[],
        app_name=row.app_name, app_version=row.app_version,
    )  # fmt: skip
    rows: _Rows = [(tables.clients, values)]
    deeds = [_deed("clients.create", row.client_id, row)]
    _with_secret(draft, rows, deeds, Role.CLIENT, row.client_id, secret_id, digest, row)
    here.clients[row.client_id] = HereClient(row.enabled, row.app_name, row.created)
    draft.clients.add(row.client_id)
    here.apps[row.app_name, row.app_version] = row.client_id
    draft.comes("clients", row, NumberOf.CLIENT, row.client_id, rows, deeds, name)
    if fault:
        draft.remark(
            Came.IN_PART, "clients", row, name,
            f"{_comes(draft)} without its secret: {fault}; make one with: "
            f"tms-ca clients new-secret {row.client_id}{draft.mine()}",
        )  # fmt: skip
    if not row.enabled:
        draft.remark(
            Came.NOTED, "clients", row, name,
            "is disabled; the old server let it act all the same, here it cannot before an admin enables it",
        )  # fmt: skip


def plan_mfa(draft: Draft, row: OldMfa) -> None:
    """Plan a user with an admin's word that they are MFA-current."""
    name = named(tms_user_id=row.tms_user_id)
    here = draft.here
    if not names.valid_user(row.tms_user_id):
        draft.stays("user_mfa", row, name, _no_name(draft, "a user", row.tms_user_id, "users"))
        return
    if row.tms_user_id in here.users:
        enabled, until = here.users[row.tms_user_id]
        if until is None:
            # Never given to who is here without it: an admin may have taken it back since the import before.
            draft.stays(
                "user_mfa", row, name,
                "the user is here, without an admin's word on MFA: their user hosts, delegations, keys and "
                "reservations stay behind, too; if it is the same person, give it (POST /v1/tms/usermfa), import again",
            )  # fmt: skip
            return
        differences = []
        if enabled is not row.enabled:
            differences.append(f"is {_enabled(row.enabled)} on the old server, {_enabled(enabled)} here")
        differences += other_end(row.expires_at, until)
        draft.is_here("user_mfa", row, name, differences)
        return
    if (Selector.USER, row.tms_user_id) in here.revoked:
        draft.stays("user_mfa", row, name, "the user was revoked here, and then deleted; lift the revocation first")
        return
    values = _values(
        draft, row, user=row.tms_user_id, display_name="", enabled=row.enabled, mfa_until=row.expires_at
    )  # fmt: skip
    here.users[row.tms_user_id] = (row.enabled, row.expires_at)
    deeds = [
        _deed("users.create", row.tms_user_id, row),
        _deed("mfa.assert", f"user:{row.tms_user_id}", row, until=row.expires_at),
    ]
    draft.comes("user_mfa", row, NumberOf.MFA, row.tms_user_id, [(tables.users, values)], deeds, name)


def _values(draft: Draft, row: OldRow, **more: object) -> dict[str, object]:
    return {"tenant": draft.tenant, "created_at": row.created, **more}


def _deed(action: str, target: str, row: OldRow, **more: object) -> Deed:
    return Deed(action, target, {"imported_id": row.id, **more})


def _is_same(draft: Draft, row: OldClient, secret_id: str) -> bool:
    """Tell whether the client of that name that is here is the old server's.

    It has the imported secret, or it came by an import (nobody else chooses when a client was made) and has been given
    another one since, or the operator says so.
    """
    if row.client_id in draft.adopted or secret_id in draft.here.secrets:
        return True
    there = draft.here.clients[row.client_id]
    return (there.app_name, there.created_at) == (row.app_name, row.created)


def _comes(draft: Draft) -> str:
    return "would come" if draft.report.dry_run else "came"


def _enabled(enabled: bool) -> str:  # noqa: FBT001 - the value itself
    return "enabled" if enabled else "disabled"


def _no_name(draft: Draft, kind: str, name: str, noun: str) -> str:
    return (
        f"{name[:100]!r} cannot be the name of {kind} here; "
        f"make one of another name: tms-ca {noun} create NAME{draft.mine()}"
    )  # fmt: skip


def _digest(draft: Draft, stored: str) -> tuple[bytes | None, str]:
    """Return the digest of a stored hash, or why it cannot come."""
    if not _SHA512.fullmatch(stored):
        return None, "what is stored is no SHA-512 in 128 hexadecimal digits"
    digest = bytes.fromhex(stored)
    if digest == _WELL_KNOWN:
        return None, "it is the well-known secret of the old server's test tenant"
    if digest in draft.taken:
        return None, "it is another's, too"
    return digest, ""


def _with_secret(
    draft: Draft, rows: _Rows, deeds: list[Deed], role: Role, subject: str, secret_id: str, digest: bytes | None,
    row: OldRow,
) -> None:  # fmt: skip
    if digest is None:
        return
    draft.taken.add(digest)
    draft.here.secrets.add(secret_id)
    values = _values(draft, row, digest=digest, credential_id=secret_id, role=role, subject=subject)
    rows.append((tables.credentials, values))
    deeds.append(_deed("secrets.create", f"{role}:{subject}", row, credential=secret_id))


def _secret_id(tenant: str, role: Role, subject: str, stored: str) -> str:
    """Return the id of an imported secret: always the same, so that the next import knows whether it is still there."""
    digest = hashlib.sha256(f"imported {tenant} {role} {subject} {stored}".encode()).digest()
    return f"sec_{base64.b32encode(digest[:12]).decode().rstrip('=').lower()}"


def _other_secret(draft: Draft, secret_id: str, fault: str) -> list[str]:
    if fault or secret_id in draft.here.secrets:
        return []
    return ["the old server's secret is none of its secrets here"]


def digests_of(rows: Sequence[OldAdmin | OldClient]) -> list[bytes]:
    """Return the digests of every stored hash that is one."""
    stored = (row.admin_secret if isinstance(row, OldAdmin) else row.client_secret for row in rows)
    return [bytes.fromhex(text) for text in stored if _SHA512.fullmatch(text)]
