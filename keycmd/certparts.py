"""What the session's side reads in a certificate that sshd has already judged: its CA's key and its forced command.

Nothing here checks a signature. The layouts are those of draft-miller-ssh-cert.
"""

import binascii

# How many strings of the key stand between a certificate's nonce and its serial.
KEY_STRINGS = {
    "ssh-ed25519-cert-v01@openssh.com": 1,
    "ecdsa-sha2-nistp256-cert-v01@openssh.com": 2,
    "ecdsa-sha2-nistp384-cert-v01@openssh.com": 2,
    "ecdsa-sha2-nistp521-cert-v01@openssh.com": 2,
    "ssh-rsa-cert-v01@openssh.com": 2,
    "sk-ssh-ed25519-cert-v01@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com": 3,
}


class Unreadable(Exception):
    """Not a certificate that can be read; the text says where it breaks."""


class Parts:
    """The parts of one certificate: `ca_key` in base64, and `forced_command` as bytes, or None where it has none."""

    def __init__(self, kind, text):
        """Read a certificate of type `kind` from its base64.

        Raises:
            Unreadable: a type that is not known, or not a certificate of it
        """
        if kind not in KEY_STRINGS:
            raise Unreadable("its type %s is not known" % kind[:60])
        try:
            blob = binascii.a2b_base64(text.encode("ascii"))
            rest = _skip(blob, 2 + KEY_STRINGS[kind])[8 + 4 :]  # type, nonce, key; serial, user or host
            critical, rest = _string(_skip(rest, 2)[8 + 8 :])  # key ID, principals; the two ends of its validity
            key, rest = _string(_skip(rest, 2))  # extensions, a reserved string; then the CA's key
            if _string(blob)[0] != kind.encode("ascii") or _string(rest)[1]:
                raise ValueError("it is of another type, or followed by something")
            self.ca_key = binascii.b2a_base64(key, newline=False).decode("ascii")
            self.forced_command = _forced(critical)
        except ValueError as error:
            raise Unreadable(str(error)) from error


def _forced(critical):
    found = None
    while critical:
        name, rest = _string(critical)
        value, critical = _string(rest)
        if name == b"force-command":
            found, rest = _string(value)
            if rest:
                raise ValueError("its forced command is followed by something")
    return found


def _string(blob):
    """Split a string (RFC 4251 section 5) from what follows it."""
    end = 4 + int.from_bytes(blob[:4], "big")
    if len(blob) < max(4, end):
        raise ValueError("it ends too early")
    return blob[4:end], blob[end:]


def _skip(blob, count):
    for _ in range(count):
        blob = _string(blob)[1]
    return blob
