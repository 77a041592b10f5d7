"""hosts: addresses of hosts, noted for people. No decision reads them."""

from schemas.tms_v1.hosts import ReqDeleteHost, ReqHost
from tms_ca.core.access import Action
from tms_ca.core.errors import NotFound
from tms_ca.core.names import valid_host
from tms_ca.http.tms_v1.answers import Refused, Said
from tms_ca.http.tms_v1.declare import Call, Kind, v1
from tms_ca.http.tms_v1.listing import listing
from tms_ca.http.tms_v1.names import referring, require_host
from tms_ca.http.tms_v1.shown import numbered
from tms_ca.services.host_addresses import number_name
from tms_ca.services.tms_v1_numbers import NumberOf
from tms_ca.store.grants import HostAddress
from tms_ca.store.tms_v1 import Number

_ADMIN = (Kind.ADMIN,)
MOST_CHARACTERS = 255  # of an address: a range of two IPv6 addresses takes a third of it


def _can_be_noted(addr: str) -> bool:
    return len(addr) <= MOST_CHARACTERS and (not addr or addr.isprintable())


def _shown(noted: HostAddress, number: Number) -> dict[str, object]:
    return {
        **numbered(number, noted.created_at), "tenant": noted.tenant, "host": noted.host, "addr": noted.addr
    }  # fmt: skip


@v1("POST", "hosts", needs=Action.HOST_WRITE, kinds=_ADMIN, body=ReqHost(), status=201,
    unauthorised="to add a new host mapping.")  # fmt: skip
async def create_host(call: Call) -> Said:
    """Note an address of a host."""
    host, addr = require_host(call.body["host"]), call.body["addr"]
    if not _can_be_noted(addr):
        raise Refused(
            400,
            f"ERROR: addr: {addr[:60]!r} cannot be noted: at most {MOST_CHARACTERS} characters, each printable",
            "bad_name",
        )
    with referring():
        made = await call.context.host_addresses.add(call.caller, call.tenant, host, addr)
    return Said({"tenant": made.tenant, "host": made.host, "addr": made.addr})


@v1("GET", "hosts/list", needs=Action.HOST_READ, kinds=_ADMIN,
    unauthorised="to list user host information in tenant {tenant}.")  # fmt: skip
async def list_hosts(call: Call) -> Said:
    """List what is noted; the list is called as that of userhosts/list."""
    found = await call.context.lists.addresses(call.tenant)
    return await listing(call, ("num_mappings", "users"), NumberOf.HOST, found, number_name, _shown)


@v1("GET", "hosts/{id}", needs=Action.HOST_READ, kinds=_ADMIN,
    unauthorised="to view host mapping information for record #{id} in tenant {tenant}")  # fmt: skip
async def get_host(call: Call) -> Said:
    """Return one."""
    name = await call.context.numbers.name(call.tenant, NumberOf.HOST, call.path["id"])
    if name is None:
        raise NotFound("reference_unknown", f"no address has the number {call.path['id']}")
    found = await call.context.host_addresses.named(call.tenant, name)
    numbers = await call.context.numbers.of(call.tenant, NumberOf.HOST, [name])
    return Said(_shown(found, numbers[name]))


@v1("DELETE", "hosts/del", needs=Action.HOST_WRITE, kinds=_ADMIN, body=ReqDeleteHost(),
    unauthorised="to delete host mapping {host} -> {addr} in tenant {tenant}.")  # fmt: skip
async def delete_host(call: Call) -> Said:
    """Forget an address."""
    host, addr = call.body["host"], call.body["addr"]
    gone = valid_host(host) and _can_be_noted(addr) and await call.context.host_addresses.remove(
        call.caller, call.tenant, host, addr
    )  # fmt: skip
    message = f"Host mapping {host} -> {addr} NOT FOUND for tenant {call.tenant} - Nothing deleted"
    if gone:
        message = f"Host {host} -> {addr} deleted in tenant {call.tenant}"
    return Said({"num_deleted": int(gone)}, message)


ENDPOINTS = (create_host, list_hosts, get_host, delete_host)
