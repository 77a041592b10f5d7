"""Live public keys and live reservations of an old TMS server, as they will be here."""

import re
from collections.abc import Sequence

from tms_ca.core import names
from tms_ca.core.errors import Invalid
from tms_ca.core.facts import LONGEST_RESERVATION_SECONDS, LimitedBy
from tms_ca.core.publickey import parse_public_key
from tms_ca.core.tms_v1 import LINE_EXTENSIONS, MOST_INT, PURPOSE
from tms_ca.services.ids import new_id
from tms_ca.services.import_draft import Deed, Draft, named, other_end
from tms_ca.services.import_report import Came
from tms_ca.services.tms_v1_numbers import NumberOf
from tms_ca.store import tables
from tms_ca.store.imports import HereHost, HereKey, HereReservation
from tms_ca.store.tms_source_rows import OldKey, OldReservation

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def plan_key(draft: Draft, row: OldKey) -> None:
    """Plan a plain key with its end and the uses that are left of it."""
    name = named(client_id=row.client_id, host=row.host, fingerprint=row.public_key_fingerprint)
    here = draft.here
    place = (row.client_user_id, row.client_id, row.host, row.host_account)
    there = here.keys.get(row.public_key_fingerprint)
    if there is not None and there.place == place:
        draft.is_here("pubkeys", row, name, other_end(row.expires_at, there.expires_at))
        return
    if row.expires_at <= draft.now:
        draft.stays("pubkeys", row, name, "ended: not imported")
        return
    try:
        key = parse_public_key(row.public_key)
    except Invalid as error:
        draft.stays("pubkeys", row, name, f"{error.detail}; make a new key pair")
        return
    why = _unfit_key(draft, row, key.fingerprint)
    if why:
        draft.stays("pubkeys", row, name, why)
        return
    delegation_id, _ = here.delegations[row.client_id, row.client_user_id]
    any_number = row.max_uses >= MOST_INT
    most, asked = max(row.max_uses, 0), row.initial_ttl_minutes * 60
    key_id = new_id("key")
    values = {
        "tenant": draft.tenant, "fingerprint": key.fingerprint, "key_id": key_id, "key_type": key.algorithm,
        "public_key": key.line.split(" ")[1], "user": row.client_user_id, "client_id": row.client_id,
        "host": row.host, "account": row.host_account, "delegation_id": delegation_id, "critical_options": [],
        "extensions": list(LINE_EXTENSIONS), "valid_after": min(row.created, draft.now), "expires_at": row.expires_at,
        "limited_by": LimitedBy.REQUESTED, "ttl_seconds": asked if 0 <= asked <= MOST_INT else None,
        "max_uses": None if any_number else most,
        "uses_left": None if any_number else min(max(row.remaining_uses, 0), most),
        "created_at": row.created, "updated_at": row.updated,
    }  # fmt: skip
    here.keys[key.fingerprint] = HereKey(place, delegation_id, row.expires_at)
    detail = {
        "imported_id": row.id, "user": row.client_user_id, "account": row.host_account, "host": row.host,
        "key": key.fingerprint, "delegation": delegation_id, "until": row.expires_at,
    }  # fmt: skip
    deeds = [Deed("public-keys.create", key_id, detail)]
    draft.comes("pubkeys", row, NumberOf.KEY, key.fingerprint, [(tables.public_keys, values)], deeds, name)
    draft.keys.append((row, name))
    shut = _opens_nothing(draft, row)
    if shut:
        draft.remark(Came.NOTED, "pubkeys", row, name, f"opens nothing here: {shut}; the old server gave it out")


def _unfit_key(draft: Draft, row: OldKey, fingerprint: str) -> str:
    here = draft.here
    missing = draft.absent(row.client_id, row.client_user_id)
    if missing:
        return missing
    if fingerprint != row.public_key_fingerprint:
        return f"its fingerprint is {fingerprint}, not the one that is stored with it; make a new key pair"
    if fingerprint in here.keys:
        return "the same public key is here for another user, client, host or account; make a new key pair"
    if fingerprint in here.forbidden:
        return "the public key is revoked here, or it is the key of a host or a CA; make a new key pair"
    if row.host_account in names.RESERVED_ACCOUNTS:
        return "its account is one of the system's; see user_hosts"
    if (row.client_user_id, row.host, row.host_account) not in here.links:
        return "its user_hosts row has not come; see there"
    if (row.client_id, row.client_user_id) not in here.delegations:
        return "its delegation has not come; see there"
    return ""


def _opens_nothing(draft: Draft, row: OldKey) -> str:
    """Return why a key that comes is refused at logins; empty where it is not."""
    here, now = draft.here, draft.now
    enabled, mfa_until = here.users[row.client_user_id]
    forgiven = ", unless tms_v1.strict is false"
    faults = {
        "its client is disabled": not here.clients[row.client_id].enabled,
        "its user is disabled": not enabled,
        f"its MFA record has ended{forgiven}": mfa_until is not None and mfa_until <= now,
        f"its user_hosts row has ended{forgiven}": here.links[row.client_user_id, row.host, row.host_account] <= now,
        f"its delegation has ended{forgiven}": here.delegations[row.client_id, row.client_user_id][1] <= now,
        f"its uses are used up{forgiven}": row.max_uses < MOST_INT and row.remaining_uses <= 0,
    }
    return next((fault for fault, is_so in faults.items() if is_so), "")


def note_hosts_of_others(drafts: Sequence[Draft], before: Sequence[HereHost]) -> None:
    """Name the keys for hosts that stand for another tenant; `before` is what there was of hosts."""
    owners: dict[str, HereHost] = {}
    made = [HereHost(host, draft.tenant, at, proved=False) for draft in drafts for host, at in draft.hosts.items()]
    for one in [*before, *made]:
        owners[one.host] = min(one, owners.get(one.host, one), key=lambda host: host.rank)
    for draft in drafts:
        for row, name in draft.keys:
            owner = owners[row.host].tenant
            if owner != draft.tenant:
                draft.remark(
                    Came.NOTED, "pubkeys", row, name,
                    f"opens nothing over /v1/tms: the host {row.host!r} is that of tenant {owner!r}, where it proved "
                    "itself or was first, and only its keys are given out, unless tms_v1.retrieve_tenants leaves that "
                    "tenant out",
                )  # fmt: skip


def plan_reservation(draft: Draft, row: OldReservation) -> None:
    """Plan a reservation; one that has a parent is planned after it."""
    name = named(resid=row.resid)
    here = draft.here
    if row.resid in here.reservations:
        draft.is_here("reservations", row, name)
        return
    parent = None if row.parent_resid == row.resid else row.parent_resid
    why = _unfit_reservation(draft, row, parent)
    if why:
        draft.stays("reservations", row, name, why)
        return
    if parent is None:
        end = min(row.expires_at, draft.now + LONGEST_RESERVATION_SECONDS)
    else:
        end = here.reservations[parent].expires_at  # a child ends with its parent
    if end != row.expires_at:
        draft.remark(Came.NOTED, "reservations", row, name, "ends sooner here: after 48 hours, and with its parent")
    key = here.keys[row.public_key_fingerprint]
    values = {
        "tenant": draft.tenant, "reservation_id": row.resid, "parent_id": parent, "client_id": row.client_id,
        "user": row.client_user_id, "host": row.host, "account": key.place[3], "delegation_id": key.delegation_id,
        "public_key_fingerprint": row.public_key_fingerprint, "purpose": PURPOSE, "created_at": row.created,
        "expires_at": end,
    }  # fmt: skip
    here.reservations[row.resid] = HereReservation(
        parent, row.client_id, row.client_user_id, row.host, row.public_key_fingerprint, end
    )
    detail = {"imported_id": row.id, "user": row.client_user_id, "host": row.host, "parent": parent, "until": end}
    deeds = [Deed("reservations.create", row.resid, detail)]
    draft.comes(
        "reservations", row, NumberOf.RESERVATION, row.resid, [(tables.reservations, values)], deeds, name
    )  # fmt: skip


def _unfit_reservation(draft: Draft, row: OldReservation, parent_id: str | None) -> str:
    here = draft.here
    if row.expires_at <= draft.now:
        return "ended: not imported"
    if not _UUID.fullmatch(row.resid):
        return "its id is no UUID; reserve anew"
    missing = draft.absent(row.client_id, row.client_user_id)
    if missing:
        return missing
    key = here.keys.get(row.public_key_fingerprint)
    if key is None:
        return "its key has not come, or is gone; reserve anew with a new key"
    if key.place[:3] != (row.client_user_id, row.client_id, row.host):
        return "its key is for another user, client or host; reserve anew"
    if parent_id is None:
        return ""
    parent = here.reservations.get(parent_id)
    if parent is None:
        return f"its parent {parent_id[:40]!r} has not come, or is gone; reserve anew"
    if parent.parent_id is not None:
        return "its parent is itself a child; reserve anew"
    same = (row.client_id, row.client_user_id, row.host, row.public_key_fingerprint)
    if (parent.client_id, parent.user, parent.host, parent.public_key_fingerprint) != same:
        return "its parent is for another client, user, host or key; reserve anew"
    return ""
