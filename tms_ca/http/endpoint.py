"""An endpoint is one declaration: route, right, shapes, status and text - and one wrapper that runs it.

The wrapper authenticates, checks the right in core.access, loads the body and the query by their shapes, calls the
handler and dumps what it returns. Errors leave as they are raised; http.middleware turns them into problems.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Generic, TypeVar

import orjson
from aiohttp import web
from marshmallow import Schema, ValidationError

from schemas.base import PATH_NAMES
from tms_ca.core.access import Action, Reach, Role, reach
from tms_ca.core.errors import Denied, Invalid, NotFound, Unauthenticated, UnsupportedMedia
from tms_ca.core.model import ALL_TENANTS, Caller
from tms_ca.core.names import valid_tenant
from tms_ca.core.record import record
from tms_ca.http.body import parse
from tms_ca.http.context import ADDRESS, CONTEXT, REQUEST_ID, Context
from tms_ca.services.journal import event
from tms_ca.store import rows
from tms_ca.store.hot import Entry

B = TypeVar("B")
TENANT_PREFIX = "/api/v1/tenants/{tenant}/"


@record
class Call(Generic[B]):
    """What a handler gets."""

    context: Context
    caller: Caller
    tenant: str
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: B
    request: web.Request


@record
class Page:
    """What a list returns: records and the key to go on from."""

    items: Sequence[object]
    next: Sequence[object] | None = None


@record
class Ready:
    """An answer in the form of its shape already: a test compares the two."""

    fields: Mapping[str, object]


@record
class Endpoint:
    """A declared endpoint."""

    method: str
    path: str
    needs: Action
    handler: Callable[[Call[Any]], Awaitable[Any]]
    body: Schema | None = None
    query: Schema | None = None
    returns: Schema | None = None
    status: int = 200
    media: Sequence[str] = ("application/json",)
    problems: Sequence[int] = ()
    tag: str = ""
    name: str = ""
    text: str = field(default="", repr=False)

    async def __call__(self, request: web.Request) -> web.Response:
        """Run the endpoint for one request."""
        context = request.config_dict[CONTEXT]
        caller = await _authenticate(context, request)
        tenant = request.match_info.get("tenant", "")
        try:
            caller = _authorize(context, caller, self.needs, tenant)
            path = _path(request.match_info)
            if tenant and caller.tenant == ALL_TENANTS:
                await context.directory.get(rows.TENANTS, tenant)  # the tenants of all others are there
            body = await self._load_body(request)
            query = self._load_query(request)
            result = await self.handler(Call(context, caller, tenant, path, query, body, request))
        except (Unauthenticated, Denied) as error:
            if not error.recorded:
                await _record(context, caller, tenant, self.needs, error)
            raise
        return self._answer(result)

    async def _load_body(self, request: web.Request) -> Any:
        if self.body is None:
            return None
        if request.content_type != "application/json":
            raise UnsupportedMedia(
                "unsupported_media_type", f"expected application/json, got {request.content_type[:100]!r}"
            )
        if "Content-Encoding" in request.headers:
            raise UnsupportedMedia("unsupported_media_type", "send the body as it is, without Content-Encoding")
        return load(self.body, parse(await request.read()))

    def _load_query(self, request: web.Request) -> Mapping[str, Any]:
        given = dict(request.query)
        if len(given) != len(request.query):
            twice = {name: ["given more than once"] for name in given if len(request.query.getall(name)) > 1}
            raise Invalid("invalid_request", f"given more than once: {', '.join(twice)}", fields=twice)
        loaded: Mapping[str, Any] = load(self.query or _NO_QUERY, given)
        return loaded

    def _answer(self, result: Any) -> web.Response:
        if isinstance(result, web.Response):
            return result
        if isinstance(result, Ready):
            return web.Response(status=self.status, body=orjson.dumps(result.fields), content_type="application/json")
        if self.returns is None:
            return web.Response(status=204)
        if isinstance(result, Page):
            data: Any = {
                "items": self.returns.dump(result.items, many=True),
                "next_cursor": None if result.next is None else encode_cursor(result.next),
            }
        else:
            data = self.returns.dump(result)
        return web.Response(status=self.status, body=orjson.dumps(data), content_type="application/json")


def endpoint(
    method: str,
    path: str,
    *,
    needs: Action,
    body: Schema | None = None,
    query: Schema | None = None,
    returns: Schema | None = None,
    status: int | None = None,
    media: Sequence[str] = ("application/json",),
    problems: Sequence[int] = (),
) -> Callable[[Callable[[Call[Any]], Awaitable[Any]]], Endpoint]:
    """Declare the decorated coroutine as an endpoint; a relative path lies within a tenant.

    Its name is the operationId, its docstring the summary and the description.
    """
    whole = path if path.startswith("/") else TENANT_PREFIX + path

    def declare(handler: Callable[[Call[Any]], Awaitable[Any]]) -> Endpoint:
        return Endpoint(
            method,
            whole,
            needs,
            handler,
            body,
            query,
            returns,
            status or (200 if returns is not None or media != ("application/json",) else 204),
            media,
            problems,
            handler.__module__.rpartition(".")[2],
            handler.__name__,
            handler.__doc__ or "",
        )

    return declare


class _NoQuery(Schema):
    pass


_NO_QUERY = _NoQuery()


def load(schema: Schema, data: object) -> Any:
    """Return what `schema` makes of `data`.

    Raises:
        Invalid: with every field that is wrong, and what was expected

    """
    try:
        return schema.load(data)  # type: ignore[arg-type] # marshmallow itself refuses what is not an object
    except ValidationError as error:
        fields = _flatten("", error.messages)
        listing = "; ".join(f"{name}: {texts[0]}" for name, texts in fields.items())
        raise Invalid(
            "invalid_request", f"the request does not have the expected shape: {listing}", fields=fields
        ) from error


def _flatten(prefix: str, messages: Any) -> dict[str, list[str]]:
    if isinstance(messages, list):
        return {prefix or "body": [str(text) for text in messages]}
    flat: dict[str, list[str]] = {}
    for name, inner in messages.items():
        label = "body" if name == "_schema" else str(name)
        flat.update(_flatten(f"{prefix}.{label}" if prefix else label, inner))
    return flat


def _path(match: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in match.items():
        valid = PATH_NAMES.get(name)
        if valid is not None and not valid(value):
            raise NotFound(f"{name}_unknown", f"{value[:100]!r} cannot be the name of a {name}")
    return match


async def _authenticate(context: Context, request: web.Request) -> Caller:
    header = request.headers.get("Authorization")
    request_id, address = request[REQUEST_ID], request[ADDRESS]
    if header is None:
        return Caller(Role.ANYONE, "", "", request_id=request_id, address=address)
    name: str | None = None
    try:
        name, secret = _credential(header)
        return await context.authentication.by_secret(secret, name=name, request_id=request_id, address=address)
    except (Unauthenticated, Denied) as error:
        nobody = Caller(Role.ANYONE, "", ascii(name or "")[1:-1], request_id=request_id, address=address)
        await _record(context, nobody, request.match_info.get("tenant", ""), "authentication", error)
        raise


def _credential(header: str) -> tuple[str | None, str]:
    """Return name (None for a bearer) and secret of an Authorization header."""
    scheme, _, rest = header.partition(" ")
    if not rest.isascii() or scheme.lower() not in {"basic", "bearer"}:
        raise Unauthenticated("credential_malformed", "expected Authorization: Basic or Bearer, in ASCII")
    return _basic(rest.strip()) if scheme.lower() == "basic" else (None, rest.strip())


def _basic(encoded: str) -> tuple[str, str]:
    """Return name and secret of RFC 7617 credentials."""
    try:
        name, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise Unauthenticated("credential_malformed", "Authorization: Basic is not base64 of name:secret") from error
    if not colon:
        raise Unauthenticated("credential_malformed", "Authorization: Basic is not base64 of name:secret")
    return name, secret


def _authorize(context: Context, caller: Caller, needs: Action, tenant: str) -> Caller:
    """Return the caller with its reach.

    Raises:
        Unauthenticated: there was no credential and one is needed
        Denied: another tenant's credential, or no such right, or no MFA

    """
    found = reach(needs, caller.role)
    if found is None and caller.role is Role.ANYONE:
        raise Unauthenticated("credential_needed", "this needs a credential: Authorization: Basic or Bearer")
    error: Denied | None = None
    if tenant and needs is not Action.PUBLIC and caller.tenant not in {tenant, ALL_TENANTS}:
        error = Denied("tenant_mismatch", "the credential belongs to another tenant than the one in the path")
    elif found is None:
        error = Denied("role_not_allowed", f"a {caller.role} may not do this ({needs})")
    elif found is Reach.OWN_MFA and caller.mfa_until <= context.clock.now():
        error = Denied("mfa_required", "this needs multi-factor authentication: verify a code first")
    if error is not None:
        raise error
    assert found is not None
    return caller if caller.reach is found else replace(caller, reach=found)


async def _record(context: Context, caller: Caller, asked: str, action: str, error: Denied | Unauthenticated) -> None:
    """Put a refusal on record, in the caller's tenant; in the one that was asked for where there is no caller."""
    tenant = caller.tenant or (asked if valid_tenant(asked) else ALL_TENANTS)
    await context.commits.submit(Entry(event(context.clock, caller, tenant, action, caller.id[:64], error.code)))
    error.recorded = True


def encode_cursor(key: Sequence[object]) -> str:
    """Return a key as an opaque word for the wire."""
    return base64.urlsafe_b64encode(orjson.dumps(list(key))).decode().rstrip("=")


def _storable(part: int | str) -> bool:
    """Tell whether both databases can compare with `part`."""
    return "\0" not in part if isinstance(part, str) else -(2**63) <= part < 2**63


def decode_cursor(text: str, kinds: Sequence[type]) -> list[Any]:
    """Return the key of a cursor.

    Raises:
        Invalid: it is not one that this list gave out

    """
    try:
        key = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError) as error:
        raise Invalid("bad_cursor", "the cursor is not one that this list gave out; start without one") from error
    if not isinstance(key, list) or [type(part) for part in key] != list(kinds) or not all(map(_storable, key)):
        raise Invalid("bad_cursor", "the cursor is not one that this list gave out; start without one")
    return key
