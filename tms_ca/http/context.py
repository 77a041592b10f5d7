"""What every handler can reach: the services, put together by app.py."""

from dataclasses import dataclass

from aiohttp import web

from tms_ca.core.facts import Limits
from tms_ca.observe import Metrics
from tms_ca.services.auditing import Auditing
from tms_ca.services.authentication import Authentication
from tms_ca.services.cakeys import CaKeys
from tms_ca.services.clock import Clock
from tms_ca.services.delegations import Delegations
from tms_ca.services.directory import Directory
from tms_ca.services.issuance import Issuance
from tms_ca.services.krl import Krls
from tms_ca.services.logins import Logins
from tms_ca.services.people import People
from tms_ca.services.readiness import Readiness
from tms_ca.services.records import Records
from tms_ca.services.revocation import Revocations
from tms_ca.store.hot import GroupCommit
from tms_ca.vault import Vault


@dataclass(frozen=True, slots=True)
class Context:
    """The services, by name."""

    clock: Clock
    limits: Limits
    public_url: str
    vault: Vault
    commits: GroupCommit
    metrics: Metrics
    authentication: Authentication
    issuance: Issuance
    logins: Logins
    revocations: Revocations
    krls: Krls
    records: Records
    delegations: Delegations
    directory: Directory
    cakeys: CaKeys
    people: People
    auditing: Auditing
    readiness: Readiness


CONTEXT = web.AppKey("context", Context)
REQUEST_ID = web.RequestKey("request_id", str)
ADDRESS = web.RequestKey("address", str)
