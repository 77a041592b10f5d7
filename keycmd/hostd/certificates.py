"""The daemon's care for host certificates: renewed after two thirds of their life and at SIGHUP, and sshd told of it.

Only the service knows which names a certificate should have; after a change there, SIGHUP fetches it.

Since OpenSSH 9.8 sshd reads its HostCertificate files when it starts and after SIGHUP, before that for each
connection. With SIGHUP it reads its whole configuration again and ends if that is not good, so it gets one only where
its configuration is as old as its last start: an administrator in the middle of an edit is not locked out by us.
"""

import asyncio
import glob
import json
import os
import random
import signal
import time

from keycmd import files, hostcert, trustfile
from keycmd.hostd.journal import ERROR, NOTICE, WARNING, log
from keycmd.service import ServiceError, refusal_code

LOOK_SECONDS = 3600.0
RETRY_SECONDS = 60.0
SECONDS = 30.0
PID_FILE = "/run/sshd.pid"
SSHD_CONFIGURATION = ("/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d", "/etc/ssh/sshd_config.d/*.conf")
_MOST_BYTES = 65536


class Certificates:
    """The job. sshd writes its `pid_file` when it starts and after each SIGHUP: its age tells what sshd has read."""

    def __init__(self, daemon, pid_file=PID_FILE, configuration=SSHD_CONFIGURATION):
        self._daemon = daemon
        self._pid_file = pid_file
        self._configuration = configuration
        self._said = None
        self._renewed = False
        self._config = daemon.config  # that the present certificates were looked at with; SIGHUP brings another
        daemon.state["certificates"] = {}

    async def job(self):
        """Look again and again."""
        state = self._daemon.state["certificates"]
        pause = RETRY_SECONDS
        while True:
            config = self._daemon.config
            try:
                await self.look(time.time())
                state["problem"] = None
                pause = LOOK_SECONDS
            except (hostcert.CertificateError, trustfile.TrustError, files.FilesError, ServiceError) as error:
                state["problem"] = str(error)
                log(ERROR, "host certificates were not renewed reason=%s" % error)
                pause = min(max(2 * pause, RETRY_SECONDS), LOOK_SECONDS) if pause < LOOK_SECONDS else RETRY_SECONDS
            self._tell_sshd(state)
            if config is not self._daemon.config:
                continue  # SIGHUP came meanwhile, and has ended no pause
            await self._daemon.pause(pause * (0.8 + 0.2 * random.random()))

    async def look(self, now):
        """Renew all host certificates if one is due at `now` (Unix seconds), or after SIGHUP; return whether they were.

        Raises:
            CertificateError, TrustError: what came is not what was asked for
            ServiceError: nothing came, or a refusal
            FilesError: it could not be written; the old ones are still there
        """
        directory = self._directory
        keys = public_keys(directory)
        present = [_certificate(path) for path in keys]
        ends = [certificate.valid_before for certificate in present if certificate is not None]
        self._daemon.state["certificates"]["valid_before"] = min(ends) if ends else None
        trusted = trustfile.read_keys(files.read(self._authorities, _MOST_BYTES) or b"")
        config = self._daemon.config
        good = all(certificate is not None and _good(certificate, trusted, now) for certificate in present)
        if not keys or (good and config is self._config):
            self._config = config
            return False
        path = "/api/v1/tenants/%s/hosts/%s/certificates" % (config.tenant, config.host)
        body = {"public_keys": list(keys.values())}
        status, _, content = await self._daemon.upstream.call("POST", path, body, seconds=SECONDS)
        if status != 201:
            raise ServiceError("the service answered %d %s" % (status, refusal_code(content)))
        loop = asyncio.get_event_loop()
        fresh = await asyncio.shield(loop.run_in_executor(None, self._install, content, keys, now))
        self._daemon.state["certificates"]["valid_before"] = min(certificate.valid_before for certificate in fresh)
        self._renewed = True
        self._config = config
        log(NOTICE, "renewed %d host certificates" % len(fresh))
        return True

    @property
    def _directory(self):
        return os.path.join(self._daemon.config.state_dir, "host-certs")

    @property
    def _authorities(self):
        return os.path.join(self._daemon.config.state_dir, "host_ca.pub")

    def _install(self, content, keys, now):
        """Check the answer's certificates, and put all of them in place or none."""
        try:
            texts = json.loads(content.decode("ascii"))["certificates"]
            found = [hostcert.HostCertificate(text) for text in texts]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise hostcert.CertificateError("the answer holds no certificates") from error
        if len(found) != len(keys):
            raise hostcert.CertificateError("the answer holds %d certificates for %d keys" % (len(found), len(keys)))
        trusted = trustfile.read_keys(files.read(self._authorities, _MOST_BYTES) or b"")
        with files.NewFiles() as new:
            for (path, key), certificate in zip(keys.items(), found):  # noqa: B905 - lengths are equal; Python 3.6
                hostcert.check(certificate, key, trusted, now)
                new.add(certificate_path(path), certificate.line.encode("ascii") + b"\n")
            new.put_in_place()
        return found

    def _tell_sshd(self, state):
        """Send sshd SIGHUP if certificates are newer than its last start, and its configuration is not."""
        try:
            why_not = self._hang_up()
        except OSError as error:
            why_not = "sshd could not be told: %s" % error.strerror
        state["sshd"] = why_not
        if why_not is not None and why_not != self._said:
            log(WARNING, "sshd still offers the old host certificates reason=%s" % why_not)
        self._said = why_not

    def _hang_up(self):
        """Return why sshd was not told, None where it was or need not be."""
        times = [os.stat(path).st_mtime for path in glob.glob(os.path.join(self._directory, "*-cert.pub"))]
        try:
            with open(self._pid_file) as file:
                pid, read_at = int(file.read(20)), os.fstat(file.fileno()).st_mtime
            with open("/proc/%d/comm" % pid) as file:
                name = file.read().strip()
        except (OSError, ValueError):
            # An sshd that systemd starts for each connection has none, and reads them each time.
            return (
                "%s names no process: if sshd runs all the time, reload it" % self._pid_file if self._renewed else None
            )
        if not times or max(times) <= read_at:
            return None
        if pid <= 1 or name != "sshd":
            return "%s names the process %d, which is not sshd" % (self._pid_file, pid)
        for path in [path for pattern in self._configuration for path in glob.glob(pattern)]:
            if os.stat(path).st_mtime > read_at:
                return "%s is newer than sshd's last start: run `sshd -t && systemctl reload ssh` (or sshd)" % path
        os.kill(pid, signal.SIGHUP)
        log(NOTICE, "sshd was told to read its host certificates again pid=%d" % pid)
        return None


def due(certificate):
    """Return when to renew: after two thirds of the certificate's life, in Unix seconds."""
    return certificate.valid_after + (certificate.valid_before - certificate.valid_after) * 2 // 3


def _good(certificate, trusted, now):
    return certificate.ca_key in trusted and now < due(certificate)


def public_keys(directory):
    """Return {path: public key} of the host keys that were certified at the join, in the order of their names."""
    found = {}
    for path in sorted(glob.glob(os.path.join(directory, "*.pub"))):
        if not path.endswith("-cert.pub"):
            found[path] = trustfile.read_keys(files.read(path, _MOST_BYTES) or b"")[0]
    return found


def certificate_path(path):
    """Return where the certificate of a public key's file stands."""
    return path[: -len(".pub")] + "-cert.pub"


def _certificate(path):
    """Return the present certificate of a public key's file, None where none can be read."""
    try:
        return hostcert.HostCertificate((files.read(certificate_path(path), _MOST_BYTES) or b"").decode("ascii"))
    except (files.FilesError, hostcert.CertificateError, ValueError):
        return None


def register(daemon):
    """Take part in the daemon."""
    daemon.certificates = Certificates(daemon)
    daemon.jobs.append(daemon.certificates.job)
