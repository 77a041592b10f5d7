"""Read OpenSSH certificates, strictly: only what tms_ca.core.certificate could have written."""

from tms_ca.core.certificate import ALGORITHMS, KEY_STRINGS, CertificateFields, CertType
from tms_ca.core.certificate_lint import MAX_CERTIFICATE_BYTES
from tms_ca.core.errors import Malformed
from tms_ca.core.names import KNOWN_CRITICAL, valid_key_id, valid_option_value, valid_principal
from tms_ca.core.publickey import PublicKey, decode_base64, unverified_public_key
from tms_ca.core.record import record
from tms_ca.core.sshwire import Reader, WireError, string


@record
class ParsedCertificate:
    """A certificate that was read. Its form was checked; its signature was not, nor were its keys judged."""

    blob: bytes
    fields: CertificateFields
    tbs: bytes  # what the signature covers: all of the blob before it
    signature_format: str
    signature: bytes  # without its format


# Which signatures a CA key makes; SHA-1 (plain ssh-rsa, RFC 8332) is none of them.
_SIGNATURE_FORMATS = {
    "ssh-ed25519": (b"ssh-ed25519",),
    "ecdsa-sha2-nistp256": (b"ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": (b"ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": (b"ecdsa-sha2-nistp521",),
    "ssh-rsa": (b"rsa-sha2-512", b"rsa-sha2-256"),
}


@record
class PresentedCertificate:
    """A certificate that someone holds out. Only its serial was read."""

    blob: bytes
    serial: int


def present_certificate_line(text: str) -> PresentedCertificate:
    """Read which certificate `type base64 [comment]` is, and no more: one whose every byte is known needs no judging.

    Raises:
        Malformed: `bad_certificate`

    """
    blob = _blob_of_line(text)
    try:
        reader = Reader(blob)
        algorithm = ALGORITHMS.get(reader.string())
        if algorithm is not None:
            reader.skip_strings(1 + KEY_STRINGS[algorithm])  # the nonce, and the key's
            return PresentedCertificate(blob, reader.uint64())
    except WireError:
        pass
    parsed = parse_certificate(blob)  # which finds the words for what is wrong
    return PresentedCertificate(blob, parsed.fields.serial)


def parse_certificate_line(text: str) -> ParsedCertificate:
    """Read `type base64 [comment]`, one line, with a newline at the end or none.

    Raises:
        Malformed: `bad_certificate`

    """
    return parse_certificate(_blob_of_line(text))


def _blob_of_line(text: str) -> bytes:
    if len(text) > 2 * MAX_CERTIFICATE_BYTES:
        raise _bad(f"the certificate is longer than {2 * MAX_CERTIFICATE_BYTES} characters")
    line = text.removesuffix("\n")
    kind, _, rest = line.partition(" ")
    encoded, _, comment = rest.partition(" ")
    blob = decode_base64(encoded)
    around = kind + comment  # what is base64 is printable
    if blob is None or not around.isascii() or not around.isprintable():
        if not line.isascii() or not line.isprintable():
            raise _bad("expected one line of printable ASCII, `type base64 [comment]`")
        raise _bad("the second word of the certificate is not canonical base64")
    if not blob.startswith(string(kind.encode())):
        raise _bad(f"the line says {kind[:64]!r}, its bytes say something else")
    if len(blob) > MAX_CERTIFICATE_BYTES:
        raise _bad(f"the certificate is longer than {MAX_CERTIFICATE_BYTES} bytes")
    return blob


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
    algorithm = ALGORITHMS.get(kind)
    if algorithm is None:
        raise _bad(f"{kind[:64]!r} is not a type of certificate that is known here")
    nonce = reader.string()
    parts = [string(reader.string()) for _ in range(KEY_STRINGS[algorithm])]
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
