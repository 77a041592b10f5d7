"""Put the service together: the only wiring."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from tms_ca.background import Background, upkeep_job
from tms_ca.core.errors import Unavailable
from tms_ca.core.facts import Limits
from tms_ca.core.keylogin import decide_key
from tms_ca.core.leniency import decide_leniently
from tms_ca.http import pages
from tms_ca.http.admission import Admission
from tms_ca.http.context import CONTEXT, HANDLE, KNOWN_PATHS, Context
from tms_ca.http.direct import DIRECT, Direct
from tms_ca.http.guard import GUARD, Guard
from tms_ca.http.known import KnownPaths
from tms_ca.http.middleware import HEADERS, Around, Serve, middleware, shortcut
from tms_ca.http.refusals import Refusals
from tms_ca.http.routes import ENDPOINTS
from tms_ca.http.tms_v1 import serve as tms_v1
from tms_ca.http.traced import TracedLog, traced_serve
from tms_ca.metered import (
    MeteredDatabase,
    MeteredDriver,
    MeteredKeyRing,
    MeteredKrls,
    MeteredReadiness,
    MeteredReports,
    MeteredUnissued,
)
from tms_ca.metrics import Metrics
from tms_ca.observe import Log
from tms_ca.services.auditing import Auditing
from tms_ca.services.authentication import Authentication
from tms_ca.services.cakeys import CaKeys
from tms_ca.services.clock import Clock, SystemClock
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
from tms_ca.services.lists import Lists
from tms_ca.services.logins import Logins
from tms_ca.services.mvp import Mvp
from tms_ca.services.people import Passwords, People
from tms_ca.services.plainkeys import PlainKeys
from tms_ca.services.records import Records
from tms_ca.services.registration import Registration
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
from tms_ca.settings import Settings
from tms_ca.store import migrate
from tms_ca.store.chainwriter import ChainWriter
from tms_ca.store.engine import Database, database_url
from tms_ca.store.facts import FactsReader
from tms_ca.store.hot import GroupCommit, HotDriver
from tms_ca.store.hot_postgres import PostgresDriver
from tms_ca.store.hot_sqlite import SqliteDriver
from tms_ca.store.hot_writer import ChainElsewhere, WriterDriver
from tms_ca.store.jobs_lock import JobsLock
from tms_ca.store.memory import RememberedFacts
from tms_ca.store.plainkeys import KeyFactsReader
from tms_ca.store.retrieval import HostFinder
from tms_ca.store.trust import TrustReader
from tms_ca.traced import TracedCommits, TracedFacts, TracedKeyRing, TracedRules
from tms_ca.tracing import Tracing
from tms_ca.vault import Vault, load_vault

MOST_BODY_BYTES = 64 * 1024
SHUTDOWN_SECONDS = 8.0
CLOSING = web.AppKey("closing", asyncio.Event)  # once set, every answer is the last on its connection


@asynccontextmanager
async def open_context(
    settings: Settings, clock: Clock | None = None, writer: Path | None = None, tracing: Tracing | None = None
) -> AsyncIterator[Context]:
    """Open the database and yield the services; the service and the operator's commands share this.

    `writer` is the socket of the process that writes SQLite for several workers; without it groups are written here.

    Raises:
        Unavailable: the database cannot be reached, or is not of this release
        ValueError: the master key is not usable

    """
    clock = clock or SystemClock()
    vault = load_vault(settings.master_key)
    url = database_url(settings.database_url)
    if url.get_backend_name() == "sqlite":
        await migrate.upgrade(url)
    elif (found := await migrate.current(url)) != migrate.head():
        raise Unavailable(
            "database_revision",
            f"the database has revision {found}, this release needs {migrate.head()}: tms-ca migrate",
        )
    metrics = Metrics()
    database = MeteredDatabase(url, ChainWriter(vault.audit_key, clock.now()), metrics)
    chain = ChainWriter(vault.audit_key, clock.now())
    driver: HotDriver
    if not database.is_sqlite:
        driver = await PostgresDriver.open(url)
    elif writer is None:
        driver = SqliteDriver(database)
    else:
        driver, chain = WriterDriver(database, writer), ChainElsewhere(vault.audit_key, clock.now())
    try:
        context = _services(settings, vault, clock, database, MeteredDriver(driver, metrics), chain, metrics, tracing)
        await MeteredKeyRing(database, vault, metrics).check_master_key()
        try:
            yield context
        finally:
            context.key_mode.close()
            await context.revocations.close()
    finally:
        await driver.close()
        await database.close()


def _services(
    settings: Settings,
    vault: Vault,
    clock: Clock,
    database: Database,
    driver: HotDriver,
    chain: ChainWriter,
    metrics: Metrics,
    tracing: Tracing | None,
) -> Context:
    limits: Limits = settings.limits
    reader = FactsReader(driver)
    ring = MeteredKeyRing(database, vault, metrics)
    unissued = MeteredUnissued(database, clock, metrics)
    if tracing is None:
        facts, commits = RememberedFacts(reader), GroupCommit(driver, database, chain)
        issuance = Issuance(facts, commits, ring, limits, clock)
        logins = Logins(facts, commits, limits, clock, unissued)
        sessions = Sessions(database, facts, commits, limits, clock)
    else:
        tracer = tracing.tracer
        facts, commits = TracedFacts(reader, tracer), TracedCommits(driver, database, chain, tracer=tracer)
        rules, signing = TracedRules(tracer), TracedKeyRing(ring, tracer)
        issuance = Issuance(facts, commits, signing, limits, clock, rules.decide)
        logins = Logins(facts, commits, limits, clock, unissued, rules.decide_login)
        sessions = Sessions(database, facts, commits, limits, clock, rules.decide_login)
    keys = CaKeys(database, vault, clock)
    directory, grants = Directory(database, keys, clock), Grants(database, clock)
    krls = MeteredKrls(database, clock, metrics)
    host_certificates = HostCertificateIssuer(database, ring, clock)
    plain_keys, wire = PlainKeys(database, facts, KeyFactsReader(driver), commits, limits, clock), settings.tms_v1
    judge = decide_key if wire.strict else decide_leniently
    return Context(
        clock=clock,
        limits=limits,
        public_url=settings.listen.address,
        vault=vault,
        commits=commits,
        standstill=database.standstill,
        metrics=metrics,
        authentication=Authentication(database, facts, clock),
        issuance=issuance,
        logins=logins,
        plain_keys=plain_keys,
        reservations=Reservations(database, facts, KeyFactsReader(driver), commits, limits, clock),
        key_mode=KeyMode(database, plain_keys, Mvp(database, Grants(database, clock)), limits, clock),
        retrieval=Retrieval(HostFinder(driver, wire.retrieve_tenants), plain_keys, judge),
        sessions=sessions,
        key_logins=KeyLogins(database, commits, limits, clock),
        session_ends=SessionEnds(database, facts, KeyFactsReader(driver), clock),
        explain=Explain(facts, unissued, limits, clock),
        revocations=Revocations(database, clock),
        krls=krls,
        records=Records(database),
        delegations=Delegations(database, clock),
        directory=directory,
        cakeys=keys,
        people=People(database, vault, Passwords(), clock, settings.session_seconds),
        auditing=Auditing(database, vault),
        readiness=MeteredReadiness(metrics, database, ring, krls, vault, clock, wire.loosened(), wire.retrieve_tenants),
        upkeep=Upkeep(database, vault, clock, settings.retention),
        enrolment=Enrolment(database, keys, host_certificates, clock),
        host_certificates=host_certificates,
        trust=Trust(database, TrustReader(driver), ring, krls, clock),
        reports=MeteredReports(metrics, database, krls, clock),
        numbers=TmsV1Numbers(database),
        registration=Registration(database, clock),
        tenants=Tenants(database, directory, clock),
        seeded_tenant=SeededTenant(database, directory, grants, clock),
        importing=Importing(database, directory, clock),
        grants=grants,
        host_addresses=HostAddresses(database, clock),
        lists=Lists(database),
        tracing=tracing,
    )


def build_app(context: Context, settings: Settings, log: Log) -> web.Application:
    """Return the application on open services."""
    tls = settings.listen.tls_certificate is not None or context.public_url.startswith("https:")
    closing = asyncio.Event()
    if context.tracing is not None:
        log = TracedLog(log)
    around = Around(context, log, settings.listen.trusted_proxies, closing, tls=tls)
    serve: Serve = around.serve
    if context.tracing is not None:
        serve = traced_serve(serve, context.tracing)
    app = web.Application(client_max_size=MOST_BODY_BYTES, middlewares=[middleware(serve)])
    app[CONTEXT], app[CLOSING], app[KNOWN_PATHS] = context, closing, KnownPaths()
    app[HANDLE] = shortcut(app, serve)
    if context.tracing is None:
        app[DIRECT] = Direct(around, app[KNOWN_PATHS])
    refusals = Refusals(log, context.metrics.answered, closing, tls=tls)
    hosts = settings.listen.allowed_hosts
    app[GUARD] = Guard(
        Admission(context.commits), refusals, allowed_hosts=hosts, connections=settings.connections,
        proxies=settings.listen.trusted_proxies, tell=context.metrics.crowd,
    )  # fmt: skip
    for endpoint in ENDPOINTS:
        app.router.add_route(endpoint.method, endpoint.path, endpoint.__call__)
        if endpoint.method == "GET":  # the head alone of what GET would say (RFC 9110 section 9.3.2)
            app.router.add_route("HEAD", endpoint.path, endpoint.__call__)
    if settings.tms_v1.enabled:
        tms_v1.add_routes(app, settings.tms_v1, context.public_url)
    pages.add_routes(app, ENDPOINTS)

    later: list[asyncio.Task[None]] = []

    async def begin(_: web.Application) -> None:
        if not await tms_v1.begin(context, settings.tms_v1, log):
            later.append(asyncio.create_task(tms_v1.settle_later(context, settings.tms_v1, log), name="test tenant"))
        context.metrics.start(asyncio.get_running_loop())

    async def drain(_: web.Application) -> None:
        for task in later:
            task.cancel()
        await asyncio.wait_for(context.commits.close(), SHUTDOWN_SECONDS)
        context.metrics.stop()
        log.flush()

    async def prepare(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = HEADERS["Server"]  # no version, even where aiohttp answers by itself (417)
        if closing.is_set():
            response.headers["Connection"] = "close"
            response.force_close()

    jobs = Background([upkeep_job(context.upkeep)], JobsLock(database_url(settings.database_url)), log)
    app.cleanup_ctx.append(jobs.beside)
    app.on_startup.append(begin)
    app.on_cleanup.append(drain)
    app.on_response_prepare.append(prepare)
    return app
