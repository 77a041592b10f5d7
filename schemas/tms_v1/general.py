"""Queries of the endpoints that anybody may ask."""

from schemas.tms_v1.base import Text, V1Shape


class HelloQuery(V1Shape):
    """Whom to greet."""

    name = Text(load_default=None)
