"""What the host's programs are told: `key = value` lines in a file that only root (or the caller) can write."""

import posix

DEFAULT_PATH = "/etc/tms/host.conf"
REQUIRED = ("url", "tenant", "host", "token_file")
DEFAULTS = {
    "ca_file": "",
    "timeout_seconds": "5",
    "when_away": "closed",
    "when_krl_stale": "keep",
    "poll_seconds": "30",
    "report_seconds": "10",
    "state_dir": "/var/lib/tms-host",
    "run_dir": "/run/tms-host",
    "ca_lines": "no",
    "sessions": "off",
    "node": "",
}
KEYS = REQUIRED + tuple(DEFAULTS)
SYSTEM_CA = "system"
LONGEST_TIMEOUT = 30.0
MOST_ADDRESSES = 8
LONGEST_AWAY_MINUTES = 1440
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
_DIGITS = frozenset("0123456789")
_PATH = _LETTERS | frozenset("/._-")


class ConfigError(Exception):
    """The configuration is not usable; the text names file, line and key."""


class Address:
    """Where a service is asked: its scheme, name and port, and all of it as the Host header says it."""

    __slots__ = ("authority", "name", "port", "secure")

    def __init__(self, secure, name, port, authority):
        self.secure = secure
        self.name = name
        self.port = port
        self.authority = authority


class Config:
    """What the file says, checked; `values` maps each key to its value and the place where it stands.

    `addresses` are those of one service, in the order in which they are tried; `away_minutes` is 0 where nobody is
    let in while the service is away; `token` is None until `load` has read it.
    """

    def __init__(self, values):
        self.addresses = _addresses(*values["url"])
        self.tenant = _name(*values["tenant"], _TENANT, 24)
        self.host = _name(*values["host"], _HOST, 63)
        self.timeout = _seconds(*values["timeout_seconds"], 0.1, LONGEST_TIMEOUT)
        self.poll_seconds = _seconds(*values["poll_seconds"], 5, 3600)
        self.report_seconds = _seconds(*values["report_seconds"], 5, 3600)
        self.when_away, self.away_minutes = _when_away(*values["when_away"])
        self.when_krl_stale = _word(*values["when_krl_stale"], ("keep", "refuse"))
        self.sessions = _word(*values["sessions"], ("off", "pam", "wrapper"))
        self.ca_lines = _word(*values["ca_lines"], ("no", "yes")) == "yes"
        self.state_dir = _directory(*values["state_dir"])
        self.run_dir = _directory(*values["run_dir"])
        node, where = values["node"]
        self.node = _name(node or _machine(), where, _HOST, 63)
        self.token_file, self.token_where = values["token_file"]
        self.token = None
        self.ca_pem = None
        ca_file, where = values["ca_file"]
        secure = any(address.secure for address in self.addresses)
        if secure and not ca_file:
            raise ConfigError("%s is missing: name the PEM file of the service's CA, or say `system`" % where)
        if secure and ca_file != SYSTEM_CA:
            # Read here rather than by OpenSSL: whoever can write this file can be the service.
            self.ca_pem = read_owned(ca_file, NOT_WRITABLE_BY_OTHERS, _MOST_CA_BYTES, where)


def load(path):
    """Return the Config of a file, with the host's credential.

    Raises:
        ConfigError: it, or a file that it names, is not as it must be
    """
    config = load_without_token(path)
    config.token = _token(config.token_file, config.token_where)
    return config


def load_without_token(path):
    """Return the Config of a file whose credential this process may have no right to read.

    Raises:
        ConfigError: as for `load`
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
    for key, value in DEFAULTS.items():
        values.setdefault(key, (value, "%s: %s" % (path, key)))
    return Config(values)


def read_owned(path, forbidden_mode, most_bytes, where):
    """Return the ASCII text of a file that nobody but root or this process's user can change.

    Raises:
        ConfigError: it cannot be read, belongs to another, or has a bit of `forbidden_mode`
    """
    try:
        # Without O_NONBLOCK, a named pipe in the file's place would hold the login.
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK | posix.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise ConfigError("%s: cannot read %s: %s" % (where, path[:200], getattr(error, "strerror", error))) from error
    try:
        status = posix.fstat(descriptor)
        if status.st_mode & 0o170000 != 0o100000:
            raise ConfigError("%s: %s is not a plain file" % (where, path))
        if status.st_uid not in (0, posix.geteuid()):
            raise ConfigError("%s: %s belongs to uid %d, not to root or the helper" % (where, path, status.st_uid))
        if status.st_mode & forbidden_mode:
            mode = status.st_mode & 0o7777
            raise ConfigError("%s: %s has mode %04o: others can reach it" % (where, path, mode))
        content = posix.read(descriptor, most_bytes + 1)
    finally:
        posix.close(descriptor)
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


def _addresses(urls, where):
    """Return an Address for each URL, in their order."""
    found = [_url(url, where) for url in urls.split()]
    if len(found) > MOST_ADDRESSES or len({(one.name, one.port) for one in found}) != len(found):
        raise ConfigError("%s names more than %d addresses, or one twice" % (where, MOST_ADDRESSES))
    return found


def _url(url, where):
    """Return the Address of a URL."""
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
    return Address(secure, address, int(port), authority)


def _name(value, where, alphabet, longest):
    """Check a name that becomes a part of the path: begins and ends plainly, so that it is never `..`."""
    if len(value) > longest or not alphabet.issuperset(value) or value[0] not in _LOWER or value.endswith("."):
        raise ConfigError("%s is %r, expected 1-%d of a-z 0-9 and -" % (where, value[:70], longest))
    return value


def _seconds(value, where, least, most):
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not least <= seconds <= most:  # NaN is refused here too
        raise ConfigError("%s is %r, expected seconds from %g to %g" % (where, value[:20], least, most))
    return seconds


def _word(value, where, words):
    if value not in words:
        raise ConfigError("%s is %r, expected %s" % (where, value[:20], " or ".join(words)))
    return value


def _when_away(value, where):
    """Return the text and its minutes; 0 for `closed`."""
    words = value.split()
    if words == ["closed"]:
        return "closed", 0
    digits = words[1] if len(words) == 2 and words[0] == "cached" else ""
    if not _DIGITS.issuperset(digits) or not 1 <= len(digits) <= 4 or not 1 <= int(digits) <= LONGEST_AWAY_MINUTES:
        raise ConfigError(
            "%s is %r, expected closed, or cached and 1 to %d minutes" % (where, value[:20], LONGEST_AWAY_MINUTES)
        )
    return "cached %d" % int(digits), int(digits)


def _machine():
    """Return the first label of this machine's own name, where it can be a node's."""
    name = posix.uname().nodename.partition(".")[0].lower()
    return name if 1 <= len(name) <= 63 and _HOST.issuperset(name) and name[0] in _LOWER else "node"


def _directory(value, where):
    """Check an absolute path without surprises."""
    if not value.startswith("/") or not _PATH.issuperset(value) or ".." in value.split("/") or len(value) > 80:
        raise ConfigError("%s is %r, expected an absolute path of up to 80 plain characters" % (where, value[:100]))
    return value.rstrip("/") or "/"


def _token(path, where):
    token = read_owned(path, NOT_READABLE_BY_OTHERS, _MOST_BYTES, where).strip()
    if not 20 <= len(token) <= 200 or not _TOKEN.issuperset(token):
        raise ConfigError("%s: %s does not hold a host credential, which begins with tms_h_" % (where, path))
    return token
