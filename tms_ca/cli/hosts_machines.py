"""`tms-ca hosts invite|status|remove-machine` and `tms-ca revocations enforcement`: the machines behind hosts."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from marshmallow import fields

from schemas.enrolment import InvitationCreate, InvitationShape
from tms_ca.cli import show
from tms_ca.cli.frame import Verb, deed
from tms_ca.cli.inputs import option, positional, seconds
from tms_ca.core.access import Action
from tms_ca.core.model import CaKey, KeyPurpose
from tms_ca.core.record import fields_of
from tms_ca.http.endpoint import Call
from tms_ca.http.routes import enrolment, reports
from tms_ca.http.routes.ca_keys import activate_ca_key

MOST_NAMED = 10
_ONLY_HERE = ("127.", "0.", "[::", "localhost")  # begins of addresses that are no other machine's way here


class _Invited(InvitationShape):
    """An invitation with the command to type on the machine."""

    command = fields.String()


async def _invite(call: Call[dict[str, Any]]) -> dict[str, Any]:
    """Make a token that lets one machine join as a host, and print the command for that machine.

    An older token of the host is void. The token is good once.
    """
    made = await enrolment.invite_host.handler(call)
    known = "".join(f" --host-ca {one}" for one in made.host_ca_fingerprints)
    command = f"tms-host join {call.context.public_url} {made.join_token}{known}"
    return {**{name: getattr(made, name) for name in fields_of(type(made))}, "command": command}


def _say_invited(made: Mapping[str, Any]) -> str:
    until = made["expires_at"]
    print(f"tms-ca: good once, until {until}; type this on the machine, as root", file=sys.stderr)
    url = made["command"].split()[2]
    if url.partition("://")[2].startswith(_ONLY_HERE):
        print(f"tms-ca: {url} is reached from this machine alone; set listen.public_url", file=sys.stderr)
    return f"{made['command']}\n"


def _brief(item: Mapping[str, Any]) -> dict[str, Any]:
    offset = item["clock_offset_ms"]
    keys = item["user_ca_fingerprints"]
    return {
        "host": item["host"],
        "machine": item["node"],
        "reported_at": item["reported_at"],
        "KRL": item["krl_version"],
        "CA_keys": None if keys is None else len(keys),
        "clock": None if offset is None else f"{offset / 1000:+.1f} s",
        "when_away": item["when_away"],
        "wrong": "; ".join(item["wrong"]),
    }


def _say_status(listing: show.Listing) -> str:
    columns = ("host", "machine", "reported_at", "KRL", "CA_keys", "clock", "when_away", "wrong")
    return show.table(columns, [_brief(one) for one in listing.items])


def _code_status(listing: show.Listing) -> int:
    return 1 if any(item["wrong"] for item in listing.items) else 0


def _say_enforcement(found: Mapping[str, Any]) -> str:
    slowest = found["slowest_seconds"]
    took = "" if slowest is None else f"; the slowest had it after {slowest:.1f} s"
    head = f"KRL {found['krl_version']}: enforced by {found['enforcing']} of {found['hosts']} machines{took}\n"
    rows = [{**one, "seconds": None if one["seconds"] is None else f"{one['seconds']:.1f}"} for one in found["items"]]
    return head + (show.table(("host", "node", "krl_version", "reported_at", "seconds"), rows) if rows else "")


async def _activate(call: Call[None]) -> CaKey:
    """Let a `next` key sign, or a `retiring` one again; the one that signed so far becomes `retiring`.

    Machines that have not reported that they trust the key are named: they refuse its certificates until they do.
    """
    fingerprint = call.path["fingerprint"]
    key = await call.context.cakeys.get(call.tenant, fingerprint)
    if key.purpose is KeyPurpose.USER:
        _warn(await call.context.reports.lacking(call.tenant, fingerprint))
    return await call.context.cakeys.activate(call.caller, call.tenant, fingerprint)


def _warn(lacking: Sequence[str]) -> None:
    if lacking:
        named = ", ".join(lacking[:MOST_NAMED]) + (", ..." if len(lacking) > MOST_NAMED else "")
        text = f"{len(lacking)} machines have not reported that they trust this key: {named}"
        print(f"tms-ca: {text}; they refuse its certificates until they do", file=sys.stderr)


_HOST = positional("host", "the host")

HOST_VERBS = (
    Verb(name="invite", say=_say_invited,
         arguments=(_HOST, option("--lifetime", "lifetime_seconds", "how long the token is good (default: 15m)",
                                  type=seconds)),
         does=deed(_invite, Action.HOST_INVITE, path="{host}", body=InvitationCreate(), returns=_Invited())),
    Verb(name="status", does=reports.list_nodes, say=_say_status, code=_code_status,
         text="Show the machines of hosts: what each last reported, and what is wrong; 1 where anything is.",
         arguments=(option("--host", "host", "only of this host"),)),
    Verb(name="remove-machine", does=enrolment.remove_node, done="removed {node} of {host}",
         arguments=(_HOST, positional("node", "the machine, as `hosts status` names it", metavar="MACHINE"))),
)  # fmt: skip

ENFORCEMENT = Verb(name="enforcement", does=reports.get_enforcement, say=_say_enforcement,
                   arguments=(positional("revocation_id", "its id", metavar="REVOCATION"),))  # fmt: skip

ACTIVATE = Verb(
    name="activate", arguments=(positional("fingerprint", "SHA256:..., as `ca list` shows it"),),
    does=deed(_activate, Action.CA_KEY_WRITE, path="{fingerprint}", returns=activate_ca_key.returns),
)  # fmt: skip
