"""What the directory's endpoints share: a page of a shelf, a record with its secret."""

from collections.abc import Mapping
from typing import Any

from tms_ca.core.record import fields_of
from tms_ca.http.cursors import decode_cursor
from tms_ca.http.endpoint import Call, Page
from tms_ca.store.rows import Shelf


def asked(call: Call[Any], words: int = 2) -> tuple[dict[str, Any], list[Any] | None, int]:
    """Return the filters of a list's query, the key of `words` words to go on from, and how many at most."""
    query = dict(call.query)
    limit, cursor = query.pop("limit"), query.pop("cursor")
    return query, None if cursor is None else decode_cursor(cursor, [str] * words), limit


async def page(call: Call[Any], shelf: Shelf[Any], own: Mapping[str, object]) -> Page:
    """Return a page of `shelf` by the call's query; `own` narrows it whatever the query says."""
    query, after, limit = asked(call, len(shelf.key))
    return Page(*await call.context.directory.page(shelf, {**query, **own}, after, limit))


def with_secret(record: Any, secret: str) -> dict[str, Any]:
    """Return a record's fields with the secret that is shown once."""
    return {**{name: getattr(record, name) for name in fields_of(type(record))}, "secret": secret}
