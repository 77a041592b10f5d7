"""The daemon's lines in syslog, sent without ever waiting: a syslog that stops reading must not hold a login."""

import os
import socket
import sys
import time

DEBUG, INFO, NOTICE, WARNING, ERROR = 7, 6, 5, 4, 3
IDENT = "tms-hostd"
_AUTHPRIV = 10 << 3
_PATH = "/dev/log"
_MOST = 1000  # characters of one line
_connection = None
_lost = 0


def printable(text):
    """Return `text` with everything but printable ASCII replaced, and cut."""
    return "".join(character if " " <= character <= "~" else "?" for character in text[:_MOST])


def log(severity, text):
    """Send one line; where no syslog takes it, standard error gets it.

    A line that cannot be sent at once is counted, and the number said when a line goes through again.
    """
    global _lost  # noqa: PLW0603 - one process has one log
    if _lost and _send(WARNING, "%d lines were lost: syslog took none" % _lost):
        _lost = 0
    if not _send(severity, printable(text)):
        _lost += 1


def _send(severity, text):
    global _connection  # noqa: PLW0603
    # As glibc's syslog() writes it; the C locale's names of months, whatever the environment says.
    now = time.localtime()
    month = "JanFebMarAprMayJunJulAugSepOctNovDec"[3 * now.tm_mon - 3 : 3 * now.tm_mon]
    stamp = "%s %2d %02d:%02d:%02d" % (month, now.tm_mday, now.tm_hour, now.tm_min, now.tm_sec)
    line = "<%d>%s %s[%d]: %s" % (_AUTHPRIV | severity, stamp, IDENT, os.getpid(), text)
    for _ in range(2):  # the second time for a syslog that was started anew
        try:
            if _connection is None:
                fresh = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                fresh.setblocking(False)
                try:
                    fresh.connect(_PATH)
                except OSError:
                    fresh.close()
                    raise
                _connection = fresh
            _connection.send(line.encode("ascii"))
            return True
        except BlockingIOError:
            return False
        except OSError:
            if _connection is not None:
                _connection.close()
            _connection = None
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return False
    return True
