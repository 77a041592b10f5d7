"""What every handler can reach: the services, put together by app.py."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from tms_ca.core.facts import Limits
from tms_ca.http.known import KnownPaths
from tms_ca.metrics import Metrics
from tms_ca.services.auditing import Auditing
from tms_ca.services.authentication import Authentication
from tms_ca.services.cakeys import CaKeys
from tms_ca.services.clock import Clock
from tms_ca.services.delegations import Delegations
from tms_ca.services.directory import Directory
from tms_ca.services.enrolment import Enrolment
from tms_ca.services.explain import Explain
from tms_ca.services.grants import Grants
from tms_ca.services.host_addresses import HostAddresses
from tms_ca.services.hostcerts import HostCertificateIssuer
from tms_ca.services.importing import Importing
from tms_ca.services.issuance import Issuance
from tms_ca.services.keylogins import KeyLogins
from tms_ca.services.keymode import KeyMode
from tms_ca.services.krl import Krls
from tms_ca.services.lists import Lists
from tms_ca.services.logins import Logins
from tms_ca.services.people import People
from tms_ca.services.plainkeys import PlainKeys
from tms_ca.services.readiness import Readiness
from tms_ca.services.records import Records
from tms_ca.services.registration import Registration
from tms_ca.services.reports import Reports
from tms_ca.services.reservations import Reservations
from tms_ca.services.retrieval import Retrieval
from tms_ca.services.revocation import Revocations
from tms_ca.services.session_ends import SessionEnds
from tms_ca.services.sessions import Sessions
from tms_ca.services.tenants import Tenants
from tms_ca.services.test_tenant import SeededTenant
from tms_ca.services.tms_v1_numbers import TmsV1Numbers
from tms_ca.services.trust import Trust
from tms_ca.services.upkeep import Upkeep
from tms_ca.store.hot import GroupCommit
from tms_ca.store.standstill import Standstill
from tms_ca.tracing import Tracing
from tms_ca.vault import Vault


@dataclass(frozen=True, slots=True)
class Context:
    """The services, by name."""

    clock: Clock
    limits: Limits
    public_url: str
    vault: Vault
    commits: GroupCommit
    standstill: Standstill
    metrics: Metrics
    authentication: Authentication
    issuance: Issuance
    logins: Logins
    plain_keys: PlainKeys
    reservations: Reservations
    key_mode: KeyMode
    retrieval: Retrieval
    sessions: Sessions
    key_logins: KeyLogins
    session_ends: SessionEnds
    explain: Explain
    revocations: Revocations
    krls: Krls
    records: Records
    delegations: Delegations
    directory: Directory
    cakeys: CaKeys
    people: People
    auditing: Auditing
    readiness: Readiness
    upkeep: Upkeep
    enrolment: Enrolment
    host_certificates: HostCertificateIssuer
    trust: Trust
    reports: Reports
    numbers: TmsV1Numbers
    registration: Registration
    tenants: Tenants
    seeded_tenant: SeededTenant
    importing: Importing
    grants: Grants
    host_addresses: HostAddresses
    lists: Lists
    tracing: Tracing | None = None


CONTEXT = web.AppKey("context", Context)
KNOWN_PATHS = web.AppKey("known_paths", KnownPaths)
# What takes every request, in the place of the router that it asks in turn.
HANDLE: web.AppKey[Callable[[web.Request], Awaitable[web.StreamResponse]]] = web.AppKey("handle")
REQUEST_ID = web.RequestKey("request_id", str)
ADDRESS = web.RequestKey("address", str)
CAUSE = web.RequestKey("cause", str)  # of a failure that is an answer already, for the log
PROBLEM = web.RequestKey("problem", str)  # the code of a refusal that is an answer, not an error
