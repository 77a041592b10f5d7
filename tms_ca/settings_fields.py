"""What settings are made of: strict types, so that a typing mistake keeps the service from starting."""

import ipaddress
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _strict_int(value: Any) -> None:
    if type(value) is not int:
        raise ValidationError("expected a whole number")


class Strict(Schema):
    """A section: it refuses what it does not name."""

    class Meta:
        """Marshmallow's settings."""

        unknown = RAISE


class Bool(fields.Boolean):
    """true or false; never a word or a number."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise ValidationError("expected true or false")
        return super()._deserialize(value, *args, **kwargs)


class Int(fields.Integer):
    """A whole number; never a string, never true."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        _strict_int(value)
        return super()._deserialize(value, *args, **kwargs)


class NetworkField(fields.Field[Network]):
    """An address or network in CIDR form."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Network:
        try:
            return ipaddress.ip_network(value if isinstance(value, str) else "")
        except ValueError as error:
            raise ValidationError(f"{value!r} is not a network: {error}") from error
