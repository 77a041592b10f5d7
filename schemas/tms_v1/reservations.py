"""Bodies of reservations."""

from schemas.tms_v1.base import Number, Text, V1Shape, required


class ReqCreateReservation(V1Shape):
    """Which key is to go on, and for how long; negative is as long as can be."""

    client_user_id = required(Text)
    host = required(Text)
    public_key_fingerprint = required(Text)
    ttl_minutes = required(Number)


class ReqExtendReservation(V1Shape):
    """A child under a reservation."""

    client_user_id = required(Text)
    host = required(Text)
    public_key_fingerprint = required(Text)
    parent_resid = required(Text)
