"""The daemon's reports: what this host enforces, so that the service can say which hosts enforce a revocation."""

import asyncio
import contextlib
import subprocess
import time

from keycmd.hostd.journal import ERROR, NOTICE, WARNING, log
from keycmd.service import ServiceError, refusal_code
from keycmd.version import VERSION

WARN_OFFSET_MS = 30000
SAY_AGAIN_SECONDS = 300.0
VERSION_SECONDS = 5


class Reports:
    """The job; `wake` lets the next report leave at once."""

    def __init__(self, daemon):
        self._daemon = daemon
        self._woken = asyncio.Event()
        self._openssh = None
        self._said = {}
        daemon.state["report"] = {}

    def wake(self):
        """Report now."""
        self._woken.set()

    async def job(self):
        """Report again and again."""
        self._openssh = await asyncio.get_event_loop().run_in_executor(None, openssh_version)
        while True:
            self._woken.clear()
            try:
                if self._daemon.state["trust"].get("krl_version") is not None:  # else there is nothing to tell
                    await self.send()
            except ServiceError as error:
                self._daemon.state["report"]["problem"] = str(error)
                self._say("report", ERROR, "the report was not taken reason=%s" % error)
            else:
                self._daemon.state["report"]["problem"] = None
                self._said.pop("report", None)
            self._watch_clock()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._daemon.config.report_seconds)

    async def send(self):
        """Send one report.

        Raises:
            ServiceError: nobody took it
        """
        config, trust = self._daemon.config, self._daemon.state["trust"]
        path = "/api/v1/tenants/%s/hosts/%s/reports" % (config.tenant, config.host)
        body = {
            "node": config.node,
            "user_ca_fingerprints": trust["user_ca_fingerprints"],
            "krl_version": trust["krl_version"],
            "trust_epoch": trust["epoch"],
            "clock_offset_ms": self._daemon.upstream.clock_offset_ms or 0,
            "openssh_version": self._openssh,
            "tms_host_version": VERSION,
            "when_away": config.when_away,
        }
        status, _, content = await self._daemon.upstream.call("POST", path, body)
        if status in (401, 403):
            said = "the service answered %d %s: the credential is not good (any more); run `tms-host join` again"
            raise ServiceError(said % (status, refusal_code(content)))
        if status != 200:
            raise ServiceError("the service answered %d %s" % (status, refusal_code(content)))
        self._daemon.state["report"]["sent_at"] = int(time.time())

    def _watch_clock(self):
        offset = self._daemon.upstream.clock_offset_ms
        if offset is not None and abs(offset) >= WARN_OFFSET_MS:
            text = "this machine's clock is %+.0f s from the service's: certificates begin and end at wrong times here"
            self._say("clock", WARNING, text % (offset / 1000))
        elif self._said.pop("clock", None) is not None:
            log(NOTICE, "this machine's clock is right again")

    def _say(self, about, severity, text):
        """Say it at once, and again from time to time."""
        now = time.monotonic()
        if about not in self._said or now - self._said[about] >= SAY_AGAIN_SECONDS:
            self._said[about] = now
            log(severity, text)


def openssh_version():
    """Return what `ssh -V` says, cut to its first word; "unknown" where it says nothing."""
    try:
        done = subprocess.run(["ssh", "-V"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=VERSION_SECONDS, check=False)  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.decode("ascii", "replace").partition(",")[0].strip()[:64] or "unknown"


def register(daemon):
    """Take part in the daemon."""
    daemon.reports = Reports(daemon)
    daemon.jobs.append(daemon.reports.job)
