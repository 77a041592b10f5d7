"""Pages for people: the API's description, and the page on which a user approves a delegation."""

from typing import Any

from aiohttp import web


def add_routes(app: web.Application, document: dict[str, Any]) -> None:
    """Add the pages to `app`."""

    async def openapi(_: web.Request) -> web.Response:
        return web.json_response(document)

    app.router.add_get("/openapi.json", openapi)
