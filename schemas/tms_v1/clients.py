"""Bodies and queries about clients."""

from schemas.tms_v1.base import QueryFlag, Text, V1Shape, required


class ReqCreateClient(V1Shape):
    """A client to register, for a version of an application."""

    client_id = required(Text)
    tenant = required(Text)
    app_name = required(Text)
    app_version = required(Text)


class UpdateClientQuery(V1Shape):
    """What to change; what is not given stays."""

    app_version = Text(load_default=None)
    enabled = QueryFlag(load_default=None)
