"""What anyone may read: CA keys, KRL, health, metrics and the API's description."""

from dataclasses import asdict
from typing import Any

from aiohttp import web

from schemas.operations import HealthShape, ReadyShape
from tms_ca.core.access import Action
from tms_ca.core.model import KeyPurpose
from tms_ca.http.endpoint import Call, endpoint
from tms_ca.store import rows

KRL_MAX_AGE_SECONDS = 30  # how old a cache may make the KRL; hosts that poll faster revalidate with the ETag


@endpoint("GET", "krl", needs=Action.PUBLIC, media=("application/octet-stream",), problems=(404,))
async def get_krl(call: Call[None]) -> web.Response:
    """Return the key revocation list, as `RevokedKeys` and `ssh-keygen -Q` read it."""
    krl = await call.context.krls.get(call.tenant)
    headers = {
        "ETag": krl.etag,
        "Cache-Control": f"public, max-age={KRL_MAX_AGE_SECONDS}, must-revalidate",
        "X-KRL-Version": str(krl.version),
    }
    if krl.etag in call.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    return web.Response(body=krl.blob, content_type="application/octet-stream", headers=headers)


async def _trusted(call: Call[None], purpose: KeyPurpose) -> web.Response:
    await call.context.directory.get(rows.TENANTS, call.tenant)
    keys = await call.context.cakeys.trusted(call.tenant, purpose)
    lines = (f"{key.public_key} tms-{call.tenant}-{purpose}-ca-{key.state}\n" for key in keys)
    return web.Response(text="".join(lines), headers={"Cache-Control": "public, max-age=60"})


@endpoint("GET", "ca/user.pub", needs=Action.PUBLIC, media=("text/plain",), problems=(404,))
async def get_user_ca(call: Call[None]) -> web.Response:
    """Return every trusted user CA key, a line each, for `TrustedUserCAKeys`."""
    return await _trusted(call, KeyPurpose.USER)


@endpoint("GET", "ca/host.pub", needs=Action.PUBLIC, media=("text/plain",), problems=(404,))
async def get_host_ca(call: Call[None]) -> web.Response:
    """Return every trusted host CA key, a line each, for `@cert-authority` lines of known_hosts."""
    return await _trusted(call, KeyPurpose.HOST)


@endpoint("GET", "/healthz", needs=Action.PUBLIC, returns=HealthShape())
async def get_health(_: Call[None]) -> dict[str, str]:
    """Tell that the process runs."""
    return {"status": "ok"}


@endpoint("GET", "/readyz", needs=Action.PUBLIC, returns=ReadyShape(), media=("application/json", "text/plain"),
          problems=(503,))  # fmt: skip
async def get_readiness(call: Call[None]) -> Any:
    """Tell whether the service can do its work, and what is wrong where it cannot.

    503 where it must not get traffic. A check that fails without `blocking` leaves the status 200 and `degraded`:
    the service answers, and somebody should come. `Accept: text/plain` gives it as a person reads it.
    """
    look = await call.context.readiness.look()
    status = 200 if look.ready else 503
    if call.headers.get("Accept", "").startswith("text/plain"):
        return web.Response(text=look.text(), status=status)
    return web.json_response({"status": look.status, "checks": [asdict(check) for check in look.checks]}, status=status)


@endpoint("GET", "/metrics", needs=Action.PUBLIC, media=("text/plain",))
async def get_metrics(call: Call[None]) -> web.Response:
    """Return the metrics in Prometheus' text format; docs/monitoring.md names them."""
    await call.context.readiness.look()  # it says what it found in metrics of its own
    await call.context.reports.counts()  # so does this
    return web.Response(body=call.context.metrics.text(), headers={"Content-Type": call.context.metrics.media_type})


ENDPOINTS = (get_krl, get_user_ca, get_host_ca, get_health, get_readiness, get_metrics)
