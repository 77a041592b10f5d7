"""What all checks look at: the host's configuration, its sshd, and the settings for a few accounts."""

import os
import pwd

from keycmd.doctor.sshd import Broken

DEFAULT_STATE = "/var/lib/tms-host"
DEFAULT_RUN = "/run/tms-host"
DEFAULT_TOKEN = "/etc/tms/token"
OUR_USER = "tms-host"
ANY_ADDRESS = "192.0.2.1"  # RFC 5737: no real one, so that no Match for an inner network takes it
FIRST_PERSON, LAST_PERSON = 1000, 60000  # login.defs of the distributions
MOST_BYTES = 1048576


class Place:
    """The host, as far as it could be read."""

    def __init__(self, sshd, conf_path, account, address):
        self.sshd = sshd
        self.conf_path = conf_path
        self.account = account
        self.address = address or ANY_ADDRESS
        self.address_given = bool(address)
        self.conf = read_conf(conf_path)
        self.state = self.conf.get("state_dir", DEFAULT_STATE)
        self.run = self.conf.get("run_dir", DEFAULT_RUN)
        self.token_file = self.conf.get("token_file", DEFAULT_TOKEN)
        self.passwd = read_passwd()
        self.broken = None  # why sshd has no settings
        self.settings = {}  # account: Settings; each name once, root first
        for name in self._accounts():
            try:
                self.settings[name] = sshd.effective(name, self.address)
            except Broken as error:
                self.broken = str(error)
                break

    def _accounts(self):
        person = next((e.pw_name for e in self.passwd if FIRST_PERSON <= e.pw_uid < LAST_PERSON), None)
        names = ["root", self.account, person]
        return [name for n, name in enumerate(names) if name and name not in names[:n]]

    def file(self, name):
        """Return the path of one of our files under the state directory."""
        return os.path.join(self.state, name)

    @property
    def timeout(self):
        """Return how many seconds the helper may take."""
        try:
            return float(self.conf.get("timeout_seconds", "5"))
        except ValueError:
            return 5.0

    def entry(self, name):
        """Return the passwd entry of a local account, or None; of others only the check of the account asks."""
        return next((entry for entry in self.passwd if entry.pw_name == name), None)


def read_conf(path):
    """Return host.conf's values as far as they can be read; whether it is right is the helper's own judgement."""
    values = {}
    for line in (read_text(path) or "").split("\n"):
        key, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith("#"):
            values[key.strip()] = value.strip()
    return values


def read_passwd():
    """Return the local accounts; a directory service is not asked, because it may have a hundred thousand."""
    found = []
    for line in (read_text("/etc/passwd") or "").split("\n"):
        fields = line.split(":")
        if len(fields) == 7 and fields[2].isdigit() and fields[3].isdigit():
            found.append(pwd.struct_passwd([*fields[:2], int(fields[2]), int(fields[3]), *fields[4:]]))
    return found


def read_bytes(path):
    """Return a plain file's bytes (1 MiB at most), or None if there is none that can be read."""
    try:
        # Without O_NONBLOCK a named pipe in the file's place would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError):
        return None
    with os.fdopen(descriptor, "rb") as file:
        try:
            return file.read(MOST_BYTES)
        except OSError:
            return None


def read_text(path):
    """Return a plain file's text, or None."""
    raw = read_bytes(path)
    return None if raw is None else raw.decode("utf-8", "replace")
