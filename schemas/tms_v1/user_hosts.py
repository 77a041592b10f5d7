"""Bodies about a user's accounts on hosts."""

from schemas.tms_v1.base import Number, Text, V1Shape, required


class ReqUserHost(V1Shape):
    """An account that is a user's on a host."""

    tenant = required(Text)
    tms_user_id = required(Text)
    host = required(Text)
    host_account = required(Text)


class ReqDeleteUserHost(ReqUserHost):
    """The one to delete."""


class ReqCreateUserHost(ReqUserHost):
    """A new one, for so many minutes from now; negative: for good."""

    ttl_minutes = required(Number)


class ReqUpdateUserHost(ReqCreateUserHost):
    """One that is to end so many minutes from now."""
