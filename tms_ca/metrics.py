"""What /metrics shows; docs/monitoring.md explains each name.

What a request touches are plain integers of this process (tms_ca.tallies), handed over once a second and at a scrape.
"""

import asyncio
import platform
from collections.abc import Iterable
from typing import Protocol

import tms_ca
from tms_ca import machine
from tms_ca.core.facts import DenialReason
from tms_ca.core.leniency import FORGIVEN
from tms_ca.core.model import Selector
from tms_ca.registry import Registry, forget
from tms_ca.services.clock import SystemClock
from tms_ca.tallies import Level, Spread, Tallies, Tally

__all__ = ["Metrics", "forget"]

FOLD_SECONDS = 1.0
REQUEST_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
COMMIT_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0, 5.0)
SIGN_SECONDS = (0.00002, 0.00004, 0.00008, 0.00016, 0.0004, 0.001, 0.0025, 0.01, 0.1, 1.0)
GROUP_ENTRIES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
BUILD_SECONDS = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)


class Folded(Protocol):
    """What is handed over from time to time."""

    def fold(self) -> None:
        """Hand over."""


class Metrics:
    """Every number of this process."""

    def __init__(self) -> None:
        self._registry = registry = Registry()
        counter, gauge, histogram = registry.counter, registry.gauge, registry.histogram
        self.media_type = registry.media_type
        self.issued = Tally(counter("tms_certificates_issued", "User certificates issued"))
        self.logins = Tally(counter("tms_logins_allowed", "Login checks answered yes"))
        self.unissued = Tally(
            counter("tms_certificates_unissued", "Certificates shown that a CA key signed and nobody here issued")
        )
        self.denied = Tallies(counter("tms_denied", "Refusals by rule", "action", "code"))
        self.lenient = Tallies(counter("tms_v1_lenient", "Keys given out in spite of a rule", "code"))
        self.revoked = Tallies(counter("tms_revocations", "Revocations by selector", "selector"))
        self._problems = Tallies(counter("tms_problems", "Answers that are problems, by code", "code"))
        self._requests = Tallies(counter("tms_http_requests", "Answers by status", "endpoint", "status"))
        self._database_errors = Tally(counter("tms_database_errors", "Times that the database did not do its work"))
        self.in_flight = Level(gauge("tms_http_in_flight", "Requests being answered"))
        self._held_back = Level(gauge("tms_http_held_back", "Connections that were refused and are not read now"))
        self._retry_after = Level(
            gauge("tms_http_retry_after_seconds", "What a refusal for want of time says now", mode="livemax")
        )
        self._seconds = histogram(
            "tms_http_request_seconds", "Seconds from head to answer", REQUEST_SECONDS, "endpoint", "status_class"
        )
        self._groups = Spread(
            histogram("tms_commit_group_entries", "Entries of one durable commit", GROUP_ENTRIES), GROUP_ENTRIES
        )
        self._commits = Spread(
            histogram("tms_commit_seconds", "Seconds that a group's commit took", COMMIT_SECONDS), COMMIT_SECONDS
        )
        self._signatures = Spread(
            histogram("tms_sign_seconds", "Seconds that a CA key took to sign", SIGN_SECONDS), SIGN_SECONDS
        )
        self._builds = Spread(
            histogram("tms_krl_build_seconds", "Seconds that building a KRL took", BUILD_SECONDS), BUILD_SECONDS
        )
        self._krl_generated = gauge(
            "tms_krl_generated_timestamp_seconds", "When the KRL in force was generated", "tenant", mode="livemax"
        )
        self._krl_checked = gauge(
            "tms_krl_checked_timestamp_seconds", "When the KRL was last seen up to date", "tenant", mode="livemax"
        )
        self._hosts = {
            "reporting": gauge("tms_hosts_reporting", "Machines of hosts that report", "tenant", mode="livemostrecent"),
            "behind": gauge(
                "tms_hosts_behind", "Machines that lack the KRL or a CA key", "tenant", mode="livemostrecent"
            ),
            "silent": gauge("tms_hosts_silent", "Machines that stopped to report", "tenant", mode="livemostrecent"),
        }
        self._ready = gauge("tms_ready", "1 where the last look found nothing against traffic", mode="livemostrecent")
        self._check = gauge("tms_check_ok", "1 where the check passed at the last look", "check", mode="livemostrecent")
        self._process = _Process(registry)
        self._folded: tuple[Folded, ...] = (
            self.issued, self.logins, self.unissued, self.denied, self.lenient, self.revoked, self._problems,
            self._requests, self._database_errors, self.in_flight, self._held_back, self._retry_after, self._groups,
            self._commits, self._signatures, self._builds, self._process,
        )  # fmt: skip
        self._spreads: dict[tuple[str, int], Spread] = {}
        self._begin()
        self._answers: dict[tuple[str, int], tuple[Tally, Spread]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def _begin(self) -> None:
        """Let every reason to refuse begin at 0: Prometheus sees no increase in a series that begins at 1."""
        for reason in DenialReason:
            for action in ("certificates.issue", "logins.check", "logins.open"):
                self.denied.labels(action, reason)
        for reason in FORGIVEN:
            self.lenient.labels(reason)
        for selector in Selector:
            self.revoked.labels(selector)
        for code in ("credential_not_good", "database_unavailable", "internal"):
            self._problems.labels(code)
        for endpoint in ("issue_certificate", "check_login"):
            self._spread_of(endpoint, 5)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """Count one answer."""
        known = self._answers.get((endpoint, status))
        if known is None:
            known = self._requests.labels(endpoint, str(status)), self._spread_of(endpoint, status // 100)
            self._answers[endpoint, status] = known
        known[0].count += 1
        known[1].observe(seconds)

    def _spread_of(self, endpoint: str, family: int) -> Spread:
        found = self._spreads.get((endpoint, family))
        if found is None:
            histogram = self._seconds.labels(endpoint, f"{family}xx")
            found = self._spreads[endpoint, family] = Spread(histogram, REQUEST_SECONDS)
        return found

    def problem(self, code: str) -> None:
        """Count an answer that is a problem."""
        self._problems.labels(code).count += 1

    def crowd(self, held_back: int, retry_after: int) -> None:
        """Note how many connections are held back, and how many seconds `Retry-After` asks for."""
        self._held_back.value = held_back
        self._retry_after.value = retry_after

    def group(self, entries: int, seconds: float) -> None:
        """Count a group that became durable."""
        self._groups.observe(entries)
        self._commits.observe(seconds)

    def signed(self, seconds: float) -> None:
        """Count a signature of a CA key."""
        self._signatures.observe(seconds)

    def database_error(self) -> None:
        """Count a statement or a commit that failed."""
        self._database_errors.count += 1

    def krl(self, tenant: str, generated_at: int, now: int) -> None:
        """Note that the KRL of `generated_at` is up to date at `now`; both are Unix seconds."""
        self._krl_generated.labels(tenant).set(generated_at)
        self._krl_checked.labels(tenant).set(now)

    def krl_built(self, seconds: float) -> None:
        """Count a KRL that was built."""
        self._builds.observe(seconds)

    def hosts(self, tenant: str, *, reporting: int, behind: int, silent: int) -> None:
        """Note how the machines of a tenant's hosts stand."""
        for name, count in (("reporting", reporting), ("behind", behind), ("silent", silent)):
            self._hosts[name].labels(tenant).set(count)

    def looked(self, checks: Iterable[tuple[str, bool]], *, ready: bool) -> None:
        """Note what a look at the service's readiness found."""
        self._ready.set(ready)
        for name, passed in checks:
            self._check.labels(name).set(passed)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand over what was counted once a second, for the workers that are asked in our place."""
        self._due = loop.time() + FOLD_SECONDS
        self._timer = loop.call_at(self._due, self._tick, loop)

    def stop(self) -> None:
        """Hand over the rest."""
        if self._timer is not None:
            self._timer.cancel()
        self.fold()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._process.lag.set(max(loop.time() - self._due, 0.0))
        self.fold()
        self.start(loop)

    def fold(self) -> None:
        """Hand over what was counted."""
        for each in (*self._folded, *self._spreads.values()):
            each.fold()

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        self.fold()
        return self._registry.text()


class _Process:
    """What this process is and uses."""

    def __init__(self, registry: Registry) -> None:
        gauge = registry.gauge
        gauge("tms_workers", "Processes that serve").set(1)
        registry.counter("tms_process_starts", "Processes that began to serve").inc()
        info = gauge("tms_build_info", "1, with what runs here", "version", "python", mode="livemax")
        info.labels(tms_ca.__version__, platform.python_version()).set(1)
        self.lag = gauge("tms_loop_lag_seconds", "How late the event loop's timer last came", mode="livemax")
        start = gauge("process_start_time_seconds", "Start of the oldest process, Unix time", mode="livemin")
        start.set(SystemClock().now())
        gauge("process_max_fds", "Most descriptors of a process", mode="livemin").set(machine.most_descriptors())
        self._cpu = registry.counter("process_cpu_seconds", "User and system CPU seconds")
        self._memory = gauge("process_resident_memory_bytes", "Resident memory")
        self._descriptors = gauge("process_open_fds", "Open file descriptors")
        self._told = 0.0

    def fold(self) -> None:
        """Look again."""
        spent = machine.cpu_seconds()
        self._cpu.inc(spent - self._told)
        self._told = spent
        self._memory.set(machine.resident_bytes())
        self._descriptors.set(machine.open_descriptors())
