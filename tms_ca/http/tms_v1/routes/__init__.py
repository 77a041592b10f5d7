"""The endpoints of the TMS wire API, by noun; a literal path goes before one with a parameter."""

from tms_ca.http.tms_v1.declare import V1Endpoint
from tms_ca.http.tms_v1.routes import (
    clients,
    delegations,
    general,
    hosts,
    pubkeys,
    reservations,
    retrieve,
    spec,
    tenants,
    user_hosts,
    user_mfa,
)

_EVERY: tuple[V1Endpoint, ...] = (
    *clients.ENDPOINTS,
    *delegations.ENDPOINTS,
    *general.ENDPOINTS,
    *hosts.ENDPOINTS,
    *pubkeys.ENDPOINTS,
    *reservations.ENDPOINTS,
    *retrieve.ENDPOINTS,
    *spec.ENDPOINTS,
    *tenants.ENDPOINTS,
    *user_hosts.ENDPOINTS,
    *user_mfa.ENDPOINTS,
)
ENDPOINTS: tuple[V1Endpoint, ...] = tuple(sorted(_EVERY, key=lambda endpoint: endpoint.path.count("{")))
