"""Public keys as people paste them: which ones may be certified, which ones may be a CA, and their fingerprints.

Libraries that load SSH keys are not gatekeepers: they strip certificates and FIDO keys down to
plain keys and take points of small order. So the rules are here, and nothing is ever stripped or mended.
"""

import binascii
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import field

from tms_ca.core.curves import NISTP256, NISTP384, NISTP521, Curve, ed25519_fault
from tms_ca.core.errors import Invalid
from tms_ca.core.names import valid_key_application
from tms_ca.core.record import record
from tms_ca.core.sshwire import Reader, WireError, string

MAX_TEXT = 16 * 1024  # characters
_RSA_BITS = range(3072, 8192 + 1)
_HOST_RSA_BITS = range(2048, 16384 + 1)  # of host keys, which are listed so that they are never certified
_RSA_EXPONENT = 65537
CERTIFICATE_SUFFIX = "-cert-v01@openssh.com"
_PRIVATE_MARKS = ("PRIVATE KEY", "PuTTY-User-Key-File", "SSH2 ENCRYPTED")
_PRIVATE_MAGIC = b"openssh-key-v1\0"


@record
class PublicKey:
    """A plain public key: `blob` is its wire form (RFC 4253 section 6.6), which begins with `algorithm`."""

    algorithm: str
    blob: bytes
    fingerprint: str = field(init=False, compare=False)  # as ssh-keygen -l prints it: SHA256:...

    def __post_init__(self) -> None:
        self.fingerprint = fingerprint(self.blob)  # type: ignore[misc] # frozen from here on

    @property
    def line(self) -> str:
        """Return `algorithm base64`, without a comment."""
        return f"{self.algorithm} {encode_base64(self.blob)}"


def fingerprint(blob: bytes) -> str:
    """Return the fingerprint of a wire form: `SHA256:` and 43 characters of unpadded base64."""
    return fingerprint_of(hashlib.sha256(blob).digest())


def fingerprint_of(digest: bytes) -> str:
    """Return the fingerprint of what has this SHA-256 digest."""
    return "SHA256:" + binascii.b2a_base64(digest, newline=False)[:43].decode()


def encode_base64(blob: bytes) -> str:
    """Return standard base64 in one line, as key and certificate files have it."""
    return binascii.b2a_base64(blob, newline=False).decode()


def decode_base64(text: str) -> bytes | None:
    """Return what encode_base64 made `text` of, or None where it did not: each blob has one spelling."""
    try:
        blob = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    if len(text) != (len(blob) + 2) // 3 * 4:
        return None
    # Nothing but letters and padding in its place was taken, so only the bits beyond the last byte are still free.
    over = len(blob) % 3
    return blob if not over or text.endswith(encode_base64(blob[-over:])) else None


def unverified_public_key(blob: bytes) -> PublicKey:
    """Wrap a key found inside another format; nothing but the name of its algorithm is read.

    Raises:
        WireError: it does not begin with a name

    """
    name = Reader(blob).string()
    if not name.isascii() or not (text := name.decode()).isprintable() or not text:
        raise WireError("the key does not begin with the name of an algorithm")
    return PublicKey(text, blob)


def parse_public_key(text: str) -> PublicKey:
    """Read a key that a client wants certified: `type base64 [comment]`, one line, a newline at the end or none.

    Raises:
        Invalid: `key_is_private`, `key_is_certificate`, `key_type_not_allowed` (DSA, unknown, RSA over 8192 bits),
            `key_too_weak` (RSA under 3072 bits or with a small exponent), or `bad_public_key` for anything else

    """
    return _parse(text, _CLIENT_KEYS)


def parse_ca_key(text: str) -> PublicKey:
    """Read a CA key: as parse_public_key, without FIDO keys, which cannot sign unattended."""
    return _parse(text, _CA_KEYS)


def parse_host_key(text: str) -> PublicKey:
    """Read the key of a host as it stands today: as parse_ca_key, with RSA from 2048 bits."""
    return _parse(text, _HOST_KEYS)


_Check = Callable[[Reader], None]


def _parse(text: str, allowed: Mapping[str, _Check]) -> PublicKey:
    if len(text) > MAX_TEXT:
        raise _bad(f"the public key is longer than {MAX_TEXT} characters")
    line = text.removesuffix("\n")
    algorithm, _, rest = line.partition(" ")
    check = allowed.get(algorithm)
    if check is None or not line.isascii() or not line.isprintable():
        raise _refusal(line, algorithm, allowed)
    encoded, _, _ = rest.partition(" ")
    blob = decode_base64(encoded)
    if blob is None:
        raise _bad("the second word of the public key is not canonical base64")
    name = string(algorithm.encode())
    if not blob.startswith(name):
        raise _mismatch(algorithm, blob)
    try:
        reader = Reader(blob, len(name))
        check(reader)
        reader.end()
    except WireError as error:
        raise _bad(f"the public key's bytes are not a {algorithm} key: {error.detail}") from error
    return PublicKey(algorithm, blob)


def _bad(detail: str) -> Invalid:
    return Invalid("bad_public_key", detail)


def _refusal(line: str, algorithm: str, allowed: Mapping[str, _Check]) -> Invalid:
    """Find the most helpful words for a line that is not one of the keys that are allowed."""
    if any(mark in line for mark in _PRIVATE_MARKS):
        return Invalid(
            "key_is_private", "this is a private key: treat it as leaked, make a new one, send the .pub file"
        )
    if "\n" in line or "\r" in line:
        return _bad("expected one line, `type base64 [comment]`, with nothing but one newline at its end")
    if not line.isascii() or not line.isprintable():
        return _bad("the public key holds characters other than printable ASCII")
    if algorithm.endswith(CERTIFICATE_SUFFIX):
        return Invalid("key_is_certificate", "this is a certificate; send the plain public key, the .pub file")
    if any(word in allowed for word in line.split(" ")[1:]):
        return _bad(f"expected the key's type first, got {algorithm[:64]!r}; options before it are not allowed")
    if algorithm.startswith("-----BEGIN"):
        return _bad("expected `type base64 [comment]`, got PEM; ssh-keygen -i -m PKCS8 converts it")
    return Invalid(
        "key_type_not_allowed", f"keys of type {algorithm[:64]!r} are not allowed; use one of {', '.join(allowed)}"
    )


def _mismatch(algorithm: str, blob: bytes) -> Invalid:
    if blob.startswith(_PRIVATE_MAGIC):
        return Invalid("key_is_private", "the bytes are a private key: treat it as leaked and make a new one")
    try:
        inner = Reader(blob).string()
    except WireError as error:
        return _bad(f"the public key's bytes are not a {algorithm} key: {error.detail}")
    if inner.endswith(CERTIFICATE_SUFFIX.encode()):
        return Invalid("key_is_certificate", "the bytes are a certificate; send the plain public key, the .pub file")
    return _bad(f"the line says {algorithm!r}, its bytes say {inner[:64]!r}")


def _ed25519(reader: Reader) -> None:
    fault = ed25519_fault(reader.string())  # RFC 8709 section 4
    if fault:
        raise _bad(fault)


def _ecdsa(curve: Curve) -> _Check:
    def check(reader: Reader) -> None:  # RFC 5656 section 3.1
        name = reader.string()
        if name != curve.name:
            raise _bad(f"expected curve {curve.name.decode()!r}, got {name[:64]!r}")
        fault = curve.fault(reader.string())
        if fault:
            raise _bad(fault)

    return check


def _rsa(bits: range) -> _Check:
    def check(reader: Reader) -> None:  # RFC 4253 section 6.6
        exponent = reader.mpint()
        modulus = reader.mpint()
        size = modulus.bit_length()
        if size < bits.start:
            raise Invalid("key_too_weak", f"an RSA key needs at least {bits.start} bits, this one has {size}")
        if size >= bits.stop:
            raise Invalid("key_type_not_allowed", f"an RSA key may have {bits.stop - 1} bits, this one has {size}")
        if not modulus & 1:
            raise _bad("the RSA modulus is even")
        if exponent != _RSA_EXPONENT:
            code = "key_too_weak" if exponent < _RSA_EXPONENT else "bad_public_key"
            raise Invalid(code, f"the RSA exponent must be {_RSA_EXPONENT}")

    return check


def _security_key(plain: _Check) -> _Check:
    def check(reader: Reader) -> None:  # OpenSSH's PROTOCOL.u2f, "SSH U2F Key formats"
        plain(reader)
        application = reader.string()
        if not application.isascii() or not valid_key_application(application.decode()):
            raise _bad("the application of a security key must be printable ASCII that begins with 'ssh:'")

    return check


_CA_KEYS: dict[str, _Check] = {
    "ssh-ed25519": _ed25519,
    "ecdsa-sha2-nistp256": _ecdsa(NISTP256),
    "ecdsa-sha2-nistp384": _ecdsa(NISTP384),
    "ecdsa-sha2-nistp521": _ecdsa(NISTP521),
    "ssh-rsa": _rsa(_RSA_BITS),
}
_CLIENT_KEYS = {
    **_CA_KEYS,
    "sk-ssh-ed25519@openssh.com": _security_key(_ed25519),
    "sk-ecdsa-sha2-nistp256@openssh.com": _security_key(_ecdsa(NISTP256)),
}
_HOST_KEYS = {**_CA_KEYS, "ssh-rsa": _rsa(_HOST_RSA_BITS)}
