"""The browser's side of a page: session cookie, form token, headers, templates. No page of its own lives here.

The cookie counts for pages alone; the API looks at the Authorization header and nowhere else.
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tms_ca.core.access import Action, Reach, Role, reach
from tms_ca.core.errors import Denied, Malformed, NotFound, Unauthenticated
from tms_ca.core.model import Caller, Tenant
from tms_ca.core.names import valid_tenant
from tms_ca.http import words
from tms_ca.http.context import ADDRESS, CONTEXT, REQUEST_ID, Context
from tms_ca.http.cookies import BEFORE_COOKIE, SESSION_COOKIE, cookie_name, set_cookie
from tms_ca.services.journal import event
from tms_ca.store import rows
from tms_ca.store.hot import Entry


class Barred(Denied):
    """A good session, and its user or tenant is disabled or revoked; the browser is to forget it."""


HEADERS = {
    # Nothing but our own stylesheet, and pictures within the page; no script at all.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
}
_BEFORE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_MOST_FIELDS = 32
# Where a log-in may lead: pages of a tenant, written out, so that nothing can be read as another origin.
_NEXT = re.compile(r"/t/(?P<tenant>[a-z0-9][a-z0-9-]{0,23})/(?:delegations/dlg_[a-z2-7]{20})?", re.ASCII)


@cache
def _templates() -> Environment:
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(duration=words.duration, moment=words.moment, prose=words.prose, inline=words.inline)
    return found


def render(template: str, status: int = 200, **values: object) -> web.Response:
    """Return the page of `template`."""
    shell: Mapping[str, object] = {"me": None, "tenant": None, "csrf": ""}
    text = _templates().get_template(template).render({**shell, **values})
    return web.Response(text=text, status=status, content_type="text/html", headers=HEADERS)


def next_path(wanted: str, tenant: str) -> str:
    """Return `wanted` where it is a page of this tenant, else the tenant's first page."""
    match = _NEXT.fullmatch(wanted)
    return wanted if match is not None and match["tenant"] == tenant else f"/t/{tenant}/"


def see_other(path: str, **query: str) -> web.Response:
    """Return the redirect to a path of our own, to be fetched with GET."""
    location = f"{path}?{urlencode(query)}" if query else path
    return web.Response(status=303, headers={**HEADERS, "Location": location})


@dataclass(frozen=True, slots=True)
class Visit:
    """One request for a page: where, and by whom; `before` is the cookie of a browser that has no session yet."""

    context: Context
    request: web.Request
    tenant: Tenant
    caller: Caller | None
    before: str

    def me(self) -> Caller:
        """Return the user.

        Raises:
            Unauthenticated: nobody is logged in to this tenant

        """
        if self.caller is None:
            raise Unauthenticated("login_needed", "you are not logged in, or your session has ended")
        return self.caller

    def here(self, rest: str = "") -> str:
        """Return a path within the tenant."""
        return f"/t/{self.tenant.tenant}/{rest}"

    def mfa_current(self) -> bool:
        """Tell whether the user is inside their MFA window."""
        return self.caller is not None and self.caller.mfa_until > self.context.clock.now()

    async def may(self, action: Action) -> Caller:
        """Return the user with the reach that `action` has.

        Raises:
            Denied: a user may not do this, or only inside the MFA window

        """
        caller = self.me()
        found = reach(action, caller.role)
        if found is None or (found is Reach.OWN_MFA and not self.mfa_current()):
            code = "role_not_allowed" if found is None else "mfa_required"
            await self.record(action, code)
            raise Denied(code, "this needs a fresh six-digit code: verify one first, then decide again", recorded=True)
        return caller  # its reach is OWN: what belongs to others does not exist for it

    async def record(self, action: str, code: str) -> None:
        """Put a refusal on record."""
        caller = self.caller or _nobody(self.request)
        await self.context.commits.submit(
            Entry(event(self.context.clock, caller, self.tenant.tenant, action, self.request.path[:200], code))
        )

    def render(self, template: str, status: int = 200, **values: object) -> web.Response:
        """Return a page within the tenant; its forms carry this browser's token."""
        before = self.before or secrets.token_urlsafe(32)
        response = render(
            template,
            status,
            **{
                "me": self.caller,
                "tenant": self.tenant,
                "csrf": form_token(self.context, self.caller, before),
                **values,
            },
        )
        if self.caller is None and not self.before:
            set_cookie(self.context, response, BEFORE_COOKIE, before)
        return response

    async def form(self) -> Mapping[str, str]:
        """Return the fields of a form that came from a page which this browser was given.

        Raises:
            Denied: another site's form, another session's, or too old
            Malformed: not a form

        """
        refusal = _foreign(self.context, self.request)
        fields = await _fields(self.request) if not refusal else {}
        bound = self.caller is not None or self.before
        good = form_token(self.context, self.caller, self.before)
        if not refusal and not (bound and hmac.compare_digest(fields.get("csrf", "").encode(), good.encode())):
            refusal = (
                "the form is too old, or was made for another session; go back, load the page again and send it anew"
            )
        if refusal:
            if self.caller is not None:  # without a session anyone could fill the chain
                await self.record("pages.post", "csrf_refused")
            raise Denied("csrf_refused", refusal, recorded=True)
        return fields


def form_token(context: Context, caller: Caller | None, before: str) -> str:
    """Return the token that a form must bring back: bound to the session, or to the browser before there is one."""
    binding = b"session/" + caller.session if caller is not None else b"before/" + before.encode()
    return hmac.digest(context.vault.csrf_key, binding, "sha256").hex()


def _foreign(context: Context, request: web.Request) -> str:
    """Return why the request cannot come from a page of ours, or nothing."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in {"same-origin", "none"}:
        return "the form was sent from another site"
    origin = request.headers.get("Origin")
    # Our own pages forbid the referrer, and then browsers write `null` for their origin; Sec-Fetch-Site vouches for it.
    if origin is None or (origin == "null" and site == "same-origin"):
        return ""
    parts = urlsplit(context.public_url)
    return "" if origin == f"{parts.scheme}://{parts.netloc}" else "the form was sent from another site"


async def _fields(request: web.Request) -> Mapping[str, str]:
    if request.content_type != "application/x-www-form-urlencoded":
        return {}
    try:
        text = (await request.read()).decode("ascii")  # browsers percent-encode the rest
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise Malformed("malformed_form", "the form cannot be read") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Malformed("malformed_form", "a field of the form was sent twice")
    return fields


async def visit_of(request: web.Request) -> Visit:
    """Return who asks for which tenant's page.

    Raises:
        NotFound: no such tenant
        Barred: a good session of a user, or in a tenant, that is disabled or revoked

    """
    context = request.config_dict[CONTEXT]
    name = request.match_info["tenant"]
    if not valid_tenant(name):
        raise NotFound("tenant_unknown", "there is no such page")
    tenant = await context.directory.get(rows.TENANTS, name)
    before = request.cookies.get(cookie_name(context, BEFORE_COOKIE), "")
    if not _BEFORE.fullmatch(before):
        before = ""
    return Visit(context, request, tenant, await _caller(context, request, name), before)


async def _caller(context: Context, request: web.Request, tenant: str) -> Caller | None:
    token = request.cookies.get(cookie_name(context, SESSION_COOKIE), "")
    if not _TOKEN.fullmatch(token):
        return None
    try:
        caller = await context.authentication.by_secret(
            token, name=None, tenant=tenant, request_id=request[REQUEST_ID], address=request[ADDRESS]
        )
    except Unauthenticated:
        return None  # an old cookie: log in again
    except Denied as error:
        raise Barred(error.code, error.detail) from error
    # A secret of another role put into the cookie is none, and neither is another tenant's session.
    return caller if caller.role is Role.USER and caller.tenant == tenant else None


def _nobody(request: web.Request) -> Caller:
    return Caller(Role.ANYONE, "", "", request_id=request[REQUEST_ID], address=request[ADDRESS])


def anyone(request: web.Request) -> Caller:
    """Return the caller of somebody who is about to log in."""
    return _nobody(request)
