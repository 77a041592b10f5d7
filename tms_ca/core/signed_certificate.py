"""Read who signed a certificate, and nothing else strictly: of a certificate that we never wrote.

`certificate_reader` takes only what this service could have written. Whoever has stolen a CA key writes what they
like, and the one thing that they cannot do without is the signature.
"""

from tms_ca.core.certificate import ALGORITHMS, KEY_STRINGS
from tms_ca.core.record import record
from tms_ca.core.sshwire import Reader, WireError

_SHOWN = 128  # characters of a key ID


@record
class SignedCertificate:
    """What was signed, by which key, says who holds it out. Nothing of it has been checked."""

    serial: int
    type: int  # 1: of a user
    key_id: str  # for people: cut, and without anything that is not printable ASCII
    valid_before: int
    signed: bytes  # what the signature covers
    ca_key: bytes
    signature_format: str
    signature: bytes


def signed_certificate(blob: bytes) -> SignedCertificate | None:
    """Return what `blob` says of itself; None where it has not the frame of a certificate."""
    try:
        return _read(blob)
    except WireError:
        return None


def _read(blob: bytes) -> SignedCertificate | None:
    reader = Reader(blob)
    algorithm = ALGORITHMS.get(reader.string())
    if algorithm is None:
        return None
    reader.skip_strings(1 + KEY_STRINGS[algorithm])
    serial, kind, key_id = reader.uint64(), reader.uint32(), reader.string()
    reader.skip_strings(1)  # principals
    reader.uint64()
    valid_before = reader.uint64()
    reader.skip_strings(3)  # critical options, extensions, the reserved field
    ca_key, signature = reader.string(), reader.string()
    reader.end()
    parts = Reader(signature)
    signature_format, bare = parts.string(), parts.string()
    parts.end()
    return SignedCertificate(
        serial=serial,
        type=kind,
        key_id=_printable(key_id),
        valid_before=valid_before,
        signed=blob[: -4 - len(signature)],
        ca_key=ca_key,
        signature_format=_printable(signature_format),
        signature=bare,
    )


def _printable(text: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in text[:_SHOWN])
