"""The OpenAPI document as a page: what it says, put in the order in which people read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tms_ca.core.access import ACCESS, Action, Role

_LIMITS = (("minLength", "maxLength", "characters"), ("minimum", "maximum", ""), ("minItems", "maxItems", "items"))


@dataclass(frozen=True, slots=True)
class Member:
    """One field of a shape, or one parameter."""

    name: str
    type: str
    required: bool
    notes: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One endpoint."""

    id: str
    method: str
    path: str
    callers: str
    summary: str
    text: str
    query: Sequence[Member]
    body: Sequence[Member]
    status: str
    answer: str
    returns: Sequence[Member]
    problems: Sequence[str]


def reference(document: Mapping[str, Any]) -> Mapping[str, Sequence[Operation]]:
    """Return the endpoints by tag."""
    groups: dict[str, list[Operation]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for tag in operation["tags"]:
                groups.setdefault(tag, []).append(_operation(document, path, method.upper(), operation))
    return dict(sorted(groups.items()))


def _operation(document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]) -> Operation:
    needs = Action(operation["x-needs"])
    roles = [f"{role} ({reach})" for role, reach in ACCESS[needs].items() if role is not Role.ANYONE]
    responses = operation["responses"]
    good = min(responses)
    kinds = responses[good].get("content", {})
    answer = kinds.get("application/json", {}).get("schema", {})
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    return Operation(
        id=operation["operationId"],
        method=method,
        path=path,
        callers="anyone" if needs is Action.PUBLIC else ", ".join(roles),
        summary=operation["summary"],
        text=operation["description"].partition("For: ")[0],
        query=[
            Member(one["name"], _type(document, one["schema"]), one.get("required", False), _notes(one["schema"]))
            for one in operation["parameters"]
            if one["in"] == "query"
        ],
        body=_members(document, body),
        status=good,
        answer=", ".join(kinds) or "nothing",
        returns=_members(document, answer),
        problems=[status for status in sorted(responses) if status >= "400"],
    )


def _resolve(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Mapping[str, Any] = document["components"]["schemas"][name] if name else schema
    return found


def _members(document: Mapping[str, Any], schema: Mapping[str, Any], prefix: str = "") -> list[Member]:
    """Return the fields of a shape; those of an inner one as outer.inner."""
    shape = _resolve(document, schema)
    needed = shape.get("required", [])
    members: list[Member] = []
    for name, inner in shape.get("properties", {}).items():
        members.append(Member(prefix + name, _type(document, inner), name in needed, _notes(inner)))
        nested = inner.get("items", inner)
        members += _members(document, nested, f"{prefix}{name}{'[]' if 'items' in inner else ''}.")
    return members


def _type(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(str(word) for word in schema["enum"])
    whole = {**_resolve(document, schema), **schema}
    kinds = whole.get("type", "any")
    words = kinds if isinstance(kinds, list) else [kinds]
    if "items" in whole:
        words = [f"array of {_type(document, whole['items'])}" if word == "array" else word for word in words]
    text = " or ".join(words)
    return f"{text} ({whole['format']})" if "format" in whole else text


def _notes(schema: Mapping[str, Any]) -> str:
    notes = [schema["description"]] if "description" in schema else []
    for least, most, unit in _LIMITS:
        if most in schema:
            notes.append(f"{schema.get(least, 0)} to {schema[most]} {unit}".strip())
        elif schema.get(least):
            notes.append(f"at least {schema[least]} {unit}".strip())
    if "pattern" in schema:
        notes.append(f"matches {schema['pattern']}")
    default = schema.get("default")
    if isinstance(default, str | int) and not isinstance(default, bool):
        notes.append(f"default {default}")
    return "; ".join(notes)
