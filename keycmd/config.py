"""The helpers' configuration: `key = value` lines in a file that only root (or the helper's own user) can write."""

import os
import stat

DEFAULT_PATH = "/etc/tms/host.conf"
KEYS = ("url", "tenant", "host", "token_file", "ca_file", "timeout_seconds")
REQUIRED = ("url", "tenant", "host", "token_file")
MOST_BYTES = 16384
LONGEST_TIMEOUT = 30.0
_NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")
_TOKEN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


class ConfigError(Exception):
    """The configuration is not usable; the text names file, line and key."""


class Config:
    """What the file says, checked."""

    def __init__(self, values, path):
        self.secure, self.address, self.port, self.authority = _url(values["url"], path)
        self.tenant = _name(values, "tenant", path)
        self.host = _name(values, "host", path)
        self.token = _token(values["token_file"])
        self.ca_file = values.get("ca_file")
        if self.secure and not self.ca_file:
            raise ConfigError("%s: ca_file is missing: name the PEM file of the CA, or say ca_file = system" % path)
        try:
            self.timeout = float(values.get("timeout_seconds", "5"))
        except ValueError:
            raise ConfigError(
                "%s: timeout_seconds is %r, expected a number" % (path, values["timeout_seconds"])
            ) from None
        if not 0.1 <= self.timeout <= LONGEST_TIMEOUT:
            raise ConfigError("%s: timeout_seconds must be from 0.1 to %d" % (path, LONGEST_TIMEOUT))


def read_private(path, others_may_read):
    """Return the text of a file that nobody but root or this process's user can change.

    Raises:
        ConfigError: it cannot be read, belongs to another, or others can write it (or read it, where they must not)
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError("cannot read %s: %s" % (path, error.strerror)) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError("%s is not a plain file" % path)
        if status.st_uid not in (0, os.geteuid()):
            raise ConfigError("%s belongs to uid %d, expected root or the helper's user" % (path, status.st_uid))
        if status.st_mode & (0o022 if others_may_read else 0o077):
            raise ConfigError("%s has mode %04o: others can reach it" % (path, stat.S_IMODE(status.st_mode)))
        content = os.read(descriptor, MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MOST_BYTES:
        raise ConfigError("%s is larger than %d bytes" % (path, MOST_BYTES))
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        raise ConfigError("%s holds bytes that are not ASCII" % path) from None


def load(path):
    """Return the Config of a file.

    Raises:
        ConfigError: see there
    """
    values = {}
    for number, line in enumerate(read_private(path, True).split("\n"), 1):
        if not line.strip() or line.strip().startswith("#"):
            continue
        key, equals, value = line.partition("=")
        key, value = key.strip(), value.strip()
        if not equals or key not in KEYS:
            raise ConfigError("%s line %d: %r is none of %s" % (path, number, key[:40], ", ".join(KEYS)))
        if not value:
            raise ConfigError("%s line %d: %s has no value" % (path, number, key))
        if key in values:
            raise ConfigError("%s line %d: %s is there twice" % (path, number, key))
        values[key] = value
    for key in REQUIRED:
        if key not in values:
            raise ConfigError("%s: %s is missing" % (path, key))
    return Config(values, path)


def _name(values, key, path):
    value = values[key]
    if len(value) > 63 or not _NAME.issuperset(value):
        raise ConfigError("%s: %s is %r, expected 1-63 of a-z 0-9 . -" % (path, key, value[:70]))
    return value


def _token(path):
    token = read_private(path, False).strip()
    if not 20 <= len(token) <= 200 or not _TOKEN.issuperset(token):
        raise ConfigError("%s does not hold a host credential, which begins with tms_h_" % path)
    return token


def is_loopback(address):
    """Tell whether a literal address is this machine; a name never is, because names can be made to lie."""
    parts = address.split(".")
    if len(parts) == 4 and all(part.isdigit() and len(part) <= 3 and int(part) <= 255 for part in parts):
        return parts[0] == "127"
    return address == "::1"


def _url(url, path):
    """Return (secure, address, port, authority) of a service's URL."""
    scheme, separator, rest = url.partition("://")
    authority = rest.rstrip("/")
    if not separator or scheme not in ("https", "http") or any(mark in authority for mark in "/?#@\\ "):
        raise ConfigError("%s: url is %r, expected https://NAME[:PORT]" % (path, url[:100]))
    secure = scheme == "https"
    if authority.startswith("["):
        address, bracket, tail = authority[1:].partition("]")
        port = tail[1:] if tail[:1] == ":" else tail
        good = bool(bracket)
    else:
        address, colon, port = authority.partition(":")
        good = not colon or bool(port)
    if not port:
        port = "443" if secure else "80"
    if not good or not address or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError("%s: url is %r, expected https://NAME[:PORT]" % (path, url[:100]))
    if not secure and not is_loopback(address):
        raise ConfigError("%s: url is plain http to %s; only 127.x.x.x and [::1] may be" % (path, address[:100]))
    return secure, address, int(port), authority
