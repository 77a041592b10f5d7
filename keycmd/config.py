"""The helpers' configuration: `key = value` lines in a file that only root (or the helper's own user) can write."""

import os
import stat

DEFAULT_PATH = "/etc/tms/host.conf"
KEYS = ("url", "tenant", "host", "token_file", "ca_file", "timeout_seconds")
REQUIRED = ("url", "tenant", "host", "token_file")
SYSTEM_CA = "system"
DEFAULT_TIMEOUT = "5"
LONGEST_TIMEOUT = 30.0
NOT_WRITABLE_BY_OTHERS = 0o022
NOT_READABLE_BY_OTHERS = 0o077
_MOST_BYTES = 16384
_MOST_CA_BYTES = 262144
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_LETTERS = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_TENANT = _LOWER | frozenset("-")
_HOST = _LOWER | frozenset(".-")
_TOKEN = _LETTERS | frozenset("_-")
_DOMAIN = _LETTERS | frozenset(".-")
_IPV6 = frozenset("0123456789abcdefABCDEF:.")


class ConfigError(Exception):
    """The configuration is not usable; the text names file, line and key."""


class Config:
    """What the file says, checked; `values` maps each key to its value and the place where it stands."""

    def __init__(self, values):
        self.secure, self.address, self.port, self.authority = _url(*values["url"])
        self.tenant = _name(*values["tenant"], _TENANT, 24)
        self.host = _name(*values["host"], _HOST, 63)
        self.timeout = _timeout(*values["timeout_seconds"])
        self.token = _token(*values["token_file"])
        self.ca_pem = None
        ca_file, where = values["ca_file"]
        if self.secure and not ca_file:
            raise ConfigError("%s is missing: name the PEM file of the service's CA, or say `system`" % where)
        if self.secure and ca_file != SYSTEM_CA:
            # Read here rather than by OpenSSL: whoever can write this file can be the service.
            self.ca_pem = read_owned(ca_file, NOT_WRITABLE_BY_OTHERS, _MOST_CA_BYTES, where)


def load(path):
    """Return the Config of a file.

    Raises:
        ConfigError: it, or a file that it names, is not as it must be
    """
    values = {}
    for number, text in enumerate(read_owned(path, NOT_WRITABLE_BY_OTHERS, _MOST_BYTES, "config").split("\n"), 1):
        line = text.strip()
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        key, value = key.strip(), value.strip()
        where = "%s line %d: %s" % (path, number, key[:40])
        if not equals or key not in KEYS:
            raise ConfigError("%s is none of %s" % (where, ", ".join(KEYS)))
        if not value:
            raise ConfigError("%s has no value" % where)
        if key in values:
            raise ConfigError("%s is there twice" % where)
        values[key] = (value, where)
    for key in REQUIRED:
        if key not in values:
            raise ConfigError("%s: %s is missing" % (path, key))
    values.setdefault("ca_file", ("", "%s: ca_file" % path))
    values.setdefault("timeout_seconds", (DEFAULT_TIMEOUT, path))
    return Config(values)


def read_owned(path, forbidden_mode, most_bytes, where):
    """Return the ASCII text of a file that nobody but root or this process's user can change.

    Raises:
        ConfigError: it cannot be read, belongs to another, or has a bit of `forbidden_mode`
    """
    try:
        # Without O_NONBLOCK, a named pipe in the file's place would hold the login.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise ConfigError("%s: cannot read %s: %s" % (where, path[:200], getattr(error, "strerror", error))) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError("%s: %s is not a plain file" % (where, path))
        if status.st_uid not in (0, os.geteuid()):
            raise ConfigError("%s: %s belongs to uid %d, not to root or the helper" % (where, path, status.st_uid))
        if status.st_mode & forbidden_mode:
            mode = stat.S_IMODE(status.st_mode)
            raise ConfigError("%s: %s has mode %04o: others can reach it" % (where, path, mode))
        content = os.read(descriptor, most_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > most_bytes:
        raise ConfigError("%s: %s is larger than %d bytes" % (where, path, most_bytes))
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as error:
        raise ConfigError("%s: %s holds bytes that are not ASCII" % (where, path)) from error


def is_loopback(address):
    """Tell whether a literal address is this machine; a name never is, because names can be made to lie."""
    parts = address.split(".")
    if len(parts) == 4 and all(part.isdigit() and len(part) <= 3 and int(part) <= 255 for part in parts):
        return parts[0] == "127"
    return address == "::1"


def _url(url, where):
    """Return (secure, address, port, authority) of the service's URL."""
    wrong = ConfigError("%s is %r, expected https://NAME[:PORT]" % (where, url[:100]))
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    if path or scheme not in ("https", "http"):
        raise wrong
    secure = scheme == "https"
    if authority.startswith("["):
        address, bracket, tail = authority[1:].partition("]")
        good = bool(bracket) and _IPV6.issuperset(address) and tail[:1] in ("", ":")
        colon, port = tail[:1], tail[1:]
    else:
        address, colon, port = authority.partition(":")
        good = _DOMAIN.issuperset(address)
    if not colon:
        port = "443" if secure else "80"
    if not good or not 1 <= len(address) <= 253 or not port.isdigit() or not 0 < int(port[:6]) < 65536:
        raise wrong
    if not secure and not is_loopback(address):
        raise ConfigError("%s is plain http to %s; only 127.x.x.x and [::1] may be" % (where, address))
    return secure, address, int(port), authority


def _name(value, where, alphabet, longest):
    """Check a name that becomes a part of the path: begins and ends plainly, so that it is never `..`."""
    if len(value) > longest or not alphabet.issuperset(value) or value[0] not in _LOWER or value.endswith("."):
        raise ConfigError("%s is %r, expected 1-%d of a-z 0-9 and -" % (where, value[:70], longest))
    return value


def _timeout(value, where):
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= LONGEST_TIMEOUT:  # NaN is refused here too
        raise ConfigError("%s is %r, expected seconds from 0.1 to %d" % (where, value[:20], LONGEST_TIMEOUT))
    return seconds


def _token(path, where):
    token = read_owned(path, NOT_READABLE_BY_OTHERS, _MOST_BYTES, where).strip()
    if not 20 <= len(token) <= 200 or not _TOKEN.issuperset(token):
        raise ConfigError("%s: %s does not hold a host credential, which begins with tms_h_" % (where, path))
    return token
