"""The grammars: identifiers, principals, patterns, and what a certificate's options may say.

Each grammar stands once, as an ECMA-compatible pattern that the API's documents can show. Every check goes
through fullmatch, because `$` alone would let a trailing newline pass.
"""

import re
import unicodedata
from collections.abc import Iterable
from ipaddress import IPv6Network, ip_network

from tms_ca.core.errors import Invalid

TENANT = r"^[a-z0-9][a-z0-9-]{0,23}$"
CLIENT_ID = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,31}$"
ADMIN_ID = r"^(~~)?[A-Za-z0-9_][A-Za-z0-9._-]{0,31}$"  # ~~admin is the one of a tenant of the TMS server
USER = r"^[A-Za-z0-9_][A-Za-z0-9._@+-]{0,47}$"
HOST = r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"
NODE = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
ACCOUNT = r"^[a-z_][a-z0-9_.-]{0,31}$"
HOST_PATTERN = r"^[a-z0-9*]([a-z0-9.*-]{0,61}[a-z0-9*])?$"
ACCOUNT_PATTERN = r"^[a-z_*][a-z0-9_.*-]{0,31}$"
# No comma, blank, `#` or `*`: each of them has meant more than one name to some sshd.
PRINCIPAL = r"^[A-Za-z0-9_][A-Za-z0-9._@+:=-]{0,127}$"
# The application of a FIDO key; browsers' keys (https:...) are not for SSH.
KEY_APPLICATION = r"^ssh:[\x20-\x7e]{0,251}$"
# A control character in a key ID forges lines in sshd's logs.
KEY_ID = r"^[\x20-\x7e]{1,128}$"

_TENANT = re.compile(TENANT)
_CLIENT_ID = re.compile(CLIENT_ID)
_ADMIN_ID = re.compile(ADMIN_ID)
_USER = re.compile(USER)
_HOST = re.compile(HOST)
_NODE = re.compile(NODE)
_ACCOUNT = re.compile(ACCOUNT)
_HOST_PATTERN = re.compile(HOST_PATTERN)
_ACCOUNT_PATTERN = re.compile(ACCOUNT_PATTERN)
_PRINCIPAL = re.compile(PRINCIPAL)
_KEY_ID = re.compile(KEY_ID)
_KEY_APPLICATION = re.compile(KEY_APPLICATION)
_NETWORK = re.compile(r"[0-9A-Fa-f:.]{2,45}(/[0-9]{1,3})?")

# What sshd 8.4 and later knows (draft-miller-ssh-cert); it refuses a certificate with any other critical option.
KNOWN_CRITICAL = frozenset({"force-command", "source-address", "verify-required"})
KNOWN_EXTENSIONS = frozenset(
    {
        "no-touch-required",
        "permit-X11-forwarding",
        "permit-agent-forwarding",
        "permit-port-forwarding",
        "permit-pty",
        "permit-user-rc",
    }
)

# Accounts of the system: reached only by a link and a delegation that name them, never by a pattern.
RESERVED_ACCOUNTS = frozenset(
    {
        *("root", "toor", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy"),
        *("www-data", "backup", "list", "irc", "nobody", "operator", "adm", "admin", "shutdown", "halt", "sshd"),
        *("systemd-network", "systemd-resolve", "messagebus", "dbus", "polkitd", "postgres", "slurm", "munge"),
    }
)

MAX_FORCE_COMMAND_BYTES = 4096
MAX_SOURCE_ADDRESSES = 32


def valid_tenant(text: str) -> bool:
    """Tell whether `text` may name a tenant."""
    return _TENANT.fullmatch(text) is not None


def valid_client_id(text: str) -> bool:
    """Tell whether `text` may name a client."""
    return _CLIENT_ID.fullmatch(text) is not None


def valid_admin_id(text: str) -> bool:
    """Tell whether `text` may name an admin."""
    return _ADMIN_ID.fullmatch(text) is not None


def valid_user(text: str) -> bool:
    """Tell whether `text` may name a user."""
    return _USER.fullmatch(text) is not None


def valid_host(text: str) -> bool:
    """Tell whether `text` may name a host."""
    return _HOST.fullmatch(text) is not None


def valid_node(text: str) -> bool:
    """Tell whether `text` may name one of the machines of a host."""
    return _NODE.fullmatch(text) is not None


def valid_account(text: str) -> bool:
    """Tell whether `text` may name an account."""
    return _ACCOUNT.fullmatch(text) is not None


def valid_host_pattern(text: str) -> bool:
    """Tell whether `text` may stand for hosts in a delegation."""
    return _HOST_PATTERN.fullmatch(text) is not None


def valid_account_pattern(text: str) -> bool:
    """Tell whether `text` may stand for accounts in a delegation."""
    return _ACCOUNT_PATTERN.fullmatch(text) is not None


def valid_principal(text: str) -> bool:
    """Tell whether `text` may be a principal in a certificate."""
    return _PRINCIPAL.fullmatch(text) is not None


def valid_key_id(text: str) -> bool:
    """Tell whether `text` may be a certificate's key ID."""
    return _KEY_ID.fullmatch(text) is not None


def valid_key_application(text: str) -> bool:
    """Tell whether `text` may be the application of a security key, such as `ssh:` or `ssh:portal`."""
    return _KEY_APPLICATION.fullmatch(text) is not None


def matches(pattern: str, name: str) -> bool:
    """Tell whether `name` is one that `pattern` stands for: `*` is any run of characters, nothing else is special."""
    if "*" not in pattern:
        return pattern == name
    first, *rest = pattern.split("*")
    *middle, last = rest
    at, end = len(first), len(name) - len(last)
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for part in middle:
        # The leftmost place leaves the most room for what follows, so no other need be tried.
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _shown_as_it_runs(character: str) -> bool:
    # Cc, Cf: controls, and the marks that make a screen show another order than the shell will run (a user
    # approves what they see). Cs: no UTF-8. Zl, Zp: line ends to some readers.
    return unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def check_force_command(text: str) -> str:
    """Return `text`, unchanged, where it may be a forced command.

    Raises:
        Invalid: blank, over 4 KiB in UTF-8, or with a control, direction or line character

    """
    if not text.strip():
        raise Invalid("bad_force_command", "the forced command is blank; leave it out or give a command")
    for at, character in enumerate(text[: MAX_FORCE_COMMAND_BYTES + 1]):
        if not _shown_as_it_runs(character):
            raise Invalid(
                "bad_force_command",
                f"the forced command holds U+{ord(character):04X} at position {at}; control characters are not allowed",
            )
    if len(text) > MAX_FORCE_COMMAND_BYTES or len(text.encode()) > MAX_FORCE_COMMAND_BYTES:
        raise Invalid("bad_force_command", f"the forced command is longer than {MAX_FORCE_COMMAND_BYTES} bytes")
    return text


def check_source_addresses(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return networks in CIDR form, canonical, sorted, each once; an address alone is a network of one.

    Nothing in, nothing out: a certificate without source-address is good from anywhere.

    Raises:
        Invalid: not a network, host bits set (sshd refuses those), or more than 32

    """
    networks = set()
    for count, text in enumerate(addresses, 1):
        if count > MAX_SOURCE_ADDRESSES:
            raise Invalid("bad_source_address", f"more than {MAX_SOURCE_ADDRESSES} source addresses")
        # ipaddress alone would also take netmasks, zones and digits of other scripts.
        if not _NETWORK.fullmatch(text):
            raise Invalid("bad_source_address", f"{text[:64]!r} is not an address or network in CIDR form")
        try:
            network = ip_network(text)
        except ValueError as error:
            raise Invalid("bad_source_address", f"{text!r} is not a network: {error}") from error
        if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
            # sshd sees such a client by its IPv4 address, so the rule would match nobody.
            raise Invalid("bad_source_address", f"{text!r} is an IPv4 network in IPv6 form; give the IPv4 network")
        networks.add(network)
    ordered = sorted(networks, key=lambda network: (network.version, int(network.network_address), network.prefixlen))
    return tuple(str(network) for network in ordered)


def valid_option_value(name: str, value: str) -> bool:
    """Tell whether `value` is in its final form for the critical option `name`; a flag's value is empty."""
    try:
        if name == "force-command":
            return check_force_command(value) == value
        if name == "source-address":
            networks = value.split(",", MAX_SOURCE_ADDRESSES)
            # The order is free, because one list may be a choice from another; each network is canonical.
            return sorted(check_source_addresses(networks)) == sorted(networks)
    except Invalid:
        return False
    return not value


def check_extensions(extensions: Iterable[str]) -> tuple[str, ...]:
    """Return extensions sorted, each once, as a certificate must have them.

    Raises:
        Invalid: one that OpenSSH does not know, and would ignore

    """
    wanted = sorted(set(extensions))
    for name in wanted:
        if name not in KNOWN_EXTENSIONS:
            raise Invalid(
                "bad_extension", f"{name[:64]!r} is not an extension; choose from {', '.join(sorted(KNOWN_EXTENSIONS))}"
            )
    return tuple(wanted)
