"""The forced wrapper: confirm the login, then become what sshd would have run without it.

It runs as the user. sshd sets a ForceCommand of sshd_config above a certificate's own forced command, so that this
program has to honour that one, and the one that the service adds.
"""

import os
import pwd

from keycmd.certparts import Parts, Unreadable
from keycmd.session import Doubt, announce, certificates, directories, ours, peer_address, read

try:
    import _signal as signal
except ImportError:
    import signal

PLAIN_KEYS = "--plain-keys"
SSHD_NAMES = (b"sshd", b"sshd-session")  # the second from OpenSSH 9.8 on
_MOST_BETWEEN = 8


def account():
    """Return the name that sshd logged in: several names may share one uid."""
    name = os.environ.get("USER", "")
    try:
        if pwd.getpwnam(name).pw_uid == os.getuid():
            return name
    except (KeyError, ValueError):
        pass
    return pwd.getpwuid(os.getuid()).pw_name


def run(arguments, config):
    """Confirm the login and replace this process by the session; never returns.

    Raises:
        Refused, Doubt: no session
    """
    if arguments not in ([], [PLAIN_KEYS]):
        raise Doubt("the arguments are %r, expected --wrap [%s]" % (arguments[:3], PLAIN_KEYS))
    forced = confirmed(config, PLAIN_KEYS in arguments)
    become(forced)


def confirmed(config, with_plain_keys):
    """Ask for the session if it is ours to ask; return the command to force, as bytes, or None.

    Raises:
        Refused, Doubt: no session
    """
    path = os.environ.get("SSH_USER_AUTH", "")
    if not path:
        raise Doubt("sshd does not say how this login was authenticated; set ExposeAuthInfo yes in sshd_config")
    try:
        methods = read(path).decode("latin-1")
    except (OSError, ValueError) as error:
        raise Doubt("cannot read %s: %s" % (path[:200], error)) from error
    state_dir, run_dir = directories(config)
    used = certificates(methods)
    certificate = ours(used, state_dir)
    if certificate is None:
        # Their `command="..."` in an authorized_keys line is lost to the ForceCommand, and nothing tells it here.
        if "publickey " in methods and not with_plain_keys:
            raise Doubt("a key that is not this CA's; %s after --wrap lets them in, and voids command= of "
                        "their authorized_keys lines" % PLAIN_KEYS)  # fmt: skip
        return _own_command(used)
    told = announce(account(), connection(), peer_address(os.environ), certificate, run_dir)
    own = _own_command([certificate])
    if told is not None and own is not None and told != own:
        raise Doubt("the certificate and the service force different commands")
    return own if told is None else told


def connection():
    """Return the pid of the sshd above this process: it holds the connection. Some shells stand in between.

    Raises:
        Doubt: there is none
    """
    pid = os.getppid()
    for _ in range(_MOST_BETWEEN):
        try:
            head, _, tail = read("/proc/%d/stat" % pid).rpartition(b") ")
            if head.partition(b" (")[2] in SSHD_NAMES:
                return pid
            pid = int(tail.split()[1])
        except (OSError, IndexError, ValueError):
            break
    raise Doubt("no sshd stands above this process: it is for ForceCommand in sshd_config")


def _own_command(used):
    try:
        commands = {Parts(*certificate).forced_command for certificate in used} - {None}
    except Unreadable as error:
        raise Doubt("cannot read the certificate of this login: %s" % error) from error
    if len(commands) > 1:
        raise Doubt("the certificates of this login force different commands")
    return commands.pop() if commands else None


def become(forced):
    """Replace this process by the login shell, or by the shell with a command, as sshd's do_child does."""
    # Python may have put LC_CTYPE into its environment (PEP 538); this is what sshd gave.
    try:
        block = read("/proc/self/environ")
        environment = dict(entry.split(b"=", 1) for entry in block.split(b"\0") if b"=" in entry)
    except OSError as error:
        raise Doubt("cannot read the environment: %s" % error) from error
    command = forced if forced is not None else environment.get(b"SSH_ORIGINAL_COMMAND")
    shell = os.fsencode(pwd.getpwnam(account()).pw_shell or "/bin/sh")
    name = shell.rpartition(b"/")[2]
    words = [b"-" + name] if command is None else [name, b"-c", command]
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in ("SIGPIPE", "SIGXFSZ", "SIGXFZ"):  # Python ignores them, and what is ignored stays so
        if hasattr(signal, number):
            signal.signal(getattr(signal, number), signal.SIG_DFL)
    os.execve(shell, words, environment)
