"""An endpoint of the TMS wire API is one declaration: path, credentials, order of checks, shapes, words of refusal.

The order in which the old server checked is part of what its clients see, and stands in each declaration. Its words
are filled in from the path, the body and the headers of the request.
"""

import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field, replace
from enum import StrEnum
from typing import Any

from aiohttp import web
from marshmallow import Schema

from tms_ca.core.access import Action, Role
from tms_ca.core.errors import Denied, TmsError, Unauthenticated
from tms_ca.core.model import Caller
from tms_ca.core.record import record
from tms_ca.http.attempts import attempts
from tms_ca.http.context import ADDRESS, CAUSE, CONTEXT, PROBLEM, Context
from tms_ca.http.problems import status_of
from tms_ca.http.tms_v1 import answers, callers, reading
from tms_ca.http.tms_v1.answers import Refused, Said
from tms_ca.http.tms_v1.callers import Kind
from tms_ca.http.tms_v1.rates import RATES
from tms_ca.services.tenants import FOUNDATION
from tms_ca.settings_tms_v1 import TmsV1

PREFIX = "/v1/tms/"
TMS_V1: web.AppKey[TmsV1] = web.AppKey("tms_v1", TmsV1)
__all__ = [
    "DIFFERS", "OPEN", "PREFIX", "TMS_V1", "A", "Call", "D", "K", "Kind", "P", "Step", "V1Endpoint", "v1",
]  # fmt: skip


class Step(StrEnum):
    """A check; the first that fails answers."""

    CLIENT_HEADER = "client header"
    TENANT_HEADER = "tenant header"
    SAME_TENANT = "same tenant"  # the body or the path names the tenant of the header
    SAME_TENANT_OR_FOUNDATION = "same tenant, or the header says default"
    FOUNDATION = "the header says default"
    ENABLED = "tenant enabled"
    OPERATED = "tenant enabled, or an operator asks"  # and authorised
    AUTHORISED = "authorised"
    OWN = "own"  # a client names itself


A = (Step.TENANT_HEADER, Step.SAME_TENANT, Step.ENABLED, Step.AUTHORISED, Step.OWN)
K = (Step.CLIENT_HEADER, Step.TENANT_HEADER, Step.ENABLED, Step.AUTHORISED)
P = (Step.TENANT_HEADER, Step.AUTHORISED, Step.OWN, Step.ENABLED)
D = (Step.AUTHORISED, Step.OWN, Step.ENABLED)
OPEN: tuple[Step, ...] = ()
DIFFERS = "Payload parameters ({client_id}@{tenant}) differ from those in the request header."


@record
class Call:
    """What a handler gets."""

    context: Context
    settings: TmsV1
    caller: Caller
    kind: Kind | None  # None: no credential was asked for
    tenant: str  # of the header
    path: Mapping[str, Any]
    query: Mapping[str, Any]
    body: Mapping[str, Any]
    request: web.Request
    words: Mapping[str, object] = field(default_factory=dict)  # of path, query, body and headers, for refusals


@record
class V1Endpoint:
    """A declared endpoint."""

    method: str
    path: str
    needs: Action
    kinds: Sequence[Kind]
    order: Sequence[Step]
    handler: Callable[[Call], Awaitable[Said | web.StreamResponse]]
    unauthorised: str  # the 401, behind "ERROR: NOT AUTHORIZED " unless it begins with ERROR itself
    forbidden: str  # the 403 of a client that names another
    why_open: str  # of one without a credential
    body: Schema | None
    query: Schema | None
    status: int
    optional: Sequence[Kind]  # of one without a credential: those that it looks at where they come along
    rate: str  # the setting that bounds how often one address may call it
    undisturbed: bool
    name: str
    text: str = field(default="", repr=False)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Run the endpoint for one request."""
        context = request.config_dict[CONTEXT]
        try:
            path = reading.path_of(request.match_info)
            query = {} if self.query is None else reading.query_of(request, self.query)
            body = {} if self.body is None else await reading.body_of(request, self.body)
            if self.rate and not self.optional:  # else the handler, where no good credential came
                request.config_dict[RATES].take(self.rate, self.name, request[ADDRESS])
            said = await self._run(context, request, path, query, body)
        except reading.NotReadable as error:
            request[PROBLEM] = "not_readable"
            return answers.plain(error.status, error.message)
        except Refused as error:
            request[PROBLEM] = error.code
            return answers.refused(error.status, error.message)
        except TmsError as error:
            request[PROBLEM] = error.code
            if status_of(error) >= 500:
                request[CAUSE] = repr(error.__cause__ or error)
            return answers.of_error(error)
        except web.HTTPRequestEntityTooLarge as error:
            request[PROBLEM] = "body_too_large"
            return answers.too_large(request.client_max_size, error)
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - the log gets all of it, the caller an answer of the usual shape
            request[PROBLEM], request[CAUSE] = "internal", "".join(traceback.format_exception(error))[-1000:]
            return answers.of_bug()
        return said if isinstance(said, web.StreamResponse) else answers.good(self.status, said)

    async def _run(
        self,
        context: Context,
        request: web.Request,
        path: Mapping[str, Any],
        query: Mapping[str, Any],
        body: Mapping[str, Any],
    ) -> Said | web.StreamResponse:
        headers = request.headers
        words = {"client_id": reading.held(headers, reading.CLIENT_ID), **path, **query, **body}
        words["tenant"] = tenant = headers.get(reading.TENANT, "")

        async def attempt(_number: int) -> Said | web.StreamResponse:
            call = Call(
                context, request.config_dict[TMS_V1], callers.nobody(request), None, tenant, path, query, body, request
            )  # fmt: skip
            for step in self.order:
                call = await self._check(step, call, words)
            return await self.handler(replace(call, words=words))

        return await attempts(attempt, context.standstill if self.undisturbed else None, tenant)

    async def _check(self, step: Step, call: Call, words: Mapping[str, object]) -> Call:
        headers = call.request.headers
        if step is Step.CLIENT_HEADER:
            reading.needed(headers, reading.CLIENT_ID)
        elif step is Step.TENANT_HEADER:
            reading.needed(headers, reading.TENANT)
        elif step is Step.SAME_TENANT:
            named = call.body.get("tenant", call.path.get("tenant", call.tenant))
            if named != call.tenant:
                raise Refused(
                    403,
                    f"ERROR: FORBIDDEN - The tenant in the X-TMS-TENANT header ({call.tenant}) does not match the "
                    f"tenant in the request body ({named})",
                    "tenant_mismatch",
                )
        elif step is Step.SAME_TENANT_OR_FOUNDATION:
            if call.tenant != FOUNDATION:
                return await self._check(Step.SAME_TENANT, call, words)
        elif step is Step.FOUNDATION:
            if call.tenant != FOUNDATION:
                text = f"ERROR: FORBIDDEN - Only admin users in the '{FOUNDATION}' tenant can create new tenants."
                raise Refused(403, text, "tenant_mismatch")
        elif step is Step.ENABLED:
            await callers.require_enabled(call.context, call.tenant)
        elif step is Step.AUTHORISED:
            return await self._authorised(call, words)
        elif step is Step.OPERATED:
            return await self._operated(call, words)
        else:
            named = call.body.get("client_id", call.path.get("client_id", call.caller.id))
            another = call.kind is Kind.CLIENT and named != call.caller.id
            if another or call.body.get("tenant", call.tenant) != call.tenant:
                named = call.body.get("tenant", call.tenant)
                raise Refused(403, self.forbidden.format(**{**words, "tenant": named}), "not_yours")
        return call

    async def _authorised(self, call: Call, words: Mapping[str, object]) -> Call:
        try:
            return await self._found(call)
        except (Unauthenticated, Denied) as error:
            said = self.unauthorised.format(**words)
            raise await callers.refusal(call.context, call.request, self.needs, call.tenant, error, said) from error

    async def _found(self, call: Call) -> Call:
        caller, kind = await callers.find(call.context, call.request, self.needs, self.kinds, call.tenant)
        return replace(call, caller=caller, kind=kind)

    async def _operated(self, call: Call, words: Mapping[str, object]) -> Call:
        """Return the call with its caller; in a disabled tenant only an operator's."""
        try:
            await callers.require_enabled(call.context, call.tenant)
        except Refused:
            try:
                operated = await self._found(call)
            except (Unauthenticated, Denied):
                operated = call
            if operated.caller.role is not Role.OPERATOR:
                raise
            return operated
        return await self._authorised(call, words)


def v1(
    method: str,
    path: str,
    *,
    needs: Action = Action.PUBLIC,
    kinds: Sequence[Kind] = (),
    order: Sequence[Step] = A,
    unauthorised: str = "",
    forbidden: str = DIFFERS,
    why_open: str = "",
    body: Schema | None = None,
    query: Schema | None = None,
    status: int = 200,
    optional: Sequence[Kind] = (),
    rate: str = "",
    undisturbed: bool = False,
) -> Callable[[Callable[[Call], Awaitable[Said | web.StreamResponse]]], V1Endpoint]:
    """Declare the decorated coroutine as an endpoint under /v1/tms/; its docstring is what /spec says of it.

    `rate` names the setting that bounds how often one address may call it; what takes no credential always has one.
    A handler with `optional` credentials calls `rates.bound` itself, where none that is good came along. `undisturbed`:
    see http.endpoint; what MVP mode makes for a key waits for the end of such a standstill, half a second at most.
    """
    assert bool(kinds) is not bool(why_open), "an endpoint has credentials, or a reason why it has none"
    whole = path if path.startswith("/") else PREFIX + path

    def declare(handler: Callable[[Call], Awaitable[Said | web.StreamResponse]]) -> V1Endpoint:
        return V1Endpoint(
            method, whole, needs, kinds, order if kinds else OPEN, handler, unauthorised,
            forbidden if forbidden.startswith("ERROR") else f"ERROR: FORBIDDEN - {forbidden}", why_open, body, query,
            status, optional, rate or ("open" if why_open else ""), undisturbed, f"tms_v1.{handler.__name__}",
            handler.__doc__ or "",
        )  # fmt: skip

    return declare
