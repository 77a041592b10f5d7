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
    subject, key_at = [algorithm], at
    for _ in range(count):
        part, at = _next(tbs, at)
        subject.append(part)
    blob = _LENGTH.pack(len(algorithm)) + algorithm + tbs[key_at:at]
    _require(blob == intent.public_key.blob, "the subject key is not the one that was meant")
    _require(algorithm == intent.public_key.algorithm.encode(), "the subject key is of another type than was meant")
    _require_key(subject)

    serial, number = _SERIAL_AND_TYPE.unpack_from(tbs, at)
    _require(serial == intent.serial and 0 < serial < 1 << 63, "the serial must be the drawn one, 1 to 2**63 - 1")
    _require(number == intent.type and number in {1, 2}, "the type must be the one meant, user (1) or host (2)")
    key_id, at = _next(tbs, at + _SERIAL_AND_TYPE.size)
    _require(key_id == intent.key_id.encode(), "the key ID is not the one that was meant")
    _require(_KEY_ID.fullmatch(key_id) is not None, "the key ID must be 1 to 128 characters of printable ASCII")
    principals, at = _next(tbs, at)
    _require_principals(principals, number, intent.principals)

    after, before = _VALIDITY.unpack_from(tbs, at)
    _require(
        after == intent.valid_after and before == intent.valid_before, "the validity is not the one that was meant"
    )
    _require(0 < after < before < 1 << 63, "the validity must begin, and end later")
    rest = tbs[at + _VALIDITY.size :]
    if number != _USER:
        _require_host(subject, before - after, intent)
    authority = intent.ca_key
    _require(authority.blob != blob, "the CA key must not be certified by itself")
    room = _require_rest(rest, intent.critical_options, intent.extensions, authority.blob, authority.algorithm)
    _require(len(tbs) + room <= MAX_CERTIFICATE_BYTES, "the certificate would be over 8 KiB")


def _require_host(subject: list[bytes], seconds: int, intent: CertificateFields) -> None:
    """Check what holds for hosts' certificates alone; that the options are those of `intent` is checked for all."""
    _require(not intent.critical_options and not intent.extensions, "a host certificate has no options")
    _require(seconds <= MAX_HOST_SECONDS, "a host certificate is valid for at most 90 days")
    _require(not subject[0].startswith(b"sk-"), "a FIDO key cannot be a host's")


# The principals, and what is behind the validity, come again with the next certificate. Each verdict here rests on the
# bytes, on what was meant by them and on nothing else, so the same of both have the same verdict.
@lru_cache(4096)
def _require_principals(packed: bytes, number: int, meant: tuple[str, ...]) -> None:
    principals = _strings(packed)
    _require(principals == [name.encode() for name in meant], "the principals are not those that were meant")
    _require(1 <= len(principals) <= 64, "a certificate has 1 to 64 principals")
    _require(len(set(principals)) == len(principals), "a principal is there twice")
    grammar = _PRINCIPAL if number == _USER else _HOST_PRINCIPAL
    for principal in principals:
        _require(grammar.fullmatch(principal) is not None, "a principal has a character that is not allowed")


@lru_cache(1024)
def _require_rest(
    rest: bytes, critical: tuple[tuple[str, str], ...], extensions: tuple[str, ...], ca_blob: bytes, ca_algorithm: str
) -> int:
    """Check everything behind the validity; return how many bytes a signature of this CA key takes at most."""
    packed, at = _next(rest, 0)
    options = _strings(packed)
    _require_critical(options[::2], options[1::2], critical)
    packed, at = _next(rest, at)
    options = _strings(packed)
    _require_extensions(options[::2], options[1::2], extensions)
    reserved, at = _next(rest, at)
    _require(not reserved, "the reserved field must be empty")
    signature_key, at = _next(rest, at)
    _require(at == len(rest), "something follows the CA key")
    authority = _strings(signature_key)
    _require(not authority[0].startswith(b"sk-"), "a FIDO key cannot be a CA key")
    _require_key(authority)
    _require(signature_key == ca_blob, "the CA key is not the one that was meant")
    _require(authority[0] == ca_algorithm.encode(), "the CA key is of another type than was meant")
    return 4 + len(authority[2]) + 20 if authority[0] == b"ssh-rsa" else 180  # the longest is that of nistp521


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


def _require_critical(names: list[bytes], contents: list[bytes], meant: tuple[tuple[str, str], ...]) -> None:
    _require(len(names) == len(contents), "a critical option has no data")
    _require(names == sorted(set(names)), "critical options must be sorted, each once")
    said = []
    for name, content in zip(names, contents, strict=True):
        inner = _strings(content)  # a value is a string within the string; a flag has no data at all
        _require(len(inner) <= 1 and all(inner), "a critical option has an empty value, or more than one")
        said.append((name.decode(), inner[0].decode() if inner else ""))
    _require(tuple(said) == meant, "the critical options are not those that were meant")
    for option, value in said:
        _require(option in KNOWN_CRITICAL, "a critical option is not known to sshd")
        _require(valid_option_value(option, value), f"the value of {option} is not allowed")


def _require_extensions(names: list[bytes], contents: list[bytes], meant: tuple[str, ...]) -> None:
    _require(not any(contents) and len(names) == len(contents), "an extension has a value, or no data field")
    _require(names == sorted(set(names)), "extensions must be sorted, each once")
    said = tuple(name.decode() for name in names)
    _require(said == meant, "the extensions are not those that were meant")
    _require(KNOWN_EXTENSIONS.issuperset(said), "an extension is not known to sshd")
