"""Bodies about which client may act for whom."""

from schemas.tms_v1.base import Number, Text, V1Shape, required


class ReqDelegation(V1Shape):
    """A client and a user."""

    tenant = required(Text)
    client_id = required(Text)
    client_user_id = required(Text)


class ReqDeleteDelegation(ReqDelegation):
    """The one to delete."""


class ReqCreateDelegation(ReqDelegation):
    """A new one, for so many minutes from now; negative: for good."""

    ttl_minutes = required(Number)


class ReqUpdateDelegation(ReqCreateDelegation):
    """One that is to end so many minutes from now."""
