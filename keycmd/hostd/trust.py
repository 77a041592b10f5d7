"""The daemon's eye on what this host trusts: user CA keys, host CA keys and the KRL follow the signed bundle.

Nothing takes the place of anything before it has been checked. Whatever is wrong with what came - old, ended, cut
short, garbage, signed by another - the files stay as they are, syslog says why, and the next look may find better.
"""

import asyncio
import json
import os
import random
import time

from keycmd import files, trustfile
from keycmd.hostd.journal import ERROR, NOTICE, log
from keycmd.service import ServiceError

MOST_ANSWER_BYTES = 131072
MOST_TURNS = 3  # a revocation between the bundle and the KRL is met by asking again
KRL_SECONDS = 60.0
LONGEST_PAUSE_REFUSING = 200.0  # a bundle lives 600 s: three looks before all logins would be refused
SAY_AGAIN_SECONDS = 300.0
SHORTEST_RETRY_SECONDS = 1.0
# sshd takes this for a KRL and cannot load it. Other garbage it might read as an empty list of keys.
REFUSES_ALL = b"SSHKRL\n\0stale: the service's signed bundle has ended, and when_krl_stale = refuse\n"
_REPORTED = ("krl_version", "user_ca_fingerprints")  # what the service wants to know at once
_MOST_FILE_BYTES = 65536


class Paths:
    """The files in the state directory."""

    def __init__(self, state_dir):
        self.directory = state_dir
        self.krl = os.path.join(state_dir, "krl")
        self.user_ca = os.path.join(state_dir, "user_ca.pub")
        self.host_ca = os.path.join(state_dir, "host_ca.pub")
        self.trust = os.path.join(state_dir, "trust.json")


class Trust:
    """The job; `bundle` is the last one that was taken, None before the first look at the disk."""

    def __init__(self, daemon):
        self._daemon = daemon
        self.bundle = None
        self._problem_since = None
        self._said_at = None
        daemon.state["trust"] = {}

    async def job(self):
        """Look again and again."""
        failures = 0
        await _aside(files.sweep, self._daemon.config.state_dir)
        while True:
            try:
                await self.look()
                failures = 0
                self._well()
            except (trustfile.TrustError, files.FilesError, ServiceError) as error:
                failures += 1
                self._wrong(str(error))
            await self._refuse_if_stale()
            await self._daemon.pause(self._pause(failures))

    async def look(self):
        """Ask for the bundle; install what it says where that differs from what is here.

        Raises:
            TrustError: what came is not to be believed
            ServiceError: nothing came
            FilesError: it could not be written; everything is as it was
        """
        config = self._daemon.config
        paths = Paths(config.state_dir)
        self.bundle = await _aside(_last, paths, config.tenant)
        for _ in range(MOST_TURNS):
            bundle = await self._ask(config, paths)
            present = await _aside(files.read, paths.krl, trustfile.MOST_KRL_BYTES)
            krl = None
            if trustfile.digest(present) != bundle.krl_sha256:
                krl = await self._fetch_krl(config)
                if trustfile.digest(krl) != bundle.krl_sha256:
                    continue
            # To the end, once begun: a daemon that is told to end must not report what it has not installed.
            await asyncio.shield(_aside(install, paths, bundle, krl))
            self.bundle = bundle
            before = dict(self._daemon.state["trust"])
            self._show()
            if krl is not None:
                self._daemon.state["trust"]["installed_at"] = int(time.time())
                log(NOTICE, "installed krl_version=%d bytes=%d" % (bundle.krl_version, len(krl)))
            shown = self._daemon.state["trust"]
            if any(before.get(name) != shown[name] for name in _REPORTED):
                self._wake_others()
            return
        raise trustfile.TrustError("the KRL is not the one of the bundle: cut short, changed on its way, or an old one")

    async def _ask(self, config, paths):
        """Return the service's bundle, verified, whole, ours and not older than the last."""
        path = "/api/v1/tenants/%s/trust" % config.tenant
        status, _, content = await self._daemon.upstream.call("GET", path, most=MOST_ANSWER_BYTES)
        if status != 200:
            raise ServiceError("the service answered %d to GET trust" % status)
        try:
            answer = json.loads(content.decode("ascii"))
            text, signature = answer["bundle"], answer["signature"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise trustfile.TrustError("the answer to GET trust is not {bundle, signature}") from error
        bundle = trustfile.parse(text, signature, config.tenant)
        if self.bundle is None or (text, signature) != (self.bundle.text, self.bundle.signature):
            await _aside(_verify, bundle, paths)
        trustfile.check_time(bundle, time.time())
        trustfile.check_newer(bundle, self.bundle)
        return bundle

    async def _fetch_krl(self, config):
        path = "/api/v1/tenants/%s/krl" % config.tenant
        status, _, content = await self._daemon.upstream.call(
            "GET", path, accept="application/octet-stream", seconds=KRL_SECONDS, most=trustfile.MOST_KRL_BYTES
        )
        if status != 200:
            raise ServiceError("the service answered %d to GET krl" % status)
        return content

    async def _refuse_if_stale(self):
        """Where the configuration wants it, let sshd refuse everybody once the last bundle has ended."""
        config = self._daemon.config
        stale = self.bundle is None or time.time() >= self.bundle.expires_at
        self._daemon.state["trust"]["stale"] = stale
        if not stale or config.when_krl_stale != "refuse":
            return
        path = Paths(config.state_dir).krl
        try:
            if await _aside(files.read, path, trustfile.MOST_KRL_BYTES) != REFUSES_ALL:
                await _aside(files.write, path, REFUSES_ALL)
                log(ERROR, "refusing all keys: the last signed bundle has ended, and when_krl_stale is refuse")
        except files.FilesError as error:
            # No room even for that: without the file sshd refuses everybody as well.
            log(ERROR, "refusing all keys by removing %s reason=%s" % (path, error))
            await _aside(_remove, path)

    def _pause(self, failures):
        seconds = self._daemon.config.poll_seconds
        if self._daemon.config.when_krl_stale == "refuse":
            seconds = min(seconds, LONGEST_PAUSE_REFUSING)
        if failures:
            seconds = min(seconds, SHORTEST_RETRY_SECONDS * 2 ** min(failures - 1, 12))
        return seconds * (0.8 + 0.2 * random.random())  # a thousand hosts that started together do not stay so

    def _show(self):
        bundle = self.bundle
        self._daemon.state["trust"].update(
            krl_version=str(bundle.krl_version),
            epoch=str(bundle.epoch),
            issued_at=bundle.issued_at,
            expires_at=bundle.expires_at,
            user_ca_fingerprints=[trustfile.fingerprint(key) for key in bundle.user_ca_keys],
        )

    def _well(self):
        self._daemon.state["trust"].update(checked_at=int(time.time()), problem=None)
        if self._problem_since is not None:
            log(NOTICE, "trust is followed again after %d s" % (time.monotonic() - self._problem_since))
        self._problem_since = self._said_at = None

    def _wrong(self, problem):
        """Say it at once, and again from time to time."""
        if self.bundle is not None:
            self._show()
        new = self._daemon.state["trust"].get("problem") is None
        self._daemon.state["trust"]["problem"] = problem
        now = time.monotonic()
        if self._problem_since is None:
            self._problem_since = now
        if new or self._said_at is None or now - self._said_at >= SAY_AGAIN_SECONDS:
            self._said_at = now
            log(ERROR, "trust stays as it was reason=%s" % problem)

    def _wake_others(self):
        for name in ("reports", "sessions"):
            part = getattr(self._daemon, name, None)
            if part is not None:
                part.wake()


def install(paths, bundle, krl):
    """Put in place what a bundle says; `krl` is None where the present one is it. trust.json comes last.

    Raises:
        TrustError: sshd could not load the KRL
        FilesError: see NewFiles
    """
    with files.NewFiles() as new:
        if krl is not None:
            trustfile.check_krl(new.add(paths.krl, krl))
        for path, content in ((paths.user_ca, bundle.user_ca_file), (paths.host_ca, bundle.host_ca_file)):
            if files.read(path, _MOST_FILE_BYTES) != content:
                new.add(path, content)
        new.add(paths.trust, trustfile.as_file(bundle))
        new.put_in_place()


def register(daemon):
    """Take part in the daemon."""
    daemon.trust = Trust(daemon)
    daemon.jobs.append(daemon.trust.job)


def _aside(function, *arguments):
    """Run what waits for the disk or a program in a thread, so that helpers are answered meanwhile."""
    return asyncio.get_event_loop().run_in_executor(None, function, *arguments)


def _last(paths, tenant):
    content = files.read(paths.trust, _MOST_FILE_BYTES)
    return None if content is None else trustfile.load_last(content, tenant)


def _verify(bundle, paths):
    trustfile.verify(bundle, trustfile.read_keys(files.read(paths.host_ca, _MOST_FILE_BYTES) or b""))


def _remove(path):
    try:
        os.unlink(path)
    except OSError as error:
        log(ERROR, "cannot remove %s: %s" % (path, error.strerror))
