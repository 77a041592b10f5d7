"""The last look before the CA's signature: these bytes say exactly what was meant, and that is allowed.

Reads the bytes with code of its own, so that a fault in the builder, its data types or its parser cannot hide
itself. Only the grammars of core.names are shared, which the builder does not use.
"""

from __future__ import annotations

import re
from functools import lru_cache
from struct import Struct, error
from typing import TYPE_CHECKING

from tms_ca.core.names import KNOWN_CRITICAL, KNOWN_EXTENSIONS, valid_option_value

if TYPE_CHECKING:
    from tms_ca.core.certificate import CertificateFields

MAX_CERTIFICATE_BYTES = 8192
MAX_HOST_SECONDS = 90 * 24 * 3600  # of a host's certificate; bounds what a stolen host key is good for

_LENGTH = Struct(">I")
_SERIAL_AND_TYPE = Struct(">QI")
_VALIDITY = Struct(">QQ")
_USER = 1
_PRINCIPAL = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9._@+:=-]{0,127}")
_HOST_PRINCIPAL = re.compile(rb"[a-z0-9:][a-z0-9._:-]{0,127}")  # a name in lower case, or an address
_KEY_ID = re.compile(rb"[ -~]{1,128}")
_APPLICATION = re.compile(rb"ssh:[ -~]*")

# Type of certificate -> the plain key's algorithm, and how many strings the key has.
_SUBJECTS = {
    b"ssh-ed25519-cert-v01@openssh.com": (b"ssh-ed25519", 1),
    b"ecdsa-sha2-nistp256-cert-v01@openssh.com": (b"ecdsa-sha2-nistp256", 2),
    b"ecdsa-sha2-nistp384-cert-v01@openssh.com": (b"ecdsa-sha2-nistp384", 2),
    b"ecdsa-sha2-nistp521-cert-v01@openssh.com": (b"ecdsa-sha2-nistp521", 2),
    b"ssh-rsa-cert-v01@openssh.com": (b"ssh-rsa", 2),
    b"sk-ssh-ed25519-cert-v01@openssh.com": (b"sk-ssh-ed25519@openssh.com", 2),
    b"sk-ecdsa-sha2-nistp256-cert-v01@openssh.com": (b"sk-ecdsa-sha2-nistp256@openssh.com", 3),
}
_POINT_BYTES = {b"nistp256": 65, b"nistp384": 97, b"nistp521": 133}


class LintError(RuntimeError):
    """A certificate that must not be signed was built: a bug here, never something that a caller could mend."""


def lint(tbs: bytes, intent: CertificateFields) -> None:
    """Return only where `tbs` is `intent`, byte for byte, and breaks no rule.

    Raises:
        LintError: in every other case

    """
    try:
        _lint(tbs, intent)
    except (error, IndexError, UnicodeError) as cause:
        raise LintError(f"the bytes to be signed cannot be read: {cause}") from cause


def _require(met: bool, rule: str) -> None:  # noqa: FBT001 - the condition is the argument
    if not met:
        raise LintError(rule)


def _next(content: bytes, at: int) -> tuple[bytes, int]:
    start = at + 4
    end: int = start + _LENGTH.unpack_from(content, at)[0]
    if end > len(content):
        raise LintError(f"a string at offset {at} runs past the end")
    return content[start:end], end


def _strings(content: bytes) -> list[bytes]:
    strings = []
    at, end = 0, len(content)
    while at < end:
        size = _LENGTH.unpack_from(content, at)[0]
        at += 4 + size
        if at > end:
            raise LintError(f"a string at offset {at - 4 - size} runs past the end")
        strings.append(content[at - size : at])
    return strings


def _lint(tbs: bytes, intent: CertificateFields) -> None:
    kind, at = _next(tbs, 0)
    _require(kind in _SUBJECTS, "the type of certificate is not known")
    algorithm, count = _SUBJECTS[kind]
    nonce, at = _next(tbs, at)
    _require(len(nonce) == 32 and nonce == intent.nonce, "the nonce must be the 32 bytes that were drawn")
    subject = [algorithm]
    for _ in range(count):
        part, at = _next(tbs, at)
        subject.append(part)
    _require(subject == _strings(intent.public_key.blob), "the subject key is not the one that was meant")
    _require(algorithm == intent.public_key.algorithm.encode(), "the subject key is of another type than was meant")
    _require_key(subject)

    serial, number = _SERIAL_AND_TYPE.unpack_from(tbs, at)
    at += _SERIAL_AND_TYPE.size
    _require(serial == intent.serial and 0 < serial < 1 << 63, "the serial must be the drawn one, 1 to 2**63 - 1")
    _require(number == intent.type and number in {1, 2}, "the type must be the one meant, user (1) or host (2)")
    key_id, at = _next(tbs, at)
    _require(key_id == intent.key_id.encode(), "the key ID is not the one that was meant")
    _require(_KEY_ID.fullmatch(key_id) is not None, "the key ID must be 1 to 128 characters of printable ASCII")

    packed, at = _next(tbs, at)
    principals = _strings(packed)
    _require(
        principals == [name.encode() for name in intent.principals], "the principals are not those that were meant"
    )
    _require(1 <= len(principals) <= 64, "a certificate has 1 to 64 principals")
    _require(len(set(principals)) == len(principals), "a principal is there twice")
    grammar = _PRINCIPAL if number == _USER else _HOST_PRINCIPAL
    for principal in principals:
        _require(grammar.fullmatch(principal) is not None, "a principal has a character that is not allowed")

    after, before = _VALIDITY.unpack_from(tbs, at)
    at += _VALIDITY.size
    _require(
        after == intent.valid_after and before == intent.valid_before, "the validity is not the one that was meant"
    )
    _require(0 < after < before < 1 << 63, "the validity must begin, and end later")

    packed, at = _next(tbs, at)
    critical = _strings(packed)
    _require_critical(critical[::2], critical[1::2], intent)
    packed, at = _next(tbs, at)
    extensions = _strings(packed)
    _require_extensions(extensions[::2], extensions[1::2], intent)
    if number != _USER:
        _require_host(subject, before - after, critical + extensions)

    reserved, at = _next(tbs, at)
    _require(not reserved, "the reserved field must be empty")
    signature_key, at = _next(tbs, at)
    _require(at == len(tbs), "something follows the CA key")
    _require_authority(signature_key, subject, intent)
    authority = _authority(signature_key)
    room = 4 + len(authority[2]) + 20 if authority[0] == b"ssh-rsa" else 180  # the longest is that of nistp521
    _require(len(tbs) + room <= MAX_CERTIFICATE_BYTES, "the certificate would be over 8 KiB")


def _require_host(subject: list[bytes], seconds: int, options: list[bytes]) -> None:
    """Check what holds for hosts' certificates alone."""
    _require(not options, "a host certificate has no options")
    _require(seconds <= MAX_HOST_SECONDS, "a host certificate is valid for at most 90 days")
    _require(not subject[0].startswith(b"sk-"), "a FIDO key cannot be a host's")


@lru_cache(64)
def _authority(signature_key: bytes) -> list[bytes]:
    """Return the strings of a key that may be a CA's; the same key signs again and again."""
    authority = _strings(signature_key)
    _require(not authority[0].startswith(b"sk-"), "a FIDO key cannot be a CA key")
    _require_key(authority)
    return authority


def _require_authority(signature_key: bytes, subject: list[bytes], intent: CertificateFields) -> None:
    authority = _authority(signature_key)
    _require(signature_key == intent.ca_key.blob, "the CA key is not the one that was meant")
    _require(authority[0] == intent.ca_key.algorithm.encode(), "the CA key is of another type than was meant")
    _require(authority != subject, "the CA key must not be certified by itself")


def _require_key(key: list[bytes]) -> None:
    """Check the rules of a key that its bytes alone can show."""
    match key:
        case [b"ssh-ed25519", point]:
            _require(len(point) == 32, "an Ed25519 key has 32 bytes")
        case [b"sk-ssh-ed25519@openssh.com", point, application]:
            _require(len(point) == 32, "an Ed25519 key has 32 bytes")
            _require(_APPLICATION.fullmatch(application) is not None, "a FIDO key's application begins with ssh:")
        case [b"ecdsa-sha2-nistp256" | b"ecdsa-sha2-nistp384" | b"ecdsa-sha2-nistp521" as name, curve, point]:
            _require(name.endswith(curve), "the curve is not that of the key's type")
            _require_point(curve, point)
        case [b"sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256" as curve, point, application]:
            _require_point(curve, point)
            _require(_APPLICATION.fullmatch(application) is not None, "a FIDO key's application begins with ssh:")
        case [b"ssh-rsa", exponent, modulus]:
            number = int.from_bytes(modulus, "big")
            _require(3072 <= number.bit_length() <= 8192, "an RSA key has 3072 to 8192 bits")
            _require(number & 1 == 1 and exponent == b"\x01\x00\x01", "an RSA key is odd and has the exponent 65537")
        case _:
            raise LintError("the key is of no type that may be here")


def _require_point(curve: bytes, point: bytes) -> None:
    _require(len(point) == _POINT_BYTES.get(curve) and point[0] == 4, "an ECDSA point is uncompressed")


def _require_critical(names: list[bytes], contents: list[bytes], intent: CertificateFields) -> None:
    _require(len(names) == len(contents), "a critical option has no data")
    _require(names == sorted(set(names)), "critical options must be sorted, each once")
    said = []
    for name, content in zip(names, contents, strict=True):
        inner = _strings(content)  # a value is a string within the string; a flag has no data at all
        _require(len(inner) <= 1 and all(inner), "a critical option has an empty value, or more than one")
        said.append((name.decode(), inner[0].decode() if inner else ""))
    _require(tuple(said) == intent.critical_options, "the critical options are not those that were meant")
    for option, value in said:
        _require(option in KNOWN_CRITICAL, "a critical option is not known to sshd")
        _require(valid_option_value(option, value), f"the value of {option} is not allowed")


def _require_extensions(names: list[bytes], contents: list[bytes], intent: CertificateFields) -> None:
    _require(not any(contents) and len(names) == len(contents), "an extension has a value, or no data field")
    _require(names == sorted(set(names)), "extensions must be sorted, each once")
    said = tuple(name.decode() for name in names)
    _require(said == intent.extensions, "the extensions are not those that were meant")
    _require(KNOWN_EXTENSIONS.issuperset(said), "an extension is not known to sshd")
