"""Confirm a login from the session's side: a PAM session hook, or a forced wrapper where sshd uses no PAM.

PAM:      session required pam_exec.so quiet /usr/libexec/tms/tms-session
Wrapper:  ForceCommand /usr/libexec/tms/tms-session --wrap, with ExposeAuthInfo yes

A login with a certificate of our CA, or with a plain key that the service has let in, is announced to tms-hostd.
Without its yes there is no session. Any other login is none of its business. Few imports: every login waits for them.
"""

import binascii
import os
import syslog
import time
from hashlib import sha256

from keycmd.certparts import Parts, Unreadable

try:
    import _signal as signal  # `signal` without its enums, which take as long to make as all else here
    import _socket as socket  # and `socket` without its selectors
except ImportError:
    import signal
    import socket

IDENT = "tms-session"
CONFIG = "/etc/tms/host.conf"
STATE, RUN = "/var/lib/tms-host", "/run/tms-host"
NOTES, OPEN = "spool/keys", "spool/sessions/open"  # in the state directory, both the daemon's
SECONDS = 5.0
_MOST_BYTES = 262144
_CODE = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_ADDRESS = frozenset("0123456789abcdefABCDEF.:%")
_WORD = frozenset(map(chr, range(0x21, 0x7F)))


class Doubt(Exception):
    """No session: something could not be found out; the text says what."""


class Refused(Exception):
    """No session: the service said no; the text is its code."""


def certificates(methods):
    """Return (type, base64) of each certificate in the lines of SSH_AUTH_INFO_0 or of the file SSH_USER_AUTH."""
    words = (line.split(" ") for line in methods.splitlines())
    return [(w[1], w[2]) for w in words if len(w) == 3 and w[0] == "publickey" and "-cert-" in w[1]]


def plain_keys(methods):
    """Return (type, base64) of each key in those lines that is no certificate."""
    words = (line.split(" ") for line in methods.splitlines())
    return [(w[1], w[2]) for w in words if len(w) == 3 and w[0] == "publickey" and "-cert-" not in w[1]]


def noted(used, state_dir):
    """Return the one plain key of those used that tms-hostd has let in, or None.

    sshd does not say whether it found a key in a file or asked for it. The daemon makes a note before it says yes
    (keycmd.hostd.keynotes); a key without one is the machine's own, and opens it while daemon and service are away.

    Raises:
        Doubt: it cannot be told, or there are several
    """
    try:
        found = [key for key in used if is_there(note_path(state_dir, key[1]))]
    except (OSError, ValueError) as error:
        raise Doubt("cannot tell whose the key of this login is: %s" % error) from error
    if len(found) > 1:
        raise Doubt("the login used %d plain keys of the service, expected one" % len(found))
    return found[0] if found else None


def note_path(state_dir, key):
    """Return where the daemon notes that it has let in a key, which is given in base64.

    Raises:
        ValueError: it is not base64
    """
    return "%s/%s/%s" % (state_dir, NOTES, sha256(binascii.a2b_base64(key)).hexdigest())


def is_there(path):
    """Tell whether there is a file of this name; any doubt is an OSError."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True


def ours(used, state_dir):
    """Return the one certificate of those used that our CA signed, or None.

    Raises:
        Doubt: there are certificates, and it cannot be told whose they are
    """
    if not used:
        return None
    try:
        lines = read(state_dir + "/user_ca.pub").decode("ascii", "replace").splitlines()
        keys = {words[1] for words in map(str.split, lines) if len(words) > 1 and words[0][0] != "#"}
        found = [certificate for certificate in used if Parts(*certificate).ca_key in keys]
    except OSError as error:
        raise Doubt("cannot read the CA keys: %s" % error) from error
    except Unreadable as error:
        raise Doubt("cannot read the certificate of this login: %s" % error) from error
    if len(found) > 1:
        raise Doubt("the login used %d certificates of this CA, expected one" % len(found))
    return found[0] if found else None


def login_id(process):
    """Return the 32 hex digits that name the login of this sshd process.

    Derived, not drawn: PAM starts the hook anew when the session closes, and nobody can announce one process as two
    logins. Boot, namespace, pid and start time occur together once.

    Raises:
        Doubt: /proc does not tell
    """
    try:
        boot = read("/proc/sys/kernel/random/boot_id").decode("ascii").strip()
        start = read("/proc/%d/stat" % process).rpartition(b") ")[2].split()[19].decode("ascii")
        text = "%s %s %d %s" % (boot, os.readlink("/proc/self/ns/pid"), process, start)
    except (OSError, IndexError, ValueError) as error:
        raise Doubt("cannot read about process %d in /proc: %s" % (process, error)) from error
    return sha256(text.encode("ascii")).hexdigest()[:32]


def read(path):
    """Return the bytes of a small file; OSError where that cannot be."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        content = b""
        while len(content) <= _MOST_BYTES:
            piece = os.read(descriptor, 65536)
            if not piece:
                return content
            content += piece
    finally:
        os.close(descriptor)
    raise OSError("%s is larger than %d bytes" % (path, _MOST_BYTES))


def directories(path):
    """Return (state_dir, run_dir) of a configuration; the usual ones where it says nothing.

    Raises:
        Doubt: it cannot be read, or others than root can write it
    """
    places = {"state_dir": STATE, "run_dir": RUN}
    try:
        status = os.stat(path)
        if status.st_uid != 0 or status.st_mode & 0o022:
            raise Doubt("%s can be written by others than root" % path)
        for line in read(path).decode("ascii", "replace").splitlines():
            key, equals, value = line.partition("=")
            if equals and key.strip() in places and value.strip().startswith("/"):
                places[key.strip()] = value.strip()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise Doubt("cannot read the configuration: %s" % error) from error
    return places["state_dir"], places["run_dir"]


def ask(run_dir, line):
    """Ask tms-hostd; return the lines that follow its yes.

    Raises:
        Refused: a clean no
        Doubt: anything else
    """
    deadline = time.monotonic() + SECONDS
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    received = b""
    try:
        connection.settimeout(SECONDS)
        connection.connect(run_dir + "/session.sock")
        connection.sendall(line.encode("ascii"))
        while len(received) <= 65536:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            piece = connection.recv(4096)
            if not piece:
                break
            received += piece
    except (OSError, ValueError) as error:
        raise Doubt("tms-hostd does not answer: %s" % error) from error
    finally:
        connection.close()
    lines = received.decode("latin-1").split("\n")
    word, _, rest = lines[0].partition(" ")
    count = len(lines) - 2
    if lines[-1] == "" and word == "no" and count == 0 and 0 < len(rest) <= 64 and _CODE.issuperset(rest):
        raise Refused(rest)
    if lines[-1] == "" and word == "yes" and rest == (str(count) if count else ""):
        return lines[1:-1]
    raise Doubt("tms-hostd answered %r" % lines[0][:200])


def announce(account, process, address, used, run_dir):
    """Ask for a session by the (type, base64) that was used; return the forced command, as bytes, or None.

    Raises:
        Refused, Doubt: see `ask`
    """
    words = (login_id(process), account, str(process), address, *used)
    if not all(word and _WORD.issuperset(word) for word in words):
        raise Doubt("the account's name, the address, the certificate or the key has a character that none may have")
    lines = ask(run_dir, "open %s\n" % " ".join(words))
    if len(lines) > 1:
        raise Doubt("tms-hostd named %d commands, expected one" % len(lines))
    return lines[0].encode("latin-1") if lines else None


def peer_address(environment):
    """Return the client's address, or `-`; PAM_RHOST may be a name, SSH_CONNECTION never is."""
    for text in (environment.get("SSH_CONNECTION", "").partition(" ")[0], environment.get("PAM_RHOST", "")):
        if 2 <= len(text) <= 64 and _ADDRESS.issuperset(text):
            return text
    return "-"


def hook(environment, config):
    """Do what PAM asks for.

    Raises:
        Refused, Doubt: no session
    """
    deed = environment.get("PAM_TYPE", "")
    if deed not in ("open_session", "close_session"):
        raise Doubt("PAM_TYPE is %r: this belongs into a `session` line of sshd's PAM file" % deed[:40])
    state_dir, run_dir = directories(config)
    methods = environment.get("SSH_AUTH_INFO_0", "")
    certificate, plain = ours(certificates(methods), state_dir), plain_keys(methods)
    # pam_exec runs this in a child of the sshd process that holds the connection until it ends.
    process = os.getppid()
    if deed == "close_session":
        # The note of a plain key may be gone by now; the daemon's own of the session is not.
        if certificate or (plain and is_there("%s/%s/%s" % (state_dir, OPEN, login_id(process)))):
            ask(run_dir, "close %s\n" % login_id(process))
        return
    key = noted(plain, state_dir)
    if certificate and key:
        raise Doubt("the login used a certificate of this CA and a plain key of the service, expected one of them")
    if not certificate and not key:
        return
    account, address = environment.get("PAM_USER", ""), peer_address(environment)
    announce(account, process, address, certificate or key, run_dir)
    log(syslog.LOG_INFO, "opened account=%s from=%s login=%s" % (account, address, login_id(process)))


def log(priority, text):
    """Write one line to syslog; whatever came in, nothing but printable ASCII goes out."""
    syslog.syslog(priority, "".join(c if " " <= c <= "~" else "?" for c in text[:1000]))


def main(arguments):
    """Run as hook, or as wrapper; return the exit status. Whatever was not thought of is a refusal."""
    # The kernel ends what hangs (a syslog that takes nothing); PAM and sshd take that for a refusal.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, SECONDS + 1)
    syslog.openlog(IDENT, syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    about = "account=%s" % "".join(c if c in _WORD else "?" for c in os.environ.get("PAM_USER", "")[:64])
    config = CONFIG
    wrapped = False
    try:
        if arguments[:1] == ["--config"]:
            config, arguments = arguments[1], arguments[2:]
        wrapped = arguments[:1] == ["--wrap"]
        if wrapped:
            from keycmd import wrapper  # only where it is needed

            about = "account=%s" % wrapper.account()
            wrapper.run(arguments[1:], config)
        elif arguments:
            raise Doubt("the arguments are %r, expected none or --wrap" % arguments[:3])
        hook(os.environ, config)
        return 0
    except Refused as refusal:
        text = "refused %s code=%s" % (about, refusal)
        log(syslog.LOG_NOTICE, text)
    except Doubt as doubt:
        text = "failed %s reason=%s" % (about, doubt)
        log(syslog.LOG_ERR, text)
    except BaseException as error:
        text = "failed %s reason=unexpected %s: %s" % (about, type(error).__name__, error)
        log(syslog.LOG_ERR, text)
    if wrapped:
        os.write(2, ("tms-session: %s\n" % text[:500]).encode("ascii", "replace"))
    return 1
