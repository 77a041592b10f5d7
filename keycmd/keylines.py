"""What may be printed to sshd as a line of authorized_keys: options of a short list, and the very key it asked about.

The options are those that the service writes, in its one order: `restrict`, what is allowed again after it, then those
of keycmd.lines. A line without `restrict` is never passed on: it would allow whatever sshd allows.
"""

import binascii

from keycmd.lines import MOST_PERMITOPEN, good_value, split_options
from keycmd.quick import valid_principal

try:
    from _sha2 import sha256  # Python 3.12; hashlib loads OpenSSL first, which takes longer than all else here
except ImportError:
    try:
        from _sha256 import sha256
    except ImportError:
        from hashlib import sha256

KEY_TYPES = frozenset(
    (
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "ssh-rsa",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    )
)
MOST_CHARACTERS = 16384
MOST_LINES = 256
CERT_AUTHORITY = "cert-authority"
_WORDS = ("pty", "port-forwarding", "agent-forwarding", "X11-forwarding", "user-rc")
_ORDER = ("restrict", *_WORDS, "from", "command", "permitopen", "expiry-time")
_FINGERPRINT = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def valid_fingerprint(text):
    """Tell whether a text is a SHA-256 fingerprint, as sshd writes it."""
    return len(text) == 50 and text.startswith("SHA256:") and _FINGERPRINT.issuperset(text[7:])


def fingerprint_of(kind, text):
    """Return SHA256:... of a key in base64 that is of the type `kind`, else None."""
    try:
        blob = binascii.a2b_base64(text)
    except ValueError:
        return None
    name = kind.encode("ascii")
    if binascii.b2a_base64(blob, newline=False) != text.encode("ascii"):
        return None
    if blob[: 4 + len(name)] != len(name).to_bytes(4, "big") + name:
        return None
    return "SHA256:" + binascii.b2a_base64(sha256(blob).digest(), newline=False).decode("ascii").rstrip("=")


def valid_line(line, fingerprint, key_type, ca_keys=frozenset()):
    """Tell whether a line may be printed where sshd asks about this key.

    `ca_keys` are the keys (TYPE BASE64) that may stand behind `cert-authority`; none, unless the host's administrator
    wants such lines.
    """
    if len(line) > MOST_CHARACTERS or not all(" " <= character <= "~" for character in line):
        return False
    rest, _, text = line.rpartition(" ")
    options, _, kind = rest.rpartition(" ")
    found = split_options(options) if options else None
    if not found or kind not in KEY_TYPES:
        return False
    if found[0] == (CERT_AUTHORITY, None):
        return "%s %s" % (kind, text) in ca_keys and _principals(found[1:2]) and _valid_options(found[2:])
    if found[0] != ("restrict", None) or not _valid_options(found):
        return False
    return kind == key_type and fingerprint_of(kind, text) == fingerprint


def without_expiry(line):
    """Return a valid line without `expiry-time`, which stands last: an sshd before OpenSSH 9.1 cannot read it."""
    options, mark, rest = line.rpartition(',expiry-time="')
    return options + rest[16:] if mark and rest[15:17] == '" ' else line


def _principals(found):
    """Tell whether there is a list of principals: without one, some releases let any certificate in."""
    if len(found) != 1 or found[0][0] != "principals" or not found[0][1]:
        return False
    return all(valid_principal(one) for one in found[0][1].split(","))


def _valid_options(found):
    """Tell whether options are of the list, in its order, each once but permitopen."""
    last, opens = -1, 0
    for name, value in found:
        if name not in _ORDER:
            return False
        at = _ORDER.index(name)
        opens += name == "permitopen"
        if at < last or (at == last and name != "permitopen") or opens > MOST_PERMITOPEN:
            return False
        if value is not None if name in _WORDS else not good_value(name, value):
            return False
        last = at
    return True
