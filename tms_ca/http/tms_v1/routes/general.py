"""What anybody may ask: is it there, and which version is it."""

from aiohttp import web

from schemas.tms_v1.general import HelloQuery
from tms_ca import __version__
from tms_ca.http.tms_v1.answers import Said, plain
from tms_ca.http.tms_v1.declare import Call, v1

TMS_VERSION = "0.3.0"  # whose wire this is: clients compare it


@v1("GET", "hello", why_open="says nothing but hello", query=HelloQuery())
async def hello(call: Call) -> web.StreamResponse:
    """Say hello."""
    name = call.query["name"]
    return plain(200, "hello!" if name is None else f"hello, {name}!")


@v1("GET", "version", why_open="a monitor's first question; the version of the wire is no secret")
async def version(call: Call) -> Said:  # noqa: ARG001 - every handler gets its call
    """Return the version of the wire, and of what speaks it."""
    return Said(
        {
            "tms_version": TMS_VERSION,
            "git_branch": "tms-ca",
            "git_commit": __version__,
            "git_dirty": "false",
            "source_ts": "",
            "rustc_version": "",
        }
    )


ENDPOINTS = (hello, version)
