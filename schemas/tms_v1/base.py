"""What the bodies of the TMS wire API are made of."""

from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields

INT32 = range(-(2**31), 2**31)
UINT32 = range(2**32)


class V1Shape(Schema):
    """A body: its members are strictly typed, others are ignored."""

    class Meta:
        """Marshmallow's settings."""

        unknown = EXCLUDE


class Text(fields.String):
    """A JSON string."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError(f'Expected input type "string", found {shown(value)}.')
        if "\0" in value:  # PostgreSQL has no such text
            raise ValidationError("A string cannot have a NUL character in it.")
        return str(super()._deserialize(value, attr, data, **kwargs))


class Number(fields.Integer):
    """A JSON integer within 32 bits."""

    def __init__(self, within: range = INT32, **options: Any) -> None:
        super().__init__(**options)
        self.within = within

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if type(value) is not int:
            raise ValidationError(f'Expected input type "integer", found {shown(value)}.')
        if value not in self.within:
            raise ValidationError(
                f"Only integers from {self.within[0]} to {self.within[-1]} are accepted, found {value}."
            )
        return int(super()._deserialize(value, attr, data, **kwargs))


class Flag(fields.Boolean):
    """true or false."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError(f'Expected input type "boolean", found {shown(value)}.')
        return bool(super()._deserialize(value, attr, data, **kwargs))


class QueryFlag(Flag):
    """The word true or false in a query."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        return super()._deserialize({"true": True, "false": False}.get(value, value), attr, data, **kwargs)


def shown(value: object) -> str:
    """Return a value of the wrong type, shortened, as JSON writes it."""
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    return str(value)[:60]


def required(kind: type[fields.Field[Any]], **options: Any) -> Any:
    """Return a field that must be there; null is as bad as nothing."""
    name = {Text: "string", Number: "integer", Flag: "boolean"}[kind]
    absent = f'Expected input type "{name}", found null.'
    return kind(required=True, error_messages={"required": absent, "null": absent}, **options)
