"""The cookies of the pages: their names, and how they are set and deleted."""

from aiohttp import web

from tms_ca.http.context import Context

SESSION_COOKIE = "tms"
BEFORE_COOKIE = "tms-before"  # what a form is bound to while there is no session


def _secure(context: Context) -> bool:
    return context.public_url.startswith("https:")


def cookie_name(context: Context, name: str) -> str:
    """Return the cookie's name; `__Host-` (RFC 6265bis) keeps other hosts of the domain from setting it."""
    return f"__Host-{name}" if _secure(context) else name


def set_cookie(context: Context, response: web.Response, name: str, value: str) -> None:
    """Set a cookie that ends with the browser; what it stands for ends in the database."""
    response.set_cookie(
        cookie_name(context, name), value, path="/", secure=_secure(context), httponly=True, samesite="Lax"
    )


def drop_cookie(context: Context, response: web.Response, name: str) -> None:
    """Delete a cookie."""
    response.del_cookie(cookie_name(context, name), path="/", secure=_secure(context), httponly=True, samesite="Lax")
