"""OpenSSH certificates (draft-miller-ssh-cert, once PROTOCOL.certkeys): the bytes to be signed, and a strict parser.

No library's builder is used: they strip FIDO keys, sign what no host should accept and want the private key in
this process (docs/decisions.md). Signing is not here; `lint` must pass between to_be_signed() and any CA key.
"""

from enum import IntEnum

from tms_ca.core.certificate_lint import MAX_CERTIFICATE_BYTES, LintError, lint
from tms_ca.core.errors import Malformed
from tms_ca.core.names import KNOWN_CRITICAL, valid_key_id, valid_option_value, valid_principal
from tms_ca.core.publickey import (
    CERTIFICATE_SUFFIX,
    PublicKey,
    decode_base64,
    encode_base64,
    unverified_public_key,
)
from tms_ca.core.record import record
from tms_ca.core.sshwire import Reader, WireError, string, uint32, uint64

__all__ = [
    "CertType",
    "CertificateFields",
    "LintError",
    "ParsedCertificate",
    "assemble",
    "certificate_line",
    "lint",
    "parse_certificate",
    "parse_certificate_line",
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


@record
class ParsedCertificate:
    """A certificate that was read. Its form was checked; its signature was not, nor were its keys judged."""

    blob: bytes
    fields: CertificateFields
    tbs: bytes  # what the signature covers: all of the blob before it
    signature_format: str
    signature: bytes  # without its format


def _certificate_type(algorithm: str) -> str:
    return algorithm.removesuffix("@openssh.com") + CERTIFICATE_SUFFIX


# How many strings follow the name of the algorithm in a key's wire form.
_KEY_STRINGS = {
    "ssh-ed25519": 1,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "ssh-rsa": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}
_ALGORITHMS = {_certificate_type(algorithm).encode(): algorithm for algorithm in _KEY_STRINGS}

# Which signatures a CA key makes; SHA-1 (plain ssh-rsa, RFC 8332) is none of them.
_SIGNATURE_FORMATS = {
    "ssh-ed25519": (b"ssh-ed25519",),
    "ecdsa-sha2-nistp256": (b"ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": (b"ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": (b"ecdsa-sha2-nistp521",),
    "ssh-rsa": (b"rsa-sha2-512", b"rsa-sha2-256"),
}


def to_be_signed(fields: CertificateFields) -> bytes:
    """Write everything of a certificate but the signature, as it is given: judging it is the lint's work."""
    key = fields.public_key
    options = [
        string(name.encode()) + string(string(value.encode()) if value else b"")
        for name, value in fields.critical_options
    ]
    extensions = [string(name.encode()) + string(b"") for name in fields.extensions]
    return b"".join(
        (
            string(_certificate_type(key.algorithm).encode()),
            string(fields.nonce),
            key.blob[4 + len(key.algorithm) :],
            uint64(fields.serial),
            uint32(fields.type),
            string(fields.key_id.encode()),
            string(b"".join([string(principal.encode()) for principal in fields.principals])),
            uint64(fields.valid_after),
            uint64(fields.valid_before),
            string(b"".join(options)),
            string(b"".join(extensions)),
            string(b""),  # reserved
            string(fields.ca_key.blob),
        )
    )


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


def parse_certificate_line(text: str) -> ParsedCertificate:
    """Read `type base64 [comment]`, one line, with a newline at the end or none.

    Raises:
        Malformed: `bad_certificate`

    """
    if len(text) > 2 * MAX_CERTIFICATE_BYTES:
        raise _bad(f"the certificate is longer than {2 * MAX_CERTIFICATE_BYTES} characters")
    line = text.removesuffix("\n")
    if not line.isascii() or not line.isprintable():
        raise _bad("expected one line of printable ASCII, `type base64 [comment]`")
    kind, _, rest = line.partition(" ")
    encoded, _, _ = rest.partition(" ")
    blob = decode_base64(encoded)
    if blob is None:
        raise _bad("the second word of the certificate is not canonical base64")
    if not blob.startswith(string(kind.encode())):
        raise _bad(f"the line says {kind[:64]!r}, its bytes say something else")
    return parse_certificate(blob)


def parse_certificate(blob: bytes) -> ParsedCertificate:
    """Read a certificate's wire form, accepting only what this module could have written.

    Raises:
        Malformed: `bad_certificate`

    """
    if len(blob) > MAX_CERTIFICATE_BYTES:
        raise _bad(f"the certificate is longer than {MAX_CERTIFICATE_BYTES} bytes")
    try:
        return _parse(blob)
    except WireError as error:
        raise _bad(f"the bytes are not an OpenSSH certificate: {error.detail}") from error


def _bad(detail: str) -> Malformed:
    return Malformed("bad_certificate", detail)


def _parse(blob: bytes) -> ParsedCertificate:
    reader = Reader(blob)
    kind = reader.string()
    algorithm = _ALGORITHMS.get(kind)
    if algorithm is None:
        raise _bad(f"{kind[:64]!r} is not a type of certificate that is known here")
    nonce = reader.string()
    parts = [string(reader.string()) for _ in range(_KEY_STRINGS[algorithm])]
    public_key = PublicKey(algorithm, string(algorithm.encode()) + b"".join(parts))
    serial = reader.uint64()
    number = reader.uint32()
    if number not in {CertType.USER, CertType.HOST}:
        raise _bad(f"certificate type {number} is neither user (1) nor host (2)")
    key_id = _ascii(reader.string())
    if not valid_key_id(key_id):
        raise _bad("the key ID is not 1 to 128 characters of printable ASCII")
    principals = _principals(reader.string())
    valid_after = reader.uint64()
    valid_before = reader.uint64()
    critical_options = _critical_options(reader.string())
    extensions = tuple(name for name, _ in _options(reader.string(), flags_only=True))
    if reader.string():
        raise _bad("the reserved field is not empty")
    ca_key = unverified_public_key(reader.string())
    signature = reader.string()
    reader.end()
    signed = Reader(signature)
    signature_format = signed.string()
    if signature_format not in _SIGNATURE_FORMATS.get(ca_key.algorithm, ()):
        raise _bad(f"{signature_format[:64]!r} is not a signature of a CA key of type {ca_key.algorithm[:64]!r}")
    signature_bytes = signed.string()
    signed.end()
    return ParsedCertificate(
        blob=blob,
        fields=CertificateFields(
            public_key,
            nonce,
            serial,
            CertType(number),
            key_id,
            principals,
            valid_after,
            valid_before,
            critical_options,
            extensions,
            ca_key,
        ),
        tbs=blob[: -4 - len(signature)],
        signature_format=signature_format.decode(),
        signature=signature_bytes,
    )


def _ascii(content: bytes) -> str:
    if not content.isascii():
        raise _bad(f"{content[:64]!r} is not ASCII")
    return content.decode()


def _principals(packed: bytes) -> tuple[str, ...]:
    reader = Reader(packed)
    principals = []
    while reader.more():
        principal = _ascii(reader.string())
        if not valid_principal(principal):
            raise _bad(f"{principal[:128]!r} is not a principal")
        principals.append(principal)
    if not principals:
        # Some readers take an empty list as "good for every account".
        raise _bad("the certificate has no principals")
    return tuple(principals)


def _options(packed: bytes, *, flags_only: bool) -> list[tuple[str, bytes]]:
    reader = Reader(packed)
    options: list[tuple[str, bytes]] = []
    while reader.more():
        name = _ascii(reader.string())
        content = reader.string()
        if not name.isprintable() or (options and name <= options[-1][0]):
            raise _bad(f"option {name[:64]!r} is out of order, twice there or not printable")
        if flags_only and content:
            raise _bad(f"extension {name[:64]!r} has a value")
        options.append((name, content))
    return options


def _critical_options(packed: bytes) -> tuple[tuple[str, str], ...]:
    options = []
    for name, content in _options(packed, flags_only=False):
        if name not in KNOWN_CRITICAL:
            raise _bad(f"critical option {name[:64]!r} is not known")
        value = ""
        if content:
            reader = Reader(content)
            value = reader.string().decode(errors="surrogateescape")
            reader.end()
            if not value:
                raise _bad(f"critical option {name!r} has an empty value where a flag has none")
        if not valid_option_value(name, value):
            raise _bad(f"critical option {name!r} has a value that is not allowed")
        options.append((name, value))
    return tuple(options)
