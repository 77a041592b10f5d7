"""Pages for people: the table of them, the wrapper that runs each, and the pages that need no log-in.

Pages decide nothing by themselves: they go through the same services as the API. They work without a script.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from tms_ca import __version__
from tms_ca.core.errors import NotFound, TmsError, Unauthenticated
from tms_ca.core.names import valid_tenant
from tms_ca.http import delegation_pages, login_pages, openapi, problems, reservation_pages
from tms_ca.http.browser import Barred, Visit, next_path, render, see_other, visit_of
from tms_ca.http.context import CONTEXT, REQUEST_ID
from tms_ca.http.cookies import SESSION_COOKIE, drop_cookie
from tms_ca.http.endpoint import Endpoint
from tms_ca.http.reference import reference

Handler = Callable[[web.Request], Awaitable[web.Response]]
Form = Mapping[str, str]
_STYLESHEET = Path(__file__).parent / "static" / "tms.css"
_DELEGATION = "/t/{tenant}/delegations/{delegation_id}"

_TITLE: Mapping[int, str] = {
    400: "That could not be read",
    401: "Please log in",
    403: "Not allowed",
    404: "There is nothing here",
    409: "This has changed",
    413: "That is too much",
    429: "Too many tries",
    503: "Out of order for the moment",
}
_ADVICE: Mapping[int, str] = {
    400: "Go back and check what you entered.",
    401: "Log in, then open the page again.",
    403: "Nothing was changed.",
    404: "Check the link. If an application gave it to you, ask it for a new one: it may be for another user, or gone.",
    409: "Nothing was changed. Look at it again before you decide.",
    413: "Go back and shorten what you entered.",
    429: "Wait, then try again. If you did not try to log in, somebody else did: tell your administrator.",
    503: "Nothing was changed. Try again in a minute.",
}


@cache
def _described(endpoints: tuple[Endpoint, ...]) -> tuple[bytes, Mapping[str, Any], Mapping[str, Any]]:
    """Return the document of `endpoints` as JSON, and what the page /docs shows of it."""
    document = openapi.document(endpoints)
    return orjson.dumps(document), reference(document), document["info"]


def add_routes(app: web.Application, endpoints: tuple[Endpoint, ...]) -> None:
    """Add the pages to `app`; /docs and /openapi.json describe `endpoints`."""
    description, groups, info = _described(endpoints)
    stylesheet = _STYLESHEET.read_bytes()

    async def describe(_: web.Request) -> web.Response:
        return web.Response(body=description, content_type="application/json")

    async def docs(_: web.Request) -> web.Response:
        return render("docs.html", groups=groups, info=info)

    async def style(_: web.Request) -> web.Response:
        return web.Response(body=stylesheet, content_type="text/css", headers={"Cache-Control": "max-age=300"})

    async def welcome(_: web.Request) -> web.Response:
        return render("welcome.html", version=__version__)

    app.router.add_get("/", welcome)
    app.router.add_get("/docs", docs)
    app.router.add_get("/openapi.json", describe)
    app.router.add_get("/static/tms.css", style)
    app.router.add_get("/t/{tenant}", show(_slash))
    app.router.add_get("/t/{tenant}/", show(delegation_pages.home))
    app.router.add_get("/t/{tenant}/login", show(login_pages.login))
    app.router.add_post("/t/{tenant}/login", act(login_pages.log_in))
    app.router.add_get("/t/{tenant}/mfa", show(login_pages.mfa))
    app.router.add_post("/t/{tenant}/mfa", act_as_user(login_pages.verify))
    app.router.add_post("/t/{tenant}/mfa/enrol", act_as_user(login_pages.enrol))
    app.router.add_post("/t/{tenant}/logout", act_as_user(login_pages.log_out))
    app.router.add_get(_DELEGATION, show(delegation_pages.delegation))
    app.router.add_post(_DELEGATION + "/approve", act_as_user(delegation_pages.approve))
    app.router.add_post(_DELEGATION + "/deny", act_as_user(delegation_pages.deny))
    app.router.add_post(_DELEGATION + "/revoke", act_as_user(delegation_pages.revoke))
    app.router.add_post("/t/{tenant}/reservations/{reservation_id}/end", act_as_user(reservation_pages.end))
    app.router.add_route("*", "/t/{rest:.*}", _nothing)


def show(handler: Callable[[Visit], Awaitable[web.Response]]) -> Handler:
    """Return the handler of a GET; who must log in for it is sent to do so and comes back."""

    async def run(request: web.Request) -> web.Response:
        try:
            return await handler(await visit_of(request))
        except Unauthenticated:
            tenant = request.match_info["tenant"]
            return see_other(f"/t/{tenant}/login", next=next_path(request.path, tenant))
        except (TmsError, web.HTTPException) as error:
            return _refused(request, error)

    return run


def act(handler: Callable[[Visit, Form], Awaitable[web.Response]]) -> Handler:
    """Return the handler of a POST: its form must come from a page that this browser was given."""

    async def run(request: web.Request) -> web.Response:
        try:
            visit = await visit_of(request)
            return await handler(visit, await visit.form())
        except (TmsError, web.HTTPException) as error:
            return _refused(request, error)

    return run


def act_as_user(handler: Callable[[Visit, Form], Awaitable[web.Response]]) -> Handler:
    """Return the handler of a POST that needs a session."""

    async def run(request: web.Request) -> web.Response:
        try:
            visit = await visit_of(request)
            visit.me()
            return await handler(visit, await visit.form())
        except (TmsError, web.HTTPException) as error:
            return _refused(request, error)

    return run


def _refused(request: web.Request, error: TmsError | web.HTTPException) -> web.Response:
    """Return the page that says what is wrong and what to do."""
    status = error.status if isinstance(error, web.HTTPException) else problems.status_of(error)
    detail = error.detail if isinstance(error, TmsError) else ""
    response = render(
        "error.html",
        status,
        number=status,
        title=_TITLE.get(status, "That did not work"),
        detail=detail[:1].upper() + detail[1:],
        advice=_ADVICE.get(status, "Nothing was changed."),
        code=error.code if isinstance(error, TmsError) else "refused",
        request_id=request[REQUEST_ID],
        back=_back(request, status),
    )
    if isinstance(error, TmsError) and error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, Barred):
        drop_cookie(request.config_dict[CONTEXT], response, SESSION_COOKIE)
    return response


def _back(request: web.Request, status: int) -> str:
    """Return where to go from an error: the delegation that it is about, the user's page, or the front."""
    tenant, delegation_id = request.match_info.get("tenant", ""), request.match_info.get("delegation_id", "")
    if not valid_tenant(tenant):
        return "/"
    wanted = f"/t/{tenant}/delegations/{delegation_id}"
    return f"/t/{tenant}/" if status == 404 else next_path(wanted, tenant)


async def _slash(visit: Visit) -> web.Response:
    return see_other(visit.here())


async def _nothing(request: web.Request) -> web.Response:
    return _refused(request, NotFound("no_such_page", "there is no such page"))
