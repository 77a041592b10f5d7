"""Host certificates: one for each host key, valid, and with the names that people type."""

import calendar
import fnmatch
import os
import re
import socket
import time

from keycmd.doctor.running import run

SOON_SECONDS = 7 * 86400  # they live for 30 days and are renewed after 20
RENEW = "systemctl restart tms-hostd && systemctl reload ssh  # which renews it; on some systems it is called sshd"
RENEW_NOW = "systemctl reload tms-hostd  # which has them renewed, and sshd read them"
_VALID = re.compile(r"Valid: from \S+ to (\S+)")


class Certificate:
    """What ssh-keygen -L prints of one."""

    def __init__(self, text):
        self.is_host = "host certificate" in text
        key = re.search(r"Public key: \S+ (SHA256:\S+)", text)
        self.key = key.group(1) if key else ""
        end = _VALID.search(text)
        self.ends = calendar.timegm(time.strptime(end.group(1), "%Y-%m-%dT%H:%M:%S")) if end else None
        section = text.partition("Principals:")[2].partition("Critical Options:")[0]
        self.names = [line.strip() for line in section.split("\n") if line.strip() and line.strip() != "(none)"]


def check(place, report):
    """Report host keys without a certificate, and certificates that clients will not take."""
    settings = next(iter(place.settings.values()), None)
    if settings is None:
        return
    covered = {}
    for path in settings.all("hostcertificate"):
        found = "%s: HostCertificate %s" % (place.sshd.where("hostcertificate", path), path)
        certificate = _read(path, found, report)
        if certificate:
            covered[certificate.key] = path
            _judge(certificate, found, report)
    bare = [key for key in settings.all("hostkey") if _fingerprint(key) not in covered]
    if bare:
        there = sorted(_listed(place.file("host-certs")))
        lines = ["HostCertificate %s" % place.file(os.path.join("host-certs", name)) for name in there]
        found = "no HostCertificate for HostKey %s" % ", ".join(bare)
        mend = "\n".join(line for line in lines if line.split()[1] not in covered.values())
        report.add("host_certificate_missing", found, mend or "tms-host join --write-sshd, or " + RENEW)


def _listed(directory):
    try:
        return [name for name in os.listdir(directory) if name.endswith("-cert.pub")]
    except OSError:
        return []


def _read(path, found, report):
    status, out, err = run(["ssh-keygen", "-L", "-f", path])
    if status != 0:
        said = (err or out).strip().split("\n")[-1]
        report.add("host_certificate_broken", "%s: %s" % (found, said), RENEW)
        return None
    certificate = Certificate(out)
    if not certificate.is_host:
        report.add("host_certificate_broken", found + ": not a host certificate", RENEW)
        return None
    return certificate


def _judge(certificate, found, report):
    now = time.time()
    if certificate.ends is not None and certificate.ends <= now:
        report.add("host_certificate_ended", "%s: ended at %s" % (found, _shown(certificate.ends)), RENEW)
    elif certificate.ends is not None and certificate.ends <= now + SOON_SECONDS:
        report.add("host_certificate_ends", "%s: ends at %s" % (found, _shown(certificate.ends)), RENEW)
    missing = [name for name in names() if not any(fnmatch.fnmatch(name, one.lower()) for one in certificate.names)]
    if missing:
        said = "%s is for %s, not for %s" % (found, ", ".join(certificate.names) or "nobody", ", ".join(missing))
        mend = "an admin: add the name to the host's addresses (tms-ca hosts), then here: " + RENEW_NOW
        report.add("host_certificate_name", said, mend)


def names():
    """Return this machine's names: short, and full where it has one."""
    found = []
    for name in (socket.gethostname().partition(".")[0], socket.getfqdn()):
        # A machine without a domain gets `localhost` or an address from the resolver: nobody types those.
        if name and name not in found and not name.startswith("localhost") and not name[0].isdigit():
            found.append(name.lower())
    return found


def _fingerprint(path):
    out = run(["ssh-keygen", "-l", "-f", path + ".pub"])[1].split()
    return out[1] if len(out) > 1 else "of %s" % path


def _shown(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
