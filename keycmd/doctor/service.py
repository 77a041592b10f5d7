"""The service as this host reaches it: each address, its TLS, its clock, its speed, and whether it knows this host."""

import calendar
import http.client
import socket
import ssl
import time
from email.utils import parsedate
from urllib.parse import urlsplit

from keycmd.doctor.place import read_text

SECONDS = 3.0
SLOW_SECONDS = 1.0
CLOCK_OFF, CLOCK_DRIFTS = 30.0, 5.0
ENDS_SOON_DAYS = 14
SAMPLES = 3


class Wrong(Exception):
    """An address that cannot be used: (code, text, mend)."""


class Address:
    """One of the addresses of host.conf."""

    def __init__(self, place, url):
        self.place = place
        self.url = url
        try:
            self.parts = urlsplit(url)
            self.port = self.parts.port or (443 if self.parts.scheme == "https" else 80)
            self.name = self.parts.hostname or ""
        except ValueError:
            self.name = ""

    def connect(self):
        """Return an open connection.

        Raises:
            Wrong: there is none, or its certificate is not to be trusted
        """
        if not self.name or self.parts.scheme not in ("https", "http"):
            raise Wrong("service_unreachable", "%s is no address of a service" % self.url, "mend the line url")
        if self.parts.scheme == "http":
            connection = http.client.HTTPConnection(self.name, self.port, timeout=SECONDS)
        else:
            connection = http.client.HTTPSConnection(self.name, self.port, timeout=SECONDS, context=self._context())
        try:
            connection.connect()
        except ssl.SSLError as error:
            mend = "look at it: openssl s_client -connect %s:%d -servername %s </dev/null; and at ca_file in %s"
            mend %= (self.name, self.port, self.name, self.place.conf_path)
            raise Wrong("tls_refused", "%s: %s" % (self.url, error), mend) from error
        except socket.gaierror as error:
            mend = "getent hosts %s  # and mend the name or /etc/resolv.conf" % self.name
            raise Wrong("service_unreachable", "%s: no such name: %s" % (self.url, error), mend) from error
        except OSError as error:
            # Python 3.6 reports a wrong name in a certificate as a CertificateError, which is a ValueError, below.
            mend = "from this host: curl -v %s/healthz  # a firewall, or the service is down" % self.url
            raise Wrong("service_unreachable", "%s: %s" % (self.url, error), mend) from error
        except ValueError as error:
            raise Wrong("tls_refused", "%s: %s" % (self.url, error), "use a name that the certificate has") from error
        return connection

    def _context(self):
        authority = self.place.conf.get("ca_file", "")
        try:
            if authority in ("", "system"):
                return ssl.create_default_context()
            return ssl.create_default_context(cafile=authority)
        except (OSError, ValueError) as error:
            raise Wrong("tls_refused", "ca_file = %s: %s" % (authority, error), "put the service's CA there") from error


def urls(place):
    """Return the addresses, in the order in which they are tried."""
    return place.conf.get("url", "").split()


def check(place, report):
    """Report what keeps this host from asking the service."""
    wrong, good = [], []
    for url in urls(place):
        address = Address(place, url)
        try:
            connection = address.connect()
        except Wrong as error:
            wrong.append(error.args)
            continue
        try:
            _one(address, connection, report)
            good.append(address)
        except (OSError, http.client.HTTPException, ValueError) as error:
            mend = "from this host: curl -v %s/healthz" % url
            wrong.append(("service_unreachable", "%s: no answer: %s" % (url, error), mend))
        finally:
            connection.close()
    for code, found, mend in wrong:
        # As long as another address answers, one that does not is only a reserve that is missing.
        late = code == "service_unreachable" and good
        report.add("address_unreachable" if late else code, found, mend)
    if good:
        _token(good[0], report)


def _one(address, connection, report):
    """Ask one address three times how it is; judge its certificate, its speed and its clock."""
    if address.parts.scheme == "https":
        ends = ssl.cert_time_to_seconds(connection.sock.getpeercert()["notAfter"])
        if ends < time.time() + ENDS_SOON_DAYS * 86400:
            shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends))
            report.add("tls_ends", "%s: its certificate ends at %s" % (address.url, shown), "renew it on the service")
    seconds, offsets = [], []
    for _ in range(SAMPLES):
        begun, wall = time.monotonic(), time.time()
        connection.request("GET", "/healthz", headers={"User-Agent": "tms-host-doctor"})
        answer = connection.getresponse()
        answer.read()
        took = time.monotonic() - begun
        if answer.status != 200:
            raise ValueError("%s/healthz says %d" % (address.url, answer.status))
        seconds.append(took)
        date = parsedate(answer.getheader("Date") or "")
        if date:
            # The header has whole seconds, cut: half a second is its mean error.
            offsets.append(wall + took / 2 - calendar.timegm(date) - 0.5)
    if sorted(seconds)[SAMPLES // 2] > SLOW_SECONDS:
        found = "%s: %.1f s for an answer (median of %d)" % (address.url, sorted(seconds)[SAMPLES // 2], SAMPLES)
        report.add("service_slow", found, "look at the network between, and at the service's own monitoring")
    if offsets:
        _clock(address, sorted(offsets)[len(offsets) // 2], report)


def _clock(address, offset, report):
    if abs(offset) < CLOCK_DRIFTS:
        return
    found = "this host's clock is %.0f s %s that of %s" % (
        abs(offset),
        "ahead of" if offset > 0 else "behind",
        address.url,
    )
    mend = "chronyc makestep  # or: timedatectl set-ntp true"
    report.add("clock_off" if abs(offset) >= CLOCK_OFF else "clock_drifts", found, mend)


def _token(address, report):
    """Ask for this host's own record, which changes nothing."""
    place = address.place
    token = (read_text(place.token_file) or "").strip()
    if not token or any(not "!" <= c <= "~" for c in token):
        return  # the check of the files says so
    connection = address.connect()
    try:
        path = "/api/v1/tenants/%s/hosts/%s" % (place.conf.get("tenant"), place.conf.get("host"))
        connection.request("GET", path, headers={"Authorization": "Bearer " + token})
        status = connection.getresponse().status
    finally:
        connection.close()
    if status in (401, 403, 404):
        found = "%s says %d to the credential in %s for host %s of tenant %s"
        found %= (address.url, status, place.token_file, place.conf.get("host"), place.conf.get("tenant"))
        report.add("token_refused", found, "an admin: tms-ca hosts invite HOST; then here: tms-host join URL TOKEN")
    elif status != 200:
        report.add("check_failed", "%s says %d to this host's credential" % (address.url, status), "try again later")
