"""Bodies about an admin's word on a user's second factor."""

from schemas.tms_v1.base import Flag, Number, Text, V1Shape, required


class ReqCreateUserMfa(V1Shape):
    """Who counts as MFA-current, and for how many minutes from now; negative: for good."""

    tenant = required(Text)
    tms_user_id = required(Text)
    ttl_minutes = required(Number)


class ReqUpdateUserMfa(V1Shape):
    """Whether the user may do anything."""

    tenant = required(Text)
    tms_user_id = required(Text)
    enabled = required(Flag)
