"""OpenSSH certificates (draft-miller-ssh-cert, once PROTOCOL.certkeys): the bytes to be signed, and a strict parser.

No library's builder is used: they strip FIDO keys, sign what no host should accept and want the private key in
this process (docs/decisions.md). Signing is not here; `lint` must pass between to_be_signed() and any CA key.
"""

from enum import IntEnum
from functools import lru_cache

from tms_ca.core.certificate_lint import MAX_CERTIFICATE_BYTES, LintError, lint
from tms_ca.core.publickey import (
    CERTIFICATE_SUFFIX,
    PublicKey,
    encode_base64,
)
from tms_ca.core.record import record
from tms_ca.core.sshwire import Reader, string, uint32, uint64

__all__ = [
    "CertType",
    "CertificateFields",
    "LintError",
    "assemble",
    "certificate_line",
    "lint",
    "to_be_signed",
]


class CertType(IntEnum):
    """Whom a certificate names; its number stands on the wire."""

    USER = 1
    HOST = 2


@record
class CertificateFields:
    """What a certificate says, in the order of the wire. Times are Unix seconds: valid_after <= now < valid_before.

    Options are (name, value), sorted by name; `verify-required` has the value "". Extensions are flags, sorted.
    """

    public_key: PublicKey
    nonce: bytes
    serial: int
    type: CertType
    key_id: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical_options: tuple[tuple[str, str], ...]
    extensions: tuple[str, ...]
    ca_key: PublicKey


def _certificate_type(algorithm: str) -> str:
    return algorithm.removesuffix("@openssh.com") + CERTIFICATE_SUFFIX


# How many strings follow the name of the algorithm in a key's wire form.
KEY_STRINGS = {
    "ssh-ed25519": 1,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "ssh-rsa": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}
ALGORITHMS = {_certificate_type(algorithm).encode(): algorithm for algorithm in KEY_STRINGS}


def to_be_signed(fields: CertificateFields) -> bytes:
    """Write everything of a certificate but the signature, as it is given: judging it is the lint's work."""
    key = fields.public_key
    return b"".join(
        (
            string(_certificate_type(key.algorithm).encode()),
            string(fields.nonce),
            key.blob[4 + len(key.algorithm) :],
            uint64(fields.serial),
            uint32(fields.type),
            string(fields.key_id.encode()),
            _principals(fields.principals),
            uint64(fields.valid_after),
            uint64(fields.valid_before),
            _options(fields.critical_options, fields.extensions),
            string(b""),  # reserved
            string(fields.ca_key.blob),
        )
    )


# The same few come again with the next certificates.
@lru_cache(4096)
def _principals(names: tuple[str, ...]) -> bytes:
    return string(b"".join([string(principal.encode()) for principal in names]))


@lru_cache(1024)
def _options(critical_options: tuple[tuple[str, str], ...], flags: tuple[str, ...]) -> bytes:
    options = [
        string(name.encode()) + string(string(value.encode()) if value else b"") for name, value in critical_options
    ]
    extensions = [string(name.encode()) + string(b"") for name in flags]
    return string(b"".join(options)) + string(b"".join(extensions))


def assemble(tbs: bytes, signature_blob: bytes) -> bytes:
    """Put the CA's signature (RFC 4253 section 6.6) behind the bytes that it covers.

    Raises:
        LintError: there is no signature, or the whole is over 8 KiB

    """
    blob = tbs + string(signature_blob)
    if not signature_blob or len(blob) > MAX_CERTIFICATE_BYTES:
        raise LintError(f"a signature of {len(signature_blob)} bytes makes a certificate of {len(blob)} bytes")
    return blob


def certificate_line(blob: bytes) -> str:
    """Return a certificate as in a -cert.pub file, without comment and newline."""
    return f"{Reader(blob).string().decode()} {encode_base64(blob)}"
