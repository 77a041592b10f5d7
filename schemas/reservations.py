"""Shapes of reservations."""

from typing import Any

from marshmallow import ValidationError, fields, validates_schema

from schemas.base import (
    ListQuery,
    QueryBoolean,
    Shape,
    Timestamp,
    account_field,
    client_field,
    fingerprint_field,
    host_field,
    reservation_field,
    seconds_field,
    text_field,
    user_field,
)
from tms_ca.core.facts import LONGEST_RESERVATION_SECONDS, MIN_LIFETIME_SECONDS


class ReservationCreate(Shape):
    """What a client reserves."""

    user = user_field(required=True)
    host = host_field(required=True)
    account = account_field(required=True)
    lifetime_seconds = seconds_field(
        MIN_LIFETIME_SECONDS,
        LONGEST_RESERVATION_SECONDS,
        metadata={"description": "Needed, unless parent_id is given"},
    )
    purpose = text_field(300, least=1, required=True)
    public_key_fingerprint = fingerprint_field(
        load_default=None, metadata={"description": "Of the plain key that it is for; without it, for certificates"}
    )
    parent_id = reservation_field(
        load_default=None, metadata={"description": "Make a child of this one, which ends with it"}
    )

    @validates_schema
    def one_end(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse a reservation without an end, and a child with one of its own."""
        if data.get("parent_id") is None and "lifetime_seconds" not in data:
            raise ValidationError("Missing data for required field.", "lifetime_seconds")
        if data.get("parent_id") is not None and "lifetime_seconds" in data:
            raise ValidationError("a child ends with its parent; leave lifetime_seconds out", "lifetime_seconds")


class ReservationShape(Shape):
    """A reservation."""

    id = fields.String(attribute="reservation_id")
    parent_id = fields.String(allow_none=True)
    client_id = fields.String()
    user = fields.String()
    host = fields.String()
    account = fields.String()
    delegation_id = fields.String()
    public_key_fingerprint = fields.String(allow_none=True)
    purpose = fields.String()
    created_at = Timestamp()
    expires_at = Timestamp()


class ReservationQuery(ListQuery):
    """Which reservations."""

    user = user_field()
    client_id = client_field()
    parent_id = reservation_field()


class RelatedQuery(Shape):
    """Whether the children go, too."""

    related = QueryBoolean(
        load_default=False, metadata={"description": "Take its children off the record with it; else they end now"}
    )
