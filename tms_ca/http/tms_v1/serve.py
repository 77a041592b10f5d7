"""Put the wire API into the application, where the settings enable it."""

import asyncio
import re

from aiohttp import web

from tms_ca.core.errors import TmsError
from tms_ca.http.context import Context
from tms_ca.http.tms_v1 import answers
from tms_ca.http.tms_v1.declare import TMS_V1
from tms_ca.http.tms_v1.rates import RATES, Rates
from tms_ca.http.tms_v1.routes import ENDPOINTS
from tms_ca.http.tms_v1.routes.spec import SPEC, SPEC_PATH, SPEC_YAML_PATH
from tms_ca.http.tms_v1.specification import document
from tms_ca.observe import Log
from tms_ca.services.test_tenant import TENANT
from tms_ca.settings_tms_v1 import TmsV1


def add_routes(app: web.Application, settings: TmsV1, public_url: str) -> None:
    """Add every endpoint under /v1/tms/ to `app`; what is not there is refused in plain text."""
    app[TMS_V1] = settings
    app[RATES] = Rates({"open": settings.requests_per_minute, "retrieve": settings.retrieve_per_minute})
    for slash in _SLASHES:
        for endpoint in ENDPOINTS:
            path = slash + _PART.sub(r"{\1:[^/]+}", endpoint.path)  # else aiohttp takes no part with a brace in it
            app.router.add_route(endpoint.method, path, endpoint.__call__)
            if endpoint.method == "GET":
                app.router.add_route("HEAD", path, endpoint.__call__)
        for path in ("/v1/{rest:.*}", SPEC_PATH, SPEC_YAML_PATH):
            app.router.add_route("*", slash + path, _not_there)
    app[SPEC] = document(ENDPOINTS, settings.server_urls or (f"{public_url}/v1",))


async def begin(context: Context, settings: TmsV1, log: Log) -> bool:
    """Settle the test tenant, and say in the log what is set less safely than it could be.

    Returns whether the tenant could be looked at; where not, `settle_later` does.
    """
    said, settled = settings.loosened(), True
    try:
        wrong = await _settle(context, settings)
    except TmsError as error:  # the service starts, and /readyz says what is wrong with the database
        wrong, settled = f"the test tenant could not be looked at: {error.detail}; it is tried again", False
    if wrong and settled:
        said.pop(f"tms_v1.{_TEST_TENANT}", None)  # its secret is good nowhere
    for message in filter(None, (wrong, *said.values(), *await context.readiness.unknown_tenants())):
        log.write(level="warning", message=message)
    return settled


async def settle_later(context: Context, settings: TmsV1, log: Log, seconds: float = 10.0) -> None:
    """Settle the test tenant as soon as the database answers, asked every `seconds`."""
    while True:
        await asyncio.sleep(seconds)
        try:
            wrong = await _settle(context, settings)
        except TmsError:
            continue
        message = wrong or f"the tenant {TENANT!r} is as {_TEST_TENANT} says"
        log.write(level="warning" if wrong else "info", message=message)
        return


async def _settle(context: Context, settings: TmsV1) -> str:
    """Have the test tenant as the settings want it; what cannot be is said by /readyz, too."""
    wrong = await context.seeded_tenant.settle(wanted=settings.enabled and settings.test_tenant)
    if wrong:
        context.readiness.say_instead(f"tms_v1.{_TEST_TENANT}", wrong)
    return wrong


async def _not_there(request: web.Request) -> web.StreamResponse:
    """Tell a wrong verb from a wrong path."""
    if any(path.fullmatch(request.path) for path in _PATHS):
        return answers.plain(405, "method not allowed")
    return answers.plain(404, "not found")


_TEST_TENANT = "test_tenant"
_SLASHES = ("", "/")  # some scripts write BASE//v1/tms/...
_PART = re.compile(r"{(\w+)}")
_PATHS = [re.compile("/?" + _PART.sub("[^/]+", endpoint.path)) for endpoint in ENDPOINTS]
