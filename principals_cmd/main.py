"""Ask the service at a login whether a certificate still stands; print its principals, or nothing.

sshd_config: AuthorizedPrincipalsCommand /usr/libexec/tms/tms-principals %u %t %k

Exit status 0 with principals printed is yes; 0 with nothing printed is the service's no; another with nothing printed
is every doubt. sshd lets nobody in for the last two, and logs the third as a failure. Nothing is printed before the
whole answer has been checked.
"""

import _thread
import posix
import syslog
import time

from keycmd.config import DEFAULT_PATH, LONGEST_TIMEOUT, ConfigError, load
from keycmd.lines import valid_line
from keycmd.service import Question, Refused, ServiceError
from keycmd.unverified import about

try:
    import _signal as signal  # `signal` without its enums, which take as long to make as all else here
except ImportError:
    import signal

IDENT = "tms-principals"
USAGE = "expected [--config PATH] ACCOUNT CERTIFICATE-TYPE CERTIFICATE, from sshd's %u %t %k"
MOST_LINES = 256
GRACE_SECONDS = 0.25
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@+:=-")


def checked(answer):
    """Return the lines of an answer: principals, or options and a principal.

    Raises:
        ServiceError: none, too many, one that may not be printed, or a last line that was cut
    """
    lines = answer.split("\n")
    if lines.pop() != "" or not 1 <= len(lines) <= MOST_LINES or not all(valid_line(line) for line in lines):
        raise ServiceError("the answer holds no principals, too many, or something else")
    return lines


def shown(lines):
    """Return the principals of an answer's lines for the log, and whether they come with options."""
    principals = ",".join(line.rpartition(" ")[2] for line in lines)
    return "principals=%s%s" % (principals, " restricted=yes" if any(" " in line for line in lines) else "")


def end_after(seconds):
    """Let the kernel end this process then, whatever it does.

    A handler in Python would not do: it waits for the C function (a resolver, a write to syslog) that is hanging.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))
    signal.setitimer(signal.ITIMER_REAL, seconds)


def ask_in_time(question, config, deadline):
    """Ask in a thread of its own: a resolver that hangs knows no timeout, but can be left behind.

    Raises:
        Refused, ServiceError: see Question.ask
    """
    results = []
    done = _thread.allocate_lock()
    done.acquire()

    def work():
        try:
            results.append(question.ask(config, deadline))
        except BaseException as error:  # raised again below, where someone sees it
            results.append(error)
        done.release()

    _thread.start_new_thread(work, ())
    if not done.acquire(True, max(0.0, deadline - time.monotonic())):
        raise ServiceError("no answer in time: " + question.call.stage)
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]


def log(priority, text):
    """Write one line to syslog; whatever came in, nothing but printable ASCII goes out."""
    syslog.syslog(priority, "".join(c if " " <= c <= "~" else "?" for c in text[:1000]))


def run(arguments, started=None):
    """Do it; return the exit status. `started` is when the process began, on time.monotonic()."""
    if started is None:
        started = time.monotonic()
    end_after(LONGEST_TIMEOUT)  # until the configuration says less
    path = DEFAULT_PATH
    if len(arguments) == 5 and arguments[0] == "--config":
        path, arguments = arguments[1], arguments[2:]
    syslog.openlog(IDENT, syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    if len(arguments) != 3:
        log(syslog.LOG_ERR, "failed reason=%s" % USAGE)
        return 1
    # No blank survives, so that a name cannot pose as another field of the line.
    account = "account=%s" % "".join(c if c in _PLAIN else "?" for c in arguments[0][:64])
    question, host = None, ""
    try:
        config = load(path)
        host = "host=%s " % config.host
        end_after(max(0.01, started + config.timeout + GRACE_SECONDS - time.monotonic()))
        question = Question(*arguments)
        lines = checked(ask_in_time(question, config, started + config.timeout))
        output = "".join(line + "\n" for line in lines).encode("ascii")
        if posix.write(1, output) != len(output):
            raise ServiceError("sshd did not take the whole answer")
    except Refused as refusal:
        log(syslog.LOG_NOTICE, "refused %s%s code=%s" % (host, about(question), refusal))
        return 0
    except (ConfigError, ServiceError, OSError) as error:
        log(syslog.LOG_ERR, "failed %s%s reason=%s" % (host, about(question) if question else account, error))
        return 1
    log(syslog.LOG_INFO, "allowed %s%s %s" % (host, about(question), shown(lines)))
    return 0
