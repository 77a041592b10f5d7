"""User hosts, delegations and notes of addresses of an old TMS server, as they will be here."""

import json
from collections.abc import Mapping

from sqlalchemy import Table

from tms_ca.core import names
from tms_ca.core.model import PrincipalFormat, Selector
from tms_ca.services.delegations import delegation_row
from tms_ca.services.grants import granted
from tms_ca.services.ids import new_id
from tms_ca.services.import_draft import Deed, Draft, named, other_end
from tms_ca.services.tms_v1_numbers import NumberOf
from tms_ca.store import tables
from tms_ca.store.tms_source_rows import OldDelegation, OldHost, OldLink

MOST_CHARACTERS = 255  # of an address, as the wire API takes it


def plan_link(draft: Draft, row: OldLink) -> None:
    """Plan an account link, and its host where there is none."""
    name = named(tms_user_id=row.tms_user_id, host=row.host, host_account=row.host_account)
    key = (row.tms_user_id, row.host, row.host_account)
    here = draft.here
    if key in here.links:
        draft.is_here("user_hosts", row, name, other_end(row.expires_at, here.links[key]))
        return
    why = _unfit_link(draft, row)
    if why:
        draft.stays("user_hosts", row, name, why)
        return
    rows: list[tuple[Table, Mapping[str, object]]] = []
    deeds: list[Deed] = []
    if row.host not in here.hosts:
        here.hosts.add(row.host)
        # Of several tenants that have a host of one name, the one that had it first gives out keys for it. An import
        # takes it from none: an old row says nothing about who registered the host here.
        draft.hosts[row.host] = draft.now if row.host in draft.elsewhere else draft.begun[row.host]
        rows.append((tables.hosts, _host(draft, row)))
        deeds.append(Deed("hosts.create", row.host, {"imported_id": row.id}))
    link_id = new_id("lnk")
    values = {
        "tenant": draft.tenant, "link_id": link_id, "user": row.tms_user_id, "host": row.host,
        "account": row.host_account, "starts_at": min(row.created, draft.now), "expires_at": row.expires_at,
        "created_at": row.created,
    }  # fmt: skip
    rows.append((tables.account_links, values))
    about = {"user": row.tms_user_id, "account": row.host_account, "host": row.host, "until": row.expires_at}
    deeds.append(Deed("account-links.create", link_id, {"imported_id": row.id, **about}))
    here.links[key] = row.expires_at
    draft.comes("user_hosts", row, NumberOf.LINK, link_id, rows, deeds, name)


def _unfit_link(draft: Draft, row: OldLink) -> str:
    missing = draft.absent(None, row.tms_user_id)
    if missing:
        return missing
    if not names.valid_host(row.host):
        return (
            f"{row.host[:100]!r} cannot be the name of a host here (lower-case letters, digits, dots and hyphens); "
            f"name it so in tms_keycmd.toml and link it by that name: tms-ca links create{draft.mine()}"
        )
    if not names.valid_account(row.host_account):
        return (
            f"{row.host_account[:100]!r} cannot be the name of an account here (lower-case letters, digits and _.-, 32 "
            f"at most); name it so on the host and link it: tms-ca links create{draft.mine()}"
        )
    if (Selector.HOST, row.host) in draft.here.revoked and row.host not in draft.here.hosts:
        return "its host was revoked here, and then deleted; lift the revocation first"
    if row.host_account in names.RESERVED_ACCOUNTS:
        return (
            f"{row.host_account!r} is an account of the system, which no delegation of the old kind opens; link it "
            f"with tms-ca links create --allow-reserved{draft.mine()} and let its user delegate it by name"
        )
    return ""


def _host(draft: Draft, row: OldLink) -> dict[str, object]:
    return {
        "tenant": draft.tenant, "host": row.host, "addresses": [], "ssh_host_keys": [], "enabled": True,
        "principal_format": PrincipalFormat.ACCOUNT_AT_HOST, "created_at": draft.hosts[row.host],
    }  # fmt: skip


def plan_delegation(draft: Draft, row: OldDelegation) -> None:
    """Plan a delegation for every host and account that is not the system's."""
    name = named(client_id=row.client_id, client_user_id=row.client_user_id)
    here = draft.here
    key = (row.client_id, row.client_user_id)
    if key in here.delegations:
        draft.is_here("delegations", row, name, other_end(row.expires_at, here.delegations[key][1]))
        return
    missing = draft.absent(row.client_id, row.client_user_id)
    if missing:
        draft.stays("delegations", row, name, missing)
        return
    made = granted(draft.tenant, row.client_id, row.client_user_id, min(row.created, draft.now), row.expires_at)
    values = delegation_row(made)
    here.delegations[key] = (made.delegation_id, row.expires_at)
    detail = {"imported_id": row.id, "client": row.client_id, "user": row.client_user_id, "until": row.expires_at}
    deeds = [Deed("delegations.grant", made.delegation_id, detail)]
    rows: list[tuple[Table, Mapping[str, object]]] = [(tables.delegations, values)]
    draft.comes("delegations", row, NumberOf.DELEGATION, made.delegation_id, rows, deeds, name)


def plan_address(draft: Draft, row: OldHost) -> None:
    """Plan a note of a host's address, which nothing reads for a decision."""
    name = named(host=row.host, addr=row.addr)
    if (row.host, row.addr) in draft.here.addresses:
        draft.is_here("hosts", row, name)
        return
    if not names.valid_host(row.host):
        draft.stays("hosts", row, name, f"{row.host[:100]!r} cannot be the name of a host here; nothing reads the row")
        return
    if len(row.addr) > MOST_CHARACTERS or not (row.addr == "" or row.addr.isprintable()):
        draft.stays("hosts", row, name, f"its addr is not printable or over {MOST_CHARACTERS} characters long")
        return
    draft.here.addresses.add((row.host, row.addr))
    values = {"tenant": draft.tenant, "host": row.host, "addr": row.addr, "created_at": row.created}
    number_name = json.dumps([row.host, row.addr])
    deeds = [Deed("host-addresses.create", row.host, {"imported_id": row.id, "address": row.addr})]
    draft.comes("hosts", row, NumberOf.HOST, number_name, [(tables.tms_v1_hosts, values)], deeds, name)
