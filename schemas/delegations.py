"""Shapes of delegations."""

from typing import Any

from marshmallow import fields, post_load, validate

from schemas.base import (
    Integer,
    ListQuery,
    Shape,
    Timestamp,
    account_pattern_field,
    client_field,
    host_pattern_field,
    seconds_field,
    text_field,
    user_field,
)
from schemas.certificates import Extensions, SourceAddresses, command_field
from schemas.logins import RestrictionsShape
from tms_ca.core.facts import HARD_MAX_SECONDS, MIN_LIFETIME_SECONDS
from tms_ca.core.model import NO_EXTRAS, Constraints, DelegationStatus

LONGEST_SECONDS = 366 * 24 * 3600
MOST_USES = 1_000_000


def uses_field(**options: Any) -> Integer:
    """Return a field for a number of logins."""
    text = "How many real logins there may be; without it, any number"
    return Integer(validate=validate.Range(1, MOST_USES), metadata={"description": text}, **options)


class ConstraintsShape(Shape):
    """What a certificate under the delegation may carry at most."""

    max_ttl_seconds = seconds_field(MIN_LIFETIME_SECONDS, HARD_MAX_SECONDS, load_default=None, allow_none=True)
    source_address = SourceAddresses(load_default=())
    force_command = command_field(load_default=None, allow_none=True)
    extensions = Extensions(load_default=())
    max_uses = uses_field(load_default=None, allow_none=True)

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> Constraints:
        """Return the record."""
        return Constraints(**data)


class DelegationRequestShape(Shape):
    """What a client asks a user for."""

    user = user_field(required=True)
    host = host_pattern_field(required=True)
    account = account_pattern_field(required=True)
    lifetime_seconds = seconds_field(MIN_LIFETIME_SECONDS, LONGEST_SECONDS, required=True)
    purpose = text_field(300, least=1, required=True)
    constraints = fields.Nested(ConstraintsShape, load_default=NO_EXTRAS)
    redirect_uri = fields.String(load_default=None, validate=validate.Length(1, 2000))


class ApproveShape(Shape):
    """How the user narrows what was asked; leave out what stays."""

    host = host_pattern_field()
    account = account_pattern_field()
    lifetime_seconds = seconds_field(MIN_LIFETIME_SECONDS, LONGEST_SECONDS)
    max_ttl_seconds = seconds_field(MIN_LIFETIME_SECONDS, HARD_MAX_SECONDS)
    source_address = SourceAddresses()
    force_command = command_field()
    extensions = Extensions()
    max_uses = uses_field()


class DelegationShape(Shape):
    """A delegation as everyone concerned sees it."""

    id = fields.String(attribute="delegation_id")
    user = fields.String()
    client_id = fields.String()
    host = fields.String()
    account = fields.String()
    status = fields.String()
    purpose = fields.String()
    lifetime_seconds = fields.Integer()
    constraints = fields.Nested(ConstraintsShape)
    uses_left = fields.Integer(allow_none=True, metadata={"description": "Logins left; null: any number"})
    restrictions = fields.Nested(RestrictionsShape, allow_none=True)
    redirect_uri = fields.String(allow_none=True)
    created_at = Timestamp()
    decided_at = Timestamp(allow_none=True)
    starts_at = Timestamp(allow_none=True)
    expires_at = Timestamp(allow_none=True)


class RequestedShape(DelegationShape):
    """A delegation as the client that asked for it receives it: `expires_at` is the end of waiting."""

    approval_url = fields.String(metadata={"description": "Send the user here"})
    user_code = fields.String(metadata={"description": "Show it to the user: the page shows the same"})


class DelegationQuery(ListQuery):
    """Which delegations."""

    user = user_field()
    client_id = client_field()
    status = fields.String(
        validate=validate.OneOf([status for status in DelegationStatus if status is not DelegationStatus.EXPIRED])
    )
