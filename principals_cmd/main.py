"""Ask the service at a login whether a certificate still stands; print its principals, or nothing.

sshd_config: AuthorizedPrincipalsCommand /usr/libexec/tms/tms-principals %u %t %k

Exit status 0 with principals printed is yes; 0 with nothing printed is the service's no; 1 with nothing printed is
every doubt. sshd lets nobody in for the last two, and logs the third as a failure. Nothing is printed before the
whole answer has been checked.
"""

import os
import signal
import sys
import syslog
import time

from keycmd.config import DEFAULT_PATH, ConfigError, load
from keycmd.service import Refused, ServiceError, ask_principals, fingerprint

IDENT = "tms-principals"
USAGE = "expected [--config PATH] ACCOUNT CERTIFICATE-TYPE CERTIFICATE, from sshd's %u %t %k"
MOST_LINES = 256
_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
_PRINCIPAL = _FIRST | frozenset(".@+:=-")
_GRACE_SECONDS = 0.5  # the deadline on the socket speaks first, so that the log says what was slow


def valid_principal(text):
    """Tell whether `text` may be printed: no blank, comma, `#`, quote or control character ever is."""
    return 1 <= len(text) <= 128 and text[0] in _FIRST and _PRINCIPAL.issuperset(text)


def checked(lines):
    """Return the principals of an answer's lines.

    Raises:
        ServiceError: none, too many, or one that is not a plain principal
    """
    if lines and lines[-1] == "":
        lines = lines[:-1]
    if not 1 <= len(lines) <= MOST_LINES or not all(valid_principal(line) for line in lines):
        raise ServiceError("the answer holds no principals, too many, or something else")
    return lines


def log(priority, text):
    """Write one line to syslog; whatever came in, nothing but printable ASCII goes out."""
    clean = "".join(c if " " <= c <= "~" else "?" for c in text[:1000])
    syslog.syslog(priority | syslog.LOG_AUTHPRIV, clean)


def run(arguments):
    """Do it; return the exit status."""
    path = DEFAULT_PATH
    if len(arguments) == 5 and arguments[0] == "--config":
        path, arguments = arguments[1], arguments[2:]
    if len(arguments) != 3:
        log(syslog.LOG_ERR, USAGE)
        return 1
    account, certificate_type, certificate = arguments
    about = "account=%s" % account
    try:
        config = load(path)
        deadline = time.monotonic() + config.timeout
        # A resolver or a disk that hangs does not listen to the socket's timeout: this ends the process for certain.
        signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
        signal.setitimer(signal.ITIMER_REAL, config.timeout + _GRACE_SECONDS)
        about = "host=%s account=%s certificate=%s" % (config.host, account, fingerprint(certificate))
        principals = checked(ask_principals(config, account, certificate_type, certificate, deadline))
        output = "".join(line + "\n" for line in principals).encode("ascii")
        if os.write(1, output) != len(output):
            raise ServiceError("sshd did not take the answer")
    except Refused as refusal:
        log(syslog.LOG_NOTICE, "refused %s code=%s" % (about, refusal))
        return 0
    except (ConfigError, ServiceError, OSError) as error:
        log(syslog.LOG_ERR, "failed %s reason=%s" % (about, error))
        return 1
    log(syslog.LOG_INFO, "allowed %s principals=%s" % (about, ",".join(principals)))
    return 0


def main():
    """Run, and turn whatever was not thought of into a refusal."""
    syslog.openlog(IDENT, syslog.LOG_PID)
    try:
        status = run(sys.argv[1:])
    except BaseException as error:
        log(syslog.LOG_ERR, "failed reason=%s" % type(error).__name__)
        status = 1
    os._exit(status)
