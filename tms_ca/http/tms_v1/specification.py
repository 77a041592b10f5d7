"""The declarations as OpenAPI 3.0, with the headers of credentials."""

import re
from collections.abc import Mapping, Sequence
from inspect import cleandoc
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin

from tms_ca.http.tms_v1 import reading
from tms_ca.http.tms_v1.callers import HEADERS
from tms_ca.http.tms_v1.declare import V1Endpoint
from tms_ca.http.tms_v1.routes.general import TMS_VERSION

_BASE = "/v1"  # what the servers' addresses end with
_PART = re.compile(r"{(\w+)}")
_NUMBERS = frozenset({"id", "seqno"})
_JSON = "application/json; charset=utf-8"
_ANSWER = {
    "type": "object",
    "required": ["result_code", "result_msg"],
    "properties": {
        "result_code": {"type": "string", "description": '"0", or the status where it is not 2xx'},
        "result_msg": {"type": "string"},
    },
}

_TEXT = {"text/plain": {"schema": {"type": "string"}}}
# What cannot be read at all is refused in plain text, as the old server's framework did.
_TOLD_NO: Mapping[int, Mapping[str, Any]] = {
    400: {"content": {_JSON: {"schema": "Answer"}, **_TEXT}}, 415: {"content": _TEXT},
}  # fmt: skip


def document(endpoints: Sequence[V1Endpoint], servers: Sequence[str]) -> dict[str, Any]:
    """Return the OpenAPI document of `endpoints`; its paths begin behind the addresses of the servers."""
    spec = APISpec(
        title="TMS Server",
        version=TMS_VERSION,
        openapi_version="3.0.0",
        plugins=[MarshmallowPlugin()],
        servers=[{"url": url} for url in servers],
        tags=[],
    )
    spec.components.schema("Answer", _ANSWER)
    for endpoint in endpoints:
        if endpoint.body is not None and type(endpoint.body).__name__ not in spec.components.schemas:
            spec.components.schema(type(endpoint.body).__name__, schema=endpoint.body)
    for endpoint in sorted(endpoints, key=lambda endpoint: endpoint.path):
        if endpoint.path.startswith(_BASE):
            path = endpoint.path.removeprefix(_BASE)
            spec.path(path=path, operations={endpoint.method.lower(): _operation(endpoint)})
    found: dict[str, Any] = spec.to_dict()
    return found


def _operation(endpoint: V1Endpoint) -> dict[str, Any]:
    summary, _, rest = cleandoc(endpoint.text).partition("\n")
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "integer" if name in _NUMBERS else "string"}}
        for name in _PART.findall(endpoint.path)
    ]
    parameters += _headers(endpoint)
    if endpoint.query is not None:
        parameters.append({"in": "query", "schema": endpoint.query})
    told = {"content": {_JSON: {"schema": "Answer"}}}
    operation: dict[str, Any] = {
        "operationId": endpoint.name.removeprefix("tms_v1."),
        "summary": summary,
        "description": (
            rest.strip() + (f"\n\nNo credential: {endpoint.why_open}." if endpoint.why_open else "")
        ).strip(),
        "parameters": parameters,
        "responses": {
            str(endpoint.status): {"description": "Done", **told},
            **{
                str(status): {"description": "A refusal", **_TOLD_NO.get(status, told)}
                for status in sorted(_statuses(endpoint))
            },
        },
    }
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": type(endpoint.body).__name__}}}
    return operation


def _statuses(endpoint: V1Endpoint) -> set[int]:
    """Return those of its refusals."""
    statuses = {400, 429, 503}
    if endpoint.kinds or endpoint.optional or endpoint.rate == "retrieve":  # a host's credential, where it is asked for
        statuses |= {401, 403}
    if _PART.search(endpoint.path) or endpoint.body is not None:
        statuses.add(404)
    if endpoint.method != "GET":
        statuses.add(409)
    if endpoint.body is not None:
        statuses |= {413, 415}
    return statuses


def _headers(endpoint: V1Endpoint) -> list[dict[str, Any]]:
    """Return the headers of its credentials; of several kinds, one is enough."""
    kinds = endpoint.kinds or endpoint.optional
    if not kinds:
        return []
    needed, alone = bool(endpoint.kinds), len(endpoint.kinds) == 1
    named = [name for kind in kinds for name in HEADERS[kind]]
    return [
        {
            "name": name,
            "in": "header",
            "required": needed and (name == reading.TENANT or alone),
            "schema": {"type": "string"},
        }
        for name in (reading.TENANT, *named)
    ]
