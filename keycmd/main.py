"""tms-keycmd: sshd's AuthorizedKeysCommand, for plain keys.

sshd_config: AuthorizedKeysCommand /usr/libexec/tms/tms-keycmd %u %U %f %t

Exit status 0 with a line printed is yes; 0 with nothing printed is the service's no; another with nothing printed is
every doubt. sshd lets nobody in for the last two. Nothing is printed before all of it has been checked. A certificate
that is offered is not for this helper: it prints nothing.
"""

import posix
import sys
import time

from keycmd.keylines import KEY_TYPES, valid_line
from keycmd.quick import DEFAULT_CONFIG, Doubt, answer_of, end_in_time, fail, print_lines

IDENT = "tms-keycmd"
USAGE = "expected [--config PATH] ACCOUNT UID FINGERPRINT KEY-TYPE, from sshd's %u %U %f %t"
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@+:=/-")


def run(arguments, started):
    """Ask, print; return the exit status. `started` is when the process began, on time.monotonic()."""
    path, words = DEFAULT_CONFIG, arguments
    if len(arguments) == 6 and arguments[0] == "--config":
        path, words = arguments[1], arguments[2:]
    if len(words) != 4 or not words[1].isdigit():
        fail(IDENT, "failed reason=%s" % USAGE)
        return 1
    account, _, fingerprint, key_type = words
    if key_type not in KEY_TYPES:
        return 0  # a certificate, or a key of a kind that nobody can have escrowed
    about = "account=%s key=%s" % (shown(account), shown(fingerprint))
    try:
        lines = answer_of(
            "keys", (account, fingerprint, key_type), path, lambda line: may_print(line, fingerprint, key_type, path)
        )
        if lines:
            print_lines(lines)
    except (Doubt, OSError) as error:
        fail(IDENT, "failed %s reason=tms-hostd: %s" % (about, error))
        return 1
    if lines is not False:
        return 0
    return the_whole_way(path, account, fingerprint, key_type, started)


def may_print(line, fingerprint, key_type, path):
    """Tell whether a line of the daemon's may be printed; only for a CA's is more than the line itself looked at.

    Raises:
        Doubt: the configuration cannot be read
    """
    if valid_line(line, fingerprint, key_type):
        return True
    if not line.startswith("cert-authority,"):
        return False
    from keycmd.config import ConfigError, load_without_token
    from keycmd.keyquestion import ca_keys
    from keycmd.service import ServiceError

    try:
        return valid_line(line, fingerprint, key_type, ca_keys(load_without_token(path)))
    except (ConfigError, ServiceError) as error:
        raise Doubt(str(error)) from error


def the_whole_way(path, account, fingerprint, key_type, started):
    """Ask the service itself, because no daemon answers; return the exit status."""
    import os
    import syslog

    # Before OpenSSL and the resolver are loaded: SSL_CERT_FILE, OPENSSL_CONF or LOCALDOMAIN would have a say otherwise.
    os.environ.clear()
    from keycmd.config import ConfigError, load
    from keycmd.keyquestion import KeyQuestion
    from keycmd.service import Refused, ServiceError
    from principals_cmd.main import GRACE_SECONDS, ask_in_time, end_after, log

    syslog.openlog(IDENT, syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    about = "account=%s key=%s" % (shown(account), shown(fingerprint))
    try:
        config = load(path)
        about = "host=%s %s" % (config.host, about)
        end_after(max(0.01, started + config.timeout + GRACE_SECONDS - time.monotonic()))
        question = KeyQuestion(account, fingerprint, key_type)
        print_lines(ask_in_time(question, config, started + config.timeout))
    except Refused as refusal:
        log(syslog.LOG_INFO if str(refusal) == "public_key_unknown" else syslog.LOG_NOTICE,
            "refused %s code=%s" % (about, refusal))  # fmt: skip
        return 0
    except (ConfigError, ServiceError, Doubt, OSError) as error:
        log(syslog.LOG_ERR, "failed %s reason=%s" % (about, error))
        return 1
    log(syslog.LOG_INFO, "allowed %s" % about)
    return 0


def shown(text):
    """Return a word for the log: no blank survives, so that it cannot pose as another field."""
    return "".join(character if character in _PLAIN else "?" for character in text[:64])


def main():
    """Run tms-keycmd; the process ends here, whatever still runs in it."""
    started = time.monotonic()
    status = 1
    try:
        end_in_time()
        status = run(sys.argv[1:], started)
    except BaseException as error:
        fail(IDENT, "failed reason=unexpected %s: %s" % (type(error).__name__, error))
    finally:
        posix._exit(status)  # noqa: SLF001 - os._exit, without os; nothing is left to tidy up


if __name__ == "__main__":
    main()
