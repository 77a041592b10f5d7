"""The endpoints, by noun. `ENDPOINTS` is all of the JSON API; pages are in tms_ca.http.pages."""

from tms_ca.http.endpoint import Endpoint
from tms_ca.http.routes import (
    audit_events,
    ca_keys,
    certificates,
    clients,
    delegations,
    enrolment,
    hosts,
    identities,
    links,
    logins,
    people,
    plainkeys,
    public,
    reports,
    revocations,
    tenants,
    trust,
    users,
)

ENDPOINTS: tuple[Endpoint, ...] = (
    *certificates.ENDPOINTS,
    *plainkeys.ENDPOINTS,
    *logins.ENDPOINTS,
    *revocations.ENDPOINTS,
    *delegations.ENDPOINTS,
    *people.ENDPOINTS,
    *tenants.ENDPOINTS,
    *clients.ENDPOINTS,
    *users.ENDPOINTS,
    *identities.ENDPOINTS,
    *hosts.ENDPOINTS,
    *enrolment.ENDPOINTS,
    *reports.ENDPOINTS,
    *trust.ENDPOINTS,
    *links.ENDPOINTS,
    *ca_keys.ENDPOINTS,
    *audit_events.ENDPOINTS,
    *public.ENDPOINTS,
)
