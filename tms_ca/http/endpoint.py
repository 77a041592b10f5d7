"""An endpoint is one declaration: route, right, shapes, status and text - and one wrapper that runs it.

The wrapper authenticates, checks the right in core.access, loads the body and the query by their shapes, calls the
handler and dumps what it returns. Errors leave as they are raised; http.middleware turns them into problems.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, Generic, TypeVar

import orjson
from aiohttp import hdrs, web
from marshmallow import Schema, ValidationError

from schemas.base import misnamed
from schemas.reading import NOT_PLAIN, Reading
from tms_ca.core.access import Action
from tms_ca.core.errors import Denied, Invalid, NotFound, Unauthenticated, UnsupportedMedia
from tms_ca.core.model import ALL_TENANTS, Caller
from tms_ca.core.record import record
from tms_ca.http.answer import JSON, Answer
from tms_ca.http.attempts import attempts
from tms_ca.http.body import parse, read
from tms_ca.http.context import CONTEXT, KNOWN_PATHS, Context
from tms_ca.http.credentials import authenticate, authorize, credential, record_refusal
from tms_ca.http.cursors import encode_cursor
from tms_ca.http.known import Head, KnownPath
from tms_ca.http.later import Later
from tms_ca.store import rows

B = TypeVar("B")
TENANT_PREFIX = "/api/v1/tenants/{tenant}/"
_AUTHORIZATION, _CONTENT_TYPE, _CONTENT_ENCODING = hdrs.AUTHORIZATION, hdrs.CONTENT_TYPE, hdrs.CONTENT_ENCODING


@record
class Call(Generic[B]):
    """What a handler gets."""

    context: Context
    caller: Caller
    tenant: str
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: B
    headers: Mapping[str, str]
    request: web.Request | None = None  # not where it is answered at once


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
    hot: bool = False
    undisturbed: bool = False
    at_once: Callable[[Call[Any]], Any] | None = None
    reading: Reading | None = field(default=None, repr=False)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Run the endpoint for a request that aiohttp's router brought here."""
        path = request.match_info
        answer = await self.run(request.config_dict[CONTEXT], request, path)
        if self.hot and not request.query_string:
            request.config_dict[KNOWN_PATHS].learn(request, self, path)
        return answer

    async def run(self, context: Context, request: web.Request, path: Mapping[str, str]) -> web.StreamResponse:
        """Run the endpoint for one request; `path` holds what its path names.

        The body comes first: what is then decided is decided on what is true once the whole request is here.
        """
        raw = await read(request) if self.body is not None else b""
        tenant = path.get("tenant", "")

        async def attempt(number: int) -> web.StreamResponse:
            caller = await authenticate(context, request, tenant, fresh=not self.hot or number > 0)
            try:
                caller = authorize(context, caller, self.needs, tenant)
                _check_path(path)
                if tenant and caller.tenant == ALL_TENANTS:
                    await context.directory.get(rows.TENANTS, tenant)  # the tenants of all others are there
                body = self._load_body(request, raw)
                query = self._load_query(request)
                result = await self.handler(Call(context, caller, tenant, path, query, body, request.headers, request))
            except (Unauthenticated, Denied) as error:
                if not error.recorded:
                    await record_refusal(context, caller, tenant, self.needs, error)
                raise
            return self._answer(result)

        return await attempts(attempt, context.standstill if self.hot or self.undisturbed else None, tenant)

    def credential_of(self, context: Context, headers: Mapping[str, str]) -> tuple[str | None, bytes] | None:
        """Return whom a head names, and by what its secret is known; None where `run_at_once` is not for it."""
        header = headers.get(_AUTHORIZATION)
        if header is None or headers.get(_CONTENT_TYPE) != JSON or _CONTENT_ENCODING in headers:
            return None
        name, secret = credential(header)
        digest = context.authentication.known_by(secret, name)
        return None if digest is None else (name, digest)

    def run_at_once(
        self, context: Context, head: Head, raw: bytes, request_id: str, address: str
    ) -> Answer | Later | None:
        """Return the answer where it is a plain yes that takes no waiting but, perhaps, for its commit.

        None says nothing: `run` has the answer.
        """
        caller = context.authentication.remembered(head.digest, head.name, request_id, address)
        if caller is None or self.at_once is None or self.reading is None:
            return None
        tenant = head.path["tenant"]
        caller = authorize(context, caller, self.needs, tenant)
        body = self.reading.quick(parse(raw))
        if body is NOT_PLAIN:
            return None
        result = self.at_once(Call(context, caller, tenant, head.path, {}, body, head.fields))
        kind = type(result)  # isinstance asks abstract classes, which costs a microsecond
        if kind is Ready:
            return Answer(self.status, orjson.dumps(result.fields))
        return result if kind is Answer or kind is Later else None

    def _load_body(self, request: web.Request, raw: bytes) -> Any:
        if self.reading is None:
            return None
        if request.headers.get(_CONTENT_TYPE) != JSON and request.content_type != "application/json":
            raise UnsupportedMedia(
                "unsupported_media_type", f"expected application/json, got {request.content_type[:100]!r}"
            )
        if _CONTENT_ENCODING in request.headers:
            raise UnsupportedMedia("unsupported_media_type", "send the body as it is, without Content-Encoding")
        value = parse(raw)
        loaded = self.reading.quick(value)
        return load(self.reading.schema, value) if loaded is NOT_PLAIN else loaded

    def _load_query(self, request: web.Request) -> Mapping[str, Any]:
        if not request.query_string and self.query is None:
            return {}
        given = dict(request.query)
        if len(given) != len(request.query):
            twice = {name: ["given more than once"] for name in given if len(request.query.getall(name)) > 1}
            raise Invalid("invalid_request", f"given more than once: {', '.join(twice)}", fields=twice)
        loaded: Mapping[str, Any] = load(self.query or _NO_QUERY, given)
        return loaded

    def _answer(self, result: Any) -> web.StreamResponse:
        if isinstance(result, web.StreamResponse):
            return result
        if isinstance(result, Ready):
            return Answer(self.status, orjson.dumps(result.fields))
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
    hot: bool = False,
    undisturbed: bool = False,
    at_once: Callable[[Call[Any]], Any] | None = None,
) -> Callable[[Callable[[Call[Any]], Awaitable[Any]]], Endpoint]:
    """Declare the decorated coroutine as an endpoint; a relative path lies within a tenant.

    Its name is the operationId, its docstring the summary and the description. `hot`: its service compares the
    epoch of its facts with the caller's, so that the caller's credential may come from memory. `undisturbed`, as all
    that is hot: it never changes its tenant, and its last tries make changes of it wait. `at_once` returns what the
    endpoint would where that takes no waiting (or a Later, where only the commit is waited for), and else None; it says
    yes only where the endpoint would.
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
            hot,
            undisturbed,
            at_once,
            None if body is None else Reading(body),
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


def _check_path(path: Mapping[str, str]) -> None:
    if isinstance(path, KnownPath):
        return  # it was checked when it was learnt
    for name, value in path.items():
        wrong = misnamed(name, value)
        if wrong is not None:
            raise NotFound(f"{name}_unknown", wrong)
