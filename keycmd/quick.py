"""tms-principals, the quick way: one question to the daemon over its socket; without a daemon, the whole way.

Every login runs this twice, so it imports nothing that the interpreter has not loaded already, except the module of
sockets. The daemon asks the service and writes the log; what is printed is checked here all the same.
"""

import _socket
import posix
import sys
import time

try:
    import _signal as signal
except ImportError:
    import signal

DEFAULT_CONFIG = "/etc/tms/host.conf"
DEFAULT_RUN_DIR, DEFAULT_SECONDS = "/run/tms-host", 5.0
LONGEST_SECONDS = 30.0
GRACE_SECONDS = 0.25  # what the kernel gives beyond the time that the sockets have
MOST_LINES = 256
MOST_BYTES = 65536
_SOL_SOCKET, _SO_PEERCRED = 1, 17  # Linux, on every machine that we know; MIPS, PA-RISC and SPARC take the whole way
_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
_PRINCIPAL = _FIRST | frozenset(".@+:=-")
_WORD = _FIRST | frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^`{|}~")


class Doubt(Exception):
    """The daemon gave no answer that can be believed; the text is for the log."""


def valid_principal(text):
    """Tell whether `text` may be printed: no blank, comma, `#`, quote or control character ever is."""
    return 1 <= len(text) <= 128 and text[0] in _FIRST and _PRINCIPAL.issuperset(text)


def settings(path):
    """Return (run_dir, timeout in seconds) of a configuration file, or None for anything unusual.

    The whole way reads the file by all the rules; this looks only for what is needed to ask the daemon.
    """
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOCTTY)
        try:
            status = posix.fstat(descriptor)
            content = posix.read(descriptor, 16385)
        finally:
            posix.close(descriptor)
    except (OSError, ValueError):
        return None
    # A plain file that nobody but root or this user can write.
    if status.st_mode & 0o170022 != 0o100000 or status.st_uid not in (0, posix.geteuid()) or len(content) > 16384:
        return None
    run_dir, seconds = DEFAULT_RUN_DIR, DEFAULT_SECONDS
    for line in content.decode("latin-1").split("\n"):
        key, _, value = line.partition("=")
        key = key.strip()
        if key == "run_dir":
            run_dir = value.strip()
        elif key == "timeout_seconds":
            try:
                seconds = float(value)
            except ValueError:
                return None
    return (run_dir, seconds) if 0.1 <= seconds <= LONGEST_SECONDS and _WORD.issuperset(run_dir) else None


def ask(line, run_dir, seconds):
    """Return the daemon's whole answer to a line; None where no daemon takes the question.

    Raises:
        Doubt: somebody else listens there, or the answer is too long
        OSError: it did not come in time
    """
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        try:
            connection.connect(run_dir + "/ask.sock")
            owner = connection.getsockopt(_SOL_SOCKET, _SO_PEERCRED, 12)[4:8]
        except _socket.timeout:
            raise
        except OSError:
            return None
        if int.from_bytes(owner, sys.byteorder) not in (0, posix.geteuid()):
            raise Doubt("somebody else listens on ask.sock")
        try:
            connection.sendall(line)
            received = piece = connection.recv(MOST_BYTES)
            while piece:
                if len(received) > MOST_BYTES:
                    raise Doubt("the daemon's answer is larger than any true one")
                piece = connection.recv(MOST_BYTES)
                received += piece
        except ConnectionError:
            return None
        return received or None  # it ended before it answered
    finally:
        connection.close()


def lines_of(answer, valid):
    """Return the lines of a yes, each of which `valid` takes, or None for a no.

    Raises:
        Doubt: it is neither
    """
    try:
        lines = answer.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Doubt("the daemon's answer is not ASCII") from None
    word, _, rest = lines[0].partition(" ")
    if lines.pop() != "":
        raise Doubt("the daemon's answer was cut")
    if word == "no" and len(lines) == 1 and rest:
        return None
    if word == "failed":
        raise Doubt(rest)
    if word != "yes" or rest != "%d" % (len(lines) - 1) or not 2 <= len(lines) <= MOST_LINES + 1:
        raise Doubt("the daemon's answer is none")
    del lines[0]
    if not all(valid(line) for line in lines):
        raise Doubt("the daemon's answer holds a line that may not be printed")
    return lines


def valid_line(line):
    """Tell whether a line of principals may be printed."""
    if valid_principal(line):
        return True
    from keycmd import lines  # only where there are options

    return lines.valid_line(line)


def fail(ident, text):
    """Write to syslog why nobody gets in; whatever came in, nothing but printable ASCII goes out."""
    import syslog

    syslog.openlog(ident, syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    syslog.syslog(syslog.LOG_ERR, "".join(c if " " <= c <= "~" else "?" for c in text[:1000]))


def answer_of(word, words, path, valid):
    """Ask the daemon a question; return its checked lines, None for a no, or False where no daemon answers.

    From here on the kernel ends the process when the configured time is over.

    Raises:
        Doubt, OSError: an answer that cannot be believed, or none in time
    """
    if not all(words) or not _WORD.issuperset("".join(words)) or sum(map(len, words)) > 2 * MOST_BYTES:
        return False
    found = settings(path)
    if found is None:
        return False
    signal.setitimer(signal.ITIMER_REAL, found[1] + GRACE_SECONDS)
    answer = ask(("%s %s\n" % (word, " ".join(words))).encode("ascii"), *found)
    return False if answer is None else lines_of(answer, valid)


def print_lines(lines):
    """Give sshd all of the lines at once.

    Raises:
        Doubt, OSError: it did not take them all
    """
    output = ("\n".join(lines) + "\n").encode("ascii")
    if posix.write(1, output) != len(output):
        raise Doubt("sshd did not take the whole answer")


def forget_environment():
    """Do what os.environ.clear() does, without os.

    Before OpenSSL and the resolver are loaded: SSL_CERT_FILE, OPENSSL_CONF or LOCALDOMAIN would have a say otherwise.
    """
    for name in posix.environ:
        posix.unsetenv(name)
    posix.environ.clear()


def end_in_time():
    """Let the kernel end this process at last, whatever it does and whatever its parent did to the signal."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))
    signal.setitimer(signal.ITIMER_REAL, LONGEST_SECONDS)


def run(arguments, started):
    """Ask, print; return the exit status."""
    path, words = DEFAULT_CONFIG, arguments
    if len(arguments) == 5 and arguments[0] == "--config":
        path, words = arguments[1], arguments[2:]
    if len(words) == 3:
        try:
            lines = answer_of("principals", words, path, valid_line)
            if lines:
                print_lines(lines)
        except (Doubt, OSError) as error:
            account = "".join(c if c in _PRINCIPAL else "?" for c in words[0][:64])
            fail("tms-principals", "failed account=%s reason=tms-hostd: %s" % (account, error))
            return 1
        if lines is not False:
            return 0
    forget_environment()
    from principals_cmd.main import run as the_whole_way

    return the_whole_way(arguments, started)


def main():
    """Run tms-principals; the process ends here, whatever still runs in it."""
    started = time.monotonic()
    status = 1
    try:
        end_in_time()
        status = run(sys.argv[1:], started)
    except BaseException as error:
        fail("tms-principals", "failed reason=unexpected %s: %s" % (type(error).__name__, error))
    finally:
        posix._exit(status)  # noqa: SLF001 - os._exit, without os; nothing is left to tidy up
