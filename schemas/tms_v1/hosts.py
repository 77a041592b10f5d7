"""Bodies about addresses of hosts, which are noted and no more."""

from schemas.tms_v1.base import Text, V1Shape, required


class ReqHost(V1Shape):
    """A host's name and an address."""

    tenant = required(Text)
    host = required(Text)
    addr = required(Text)


class ReqDeleteHost(ReqHost):
    """The one to forget."""
