"""`tms-ca hosts restrict`, `tms-ca delegations restrict`: what logins may do less than their certificates say."""

from typing import Any

from schemas.directory import HostShape
from schemas.logins import RestrictionsChange
from tms_ca.cli.frame import Verb, deed
from tms_ca.cli.inputs import NOTHING, constant, option, positional
from tms_ca.core.access import Action
from tms_ca.core.model import Host
from tms_ca.http.endpoint import Call
from tms_ca.http.routes import delegations

_OPTIONS = (
    constant("--restrict", "restrict", True, "no forwarding, no terminal, no user rc", one_of="restrict?"),
    constant("--no-restrict", "restrict", False, "whatever the certificate allows", one_of="restrict?"),
    option("--from", "source_address", "only from this address or network; may be repeated", action="append",
           metavar="CIDR", one_of="from?"),
    constant("--from-anywhere", "source_address", (), "from wherever the certificate allows", one_of="from?"),
    option("--command", "force_command", "run this, whatever is asked for", metavar="TEXT", one_of="command?"),
    constant("--no-command", "force_command", NOTHING, "run what is asked for", one_of="command?"),
    option("--permit-open", "permit_open", "forward to this destination only; may be repeated", action="append",
           metavar="HOST:PORT", one_of="open?"),
    constant("--permit-open-any", "permit_open", (), "forward wherever the certificate allows", one_of="open?"),
    constant("--expiry", "expiry", True, "tell sshd (9.1 and later) when the tightest grant ends", one_of="expiry?"),
    constant("--no-expiry", "expiry", False, "leave the end to the login check", one_of="expiry?"),
)  # fmt: skip


async def _restrict_host(call: Call[dict[str, Any]]) -> Host:
    """Restrict every login on a host from the next one on; what is not given is no restriction any more."""
    return await call.context.directory.change_host(
        call.caller, (call.tenant, call.path["host"]), restrictions=call.body or None
    )


RESTRICT_HOST = Verb(
    name="restrict",
    does=deed(_restrict_host, Action.HOST_WRITE, path="{host}", body=RestrictionsChange(), returns=HostShape()),
    arguments=(positional("host", "the host"), *_OPTIONS),
)
RESTRICT_DELEGATION = Verb(
    name="restrict",
    does=delegations.restrict_delegation,
    arguments=(positional("delegation_id", "its id", metavar="DELEGATION"), *_OPTIONS),
)
