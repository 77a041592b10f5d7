"""The endpoints of the TMS wire API, by noun; a literal path goes before one with a parameter."""

from tms_ca.http.tms_v1.declare import V1Endpoint
from tms_ca.http.tms_v1.routes import general, retrieve

_EVERY: tuple[V1Endpoint, ...] = (*general.ENDPOINTS, *retrieve.ENDPOINTS)
ENDPOINTS: tuple[V1Endpoint, ...] = tuple(sorted(_EVERY, key=lambda endpoint: endpoint.path.count("{")))
