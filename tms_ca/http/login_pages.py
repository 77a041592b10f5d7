"""Log in, prove the second factor, log out - with a browser."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import segno
from aiohttp import web

from tms_ca.core.access import Action, Role
from tms_ca.core.errors import NotFound, TmsError, TooMany, Unauthenticated
from tms_ca.core.model import Caller
from tms_ca.core.names import valid_user
from tms_ca.http.browser import Visit, anyone, next_path, see_other
from tms_ca.http.cookies import BEFORE_COOKIE, SESSION_COOKIE, drop_cookie, set_cookie
from tms_ca.http.problems import status_of
from tms_ca.services.ids import secret_digest

_MOST_PASSWORD = 256  # characters, as the API has it
_MOST_CODE = 12


def _refusal(visit: Visit, template: str, error: TmsError, **values: object) -> web.Response:
    """Return the form again, with what was wrong with it."""
    message = f"{error.detail[:1].upper()}{error.detail[1:]}."
    response = visit.render(template, status_of(error), error=message, **values)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


async def login(visit: Visit) -> web.Response:
    """Show the form to log in."""
    return visit.render("login.html", next=next_path(visit.request.query.get("next", ""), visit.tenant.tenant),
                        user="", error="")  # fmt: skip


async def log_in(visit: Visit, form: Mapping[str, str]) -> web.Response:
    """Log in, and open the MFA window where a code came along; the session is always a new one."""
    people, tenant = visit.context.people, visit.tenant.tenant
    after = next_path(form.get("next", ""), tenant)
    user, password, code = form.get("user", "").strip(), form.get("password", ""), _digits(form)
    if not valid_user(user) or not 0 < len(password) <= _MOST_PASSWORD:
        wrong = Unauthenticated("login_failed", "the user or the password is wrong")
        return _refusal(visit, "login.html", wrong, next=after, user=user[:48])
    try:
        token, session = await people.log_in(anyone(visit.request), tenant, user, password)
        me = replace(anyone(visit.request), role=Role.USER, tenant=tenant, id=session.user,
                     session=secret_digest(token))  # fmt: skip
        if code:
            await _verify_or_leave(visit, me, code)
    except (Unauthenticated, TooMany) as error:
        return _refusal(visit, "login.html", error, next=after, user=user)
    if visit.caller is not None:  # whoever knew the session of before must not have this one
        await people.log_out(visit.caller)
    response = see_other(after)
    set_cookie(visit.context, response, SESSION_COOKIE, token)
    drop_cookie(visit.context, response, BEFORE_COOKIE)
    return response


async def _verify_or_leave(visit: Visit, me: Caller, code: str) -> None:
    try:
        await visit.context.people.verify_totp(me, code)
    except NotFound:
        pass  # nothing is enrolled: the next page says how
    except TmsError:
        await visit.context.people.log_out(me)  # a half-made log-in is none
        raise


def _digits(form: Mapping[str, str]) -> str:
    """Return the code without the blanks that apps show and people type."""
    return "".join(form.get("code", "").split())[: _MOST_CODE + 1]


async def mfa(visit: Visit) -> web.Response:
    """Ask for a code, or say how to set up the second factor."""
    return await _ask(visit, next_path(visit.request.query.get("next", ""), visit.tenant.tenant))


async def _ask(visit: Visit, after: str, error: TmsError | None = None) -> web.Response:
    me = await visit.may(Action.MFA_READ)
    status = await visit.context.people.mfa_status(visit.tenant.tenant, me.id)
    values: dict[str, Any] = {
        "next": after,
        "enrolled": status.enrolled,
        "until": me.mfa_until if visit.mfa_current() else None,
        "window": visit.tenant.mfa_window_seconds,
    }
    if error is not None:
        return _refusal(visit, "mfa.html", error, **values)
    return visit.render("mfa.html", error="", **values)


async def verify(visit: Visit, form: Mapping[str, str]) -> web.Response:
    """Prove the second factor."""
    me = await visit.may(Action.MFA_VERIFY)
    after = next_path(form.get("next", ""), visit.tenant.tenant)
    try:
        await visit.context.people.verify_totp(me, _digits(form))
    except (Unauthenticated, TooMany, NotFound) as error:
        return await _ask(visit, after, error)
    return see_other(after)


async def enrol(visit: Visit, form: Mapping[str, str]) -> web.Response:
    """Make a seed and show it, this once."""
    me = await visit.may(Action.MFA_ENROL)
    seed, uri = await visit.context.people.enrol_totp(me, visit.tenant.tenant)
    return visit.render(
        "enrol.html",
        next=next_path(form.get("next", ""), visit.tenant.tenant),
        seed=" ".join(seed[at : at + 4] for at in range(0, len(seed), 4)),
        uri=uri,
        picture=segno.make(uri, error="m", micro=False).svg_data_uri(scale=5, dark="#000", light="#fff"),
    )


async def log_out(visit: Visit, _: Mapping[str, str]) -> web.Response:
    """End the session."""
    await visit.context.people.log_out(await visit.may(Action.SESSION_END))
    response = see_other(visit.here("login"))
    drop_cookie(visit.context, response, SESSION_COOKIE)
    return response
