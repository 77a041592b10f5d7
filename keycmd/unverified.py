"""What a certificate says of itself, for the log and for its end: read, but not verified. sshd does that.

RFC 4251 section 5 has the encoding, PROTOCOL.certkeys the fields.
"""

import binascii
import struct

MOST_SHOWN = 200  # characters of a key ID in a log line
_U32, _U64 = struct.Struct(">I"), struct.Struct(">Q")
_KEY_STRINGS = (  # how many strings a public key has, by the beginning of its type
    ("ssh-ed25519-", 1),
    ("ecdsa-sha2-", 2),
    ("ssh-rsa-", 2),
    ("sk-ssh-ed25519-", 2),
    ("sk-ecdsa-sha2-", 3),
)


class Unverified:
    """Serial, key ID (bytes) and the end of the validity in Unix seconds; None for what cannot be read."""

    def __init__(self, certificate):
        """Read "TYPE BASE64"."""
        self.serial = self.key_id = self.valid_before = None
        kind, _, text = certificate.partition(" ")
        try:
            self._read(kind, binascii.a2b_base64(text))
        except (ValueError, struct.error):
            return

    def _read(self, kind, blob):
        strings = next((count for start, count in _KEY_STRINGS if kind.startswith(start)), None)
        if strings is None:
            return
        at = 0
        for _ in range(2 + strings):  # the type and the nonce stand before the key
            _, at = _string(blob, at)
        (serial,) = _U64.unpack_from(blob, at)
        key_id, at = _string(blob, at + 12)  # after the serial and the certificate's type
        _, at = _string(blob, at)  # the principals
        (valid_before,) = _U64.unpack_from(blob, at + 8)
        self.serial, self.key_id, self.valid_before = serial, key_id, valid_before

    @property
    def fields(self):
        """Return `serial=... key_id=... user=... client=...` for the log; no value can pose as another field."""
        if self.key_id is None:
            return "serial=? key_id=? user=? client=?"
        parts = {}
        for part in self.key_id.split(b";"):
            name, _, value = part.partition(b"=")
            parts.setdefault(name, value)
        shown = tuple(_shown(value) for value in (self.key_id, parts.get(b"u"), parts.get(b"c")))
        return "serial=%d key_id=%s user=%s client=%s" % (self.serial, *shown)


def about(question):
    """Return who asks for what, for a log line, of a keycmd.service.Question."""
    fields = Unverified(question.certificate).fields
    return "account=%s certificate=%s %s" % (question.account, question.fingerprint, fields)


def _string(blob, at):
    """Return the string at an offset, and the offset behind it.

    Raises:
        ValueError: it is longer than what there is
    """
    (length,) = _U32.unpack_from(blob, at)
    end = at + 4 + length
    if end > len(blob):
        raise ValueError("a string that is cut")
    return blob[at + 4 : end], end


def _shown(value):
    if not value:
        return "-"
    text = value[:MOST_SHOWN].decode("latin-1")
    return "".join(character if "!" <= character <= "~" else "?" for character in text)
