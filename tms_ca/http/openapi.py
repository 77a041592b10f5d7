"""The endpoint table as OpenAPI 3.1, and as a page for people."""

import re
from functools import cache
from inspect import cleandoc
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema, fields

from schemas.base import PATH_PATTERNS, SERIAL, Named, Serial, Timestamp
from schemas.enrolment import COUNT, Count
from tms_ca import __version__
from tms_ca.core.access import ACCESS, Action, Role
from tms_ca.http.endpoint import Endpoint
from tms_ca.http.problems import MEDIA_TYPE

_PATH_PARAMETER = re.compile(r"{(\w+)}")
_DESCRIPTION = (
    "SSH certificate authority and trust manager. Serials are strings of decimal digits, times are RFC 3339 in UTC, "
    "errors are RFC 9457 problems with a stable `code`, lists take `limit` and `cursor`."
)


def _name(schema: Schema) -> str:
    return type(schema).__name__


def _pattern(_: object, field: fields.Field[Any], **__: object) -> dict[str, str]:
    """Return what apispec cannot see: the patterns of our own validators and types."""
    if isinstance(field, Serial):
        return {"pattern": SERIAL}
    if isinstance(field, Count):
        return {"pattern": COUNT}
    return next(({"pattern": check.pattern} for check in field.validators if isinstance(check, Named)), {})


def _list_of(schema: Schema) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": _name(schema)},
            "next_cursor": {"type": ["string", "null"]},
        },
        "required": ["items", "next_cursor"],
    }


def _answer(endpoint: Endpoint) -> dict[str, Any]:
    if endpoint.returns is None and endpoint.media == ("application/json",):
        return {"description": "Done"}
    content: dict[str, Any] = {}
    for media in endpoint.media:
        if media != "application/json":
            content[media] = {"schema": {"type": "string"}}
        elif endpoint.returns is not None:
            listing = endpoint.name.startswith("list_")
            content[media] = {"schema": _list_of(endpoint.returns) if listing else _name(endpoint.returns)}
    return {"description": "Done", "content": content}


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    summary, _, rest = cleandoc(endpoint.text).partition("\n")
    roles = [role for role in ACCESS[endpoint.needs] if role is not Role.ANYONE]
    public = endpoint.needs is Action.PUBLIC
    # A credential that is not good is refused even where none is needed, and so is one word too many.
    statuses = {*endpoint.problems, 401, 403, 414, 429, 431, 500, 503}
    if endpoint.body is not None:
        statuses |= {400, 413, 415}
    if endpoint.query is not None:
        statuses.add(400)
    if "{" in endpoint.path:
        statuses.add(404)
    problem = {"description": "A problem", "content": {MEDIA_TYPE: {"schema": "Problem"}}}
    responses: dict[str, Any] = {str(endpoint.status): _answer(endpoint)}
    for status in sorted(statuses | {400}):
        responses.setdefault(str(status), problem)
    if endpoint.name == "get_krl":
        responses["304"] = {"description": "Not modified"}
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "tags": [endpoint.tag],
        "summary": summary,
        "description": (rest.strip() + ("" if public else f"\n\nFor: {', '.join(roles)}.")).strip(),
        "responses": responses,
        "security": [] if public else [{"basic": []}, {"bearer": []}],
        "x-needs": str(endpoint.needs),
        "parameters": [
            {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "string", "pattern": PATH_PATTERNS[name]},
            }
            for name in _PATH_PARAMETER.findall(endpoint.path)
        ],
    }
    if endpoint.query is not None:
        operation["parameters"].append({"in": "query", "schema": endpoint.query})
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _name(endpoint.body)}},
        }
    return operation


@cache
def document(endpoints: tuple[Endpoint, ...]) -> dict[str, Any]:
    """Return the OpenAPI document of `endpoints`."""
    plugin = MarshmallowPlugin()
    spec = APISpec(
        title="TMS-CA",
        version=__version__,
        openapi_version="3.1.0",
        info={"description": _DESCRIPTION},
        plugins=[plugin],
    )
    converter: Any = plugin.converter  # apispec's own is untyped
    converter.map_to_openapi_type(Timestamp, "string", "date-time")
    converter.map_to_openapi_type(Serial, "string", None)
    converter.map_to_openapi_type(Count, "string", None)
    converter.add_attribute_function(_pattern)
    spec.components.security_scheme("basic", {"type": "http", "scheme": "basic"})
    spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer"})
    spec.components.schema(
        "Problem",
        {
            "type": "object",
            "required": ["type", "title", "status", "code", "detail", "request_id"],
            "properties": {
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "code": {"type": "string", "description": "Stable; docs/errors.md lists them"},
                "detail": {"type": "string"},
                "request_id": {"type": "string"},
                "fields": {"type": "object", "description": "Field to messages"},
            },
        },
    )
    for endpoint in endpoints:
        for schema in (endpoint.body, endpoint.returns):
            if schema is not None and _name(schema) not in spec.components.schemas:
                spec.components.schema(_name(schema), schema=schema)
    for endpoint in endpoints:
        spec.path(path=endpoint.path, operations={endpoint.method.lower(): _operation(endpoint)})
    for schema in (endpoint.returns for endpoint in endpoints if endpoint.returns is not None):
        answer = spec.components.schemas[_name(schema)]
        answer["required"] = sorted(answer["properties"])  # an answer has all of its fields, null where there is none
    found: dict[str, Any] = spec.to_dict()
    return found


if __name__ == "__main__":
    import json
    import sys

    from tms_ca.http.routes import ENDPOINTS

    sys.stdout.write(json.dumps(document(ENDPOINTS), indent=1, sort_keys=True) + "\n")
