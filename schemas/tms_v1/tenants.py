"""Bodies about tenants."""

from schemas.tms_v1.base import Flag, Text, V1Shape, required


class ReqUpdateTenant(V1Shape):
    """Whether anything in the tenant can be done."""

    tenant = required(Text)
    enabled = required(Flag)
