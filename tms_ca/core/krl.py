"""OpenSSH key revocation lists (PROTOCOL.krl): a writer whose every output sshd can load, and a strict reader.

ssh-keygen's own writer makes serial bitmaps that no OpenSSH can read once they span more than 16,384 serials,
and a host with such a file refuses everybody. This one splits; signatures, which OpenSSH does not check, it has none.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from tms_ca.core.errors import Invalid, Malformed
from tms_ca.core.names import valid_key_id
from tms_ca.core.publickey import PublicKey, decode_base64, unverified_public_key
from tms_ca.core.sshwire import Reader, WireError, mpint, string, uint32, uint64

_MAGIC = b"SSHKRL\n\0"
_FORMAT_VERSION = 1
_CERTIFICATES, _EXPLICIT_KEYS, _FINGERPRINTS_SHA256 = 1, 2, 5
_SERIAL_LIST, _SERIAL_RANGE, _SERIAL_BITMAP, _KEY_IDS = 0x20, 0x21, 0x22, 0x23

_LAST_SERIAL = 2**64 - 1
# OpenSSH reads bitmaps of up to 16,384 bits; half of that costs one header more for each kilobyte.
_BITMAP_BITS = 8192
_WIDEST_GAP = 64  # a bitmap spends eight bytes on it, as much as a list does on a serial
_LONG_RUN = 512  # a range of 21 bytes is smaller than what a bitmap spends on this, even if it must be cut in two
_LIST_BYTES, _RANGE_BYTES, _BITMAP_HEADER_BYTES = 8, 21, 18

Span = tuple[int, int]  # first and last serial, both included


@dataclass(frozen=True, slots=True)
class KrlContents:
    """What a KRL revokes. Serials and key IDs count for the CA key that they stand under, and for no other."""

    serials: Mapping[PublicKey, AbstractSet[int]] = field(default_factory=dict)
    key_ids: Mapping[PublicKey, AbstractSet[str]] = field(default_factory=dict)
    keys: AbstractSet[bytes] = frozenset()  # wire forms of plain keys
    fingerprints: AbstractSet[bytes] = frozenset()  # SHA-256 of such forms, 32 bytes each
    revoked_ca_keys: tuple[PublicKey, ...] = ()  # and with them everything that they signed


@dataclass(frozen=True, slots=True)
class ParsedKrl:
    """A KRL that was read. Serials are spans, ascending and apart, so that a huge range stays two numbers."""

    version: int
    generated: int  # Unix seconds
    comment: str
    serials: Mapping[PublicKey, tuple[Span, ...]]
    key_ids: Mapping[PublicKey, frozenset[str]]
    keys: frozenset[bytes]
    fingerprints: frozenset[bytes]

    def lists_serial(self, ca_key: PublicKey, serial: int) -> bool:
        """Tell whether certificate `serial` of `ca_key` is revoked by its number."""
        spans = self.serials.get(ca_key, ())
        at = bisect_right(spans, serial, key=lambda span: span[0])
        return at > 0 and serial <= spans[at - 1][1]


def fingerprint_bytes(text: str) -> bytes:
    """Return the 32 bytes of a fingerprint as ssh-keygen -l prints it.

    Raises:
        Invalid: `bad_fingerprint`

    """
    digest = decode_base64(text.removeprefix("SHA256:") + "=")
    if not text.startswith("SHA256:") or digest is None or len(digest) != 32:
        raise Invalid("bad_fingerprint", "expected SHA256: and 43 characters of base64, as ssh-keygen -l prints it")
    return digest


def encode_krl(contents: KrlContents, *, version: int, generated: int, comment: str) -> bytes:
    """Write a KRL; it has a header, and so is never empty, where nothing is revoked.

    `version` must grow from one to the next, `generated` is in Unix seconds. The same contents give the same bytes.

    Raises:
        Invalid: `bad_krl`: a serial, key ID, fingerprint or comment that OpenSSH would choke on

    """
    parts = [krl_header(version=version, generated=generated, comment=comment)]
    for ca_key in sorted({*contents.serials, *contents.key_ids}, key=lambda key: key.blob):
        serials, key_ids = contents.serials.get(ca_key, ()), contents.key_ids.get(ca_key, frozenset())
        if sections := b"".join([*serial_sections(serials), *_key_id_sections(key_ids)]):
            parts.append(certificates_section(ca_key.blob, sections))
    revoked = {*contents.keys, *(key.blob for key in contents.revoked_ca_keys)}
    return b"".join([*parts, keys_section(revoked, contents.fingerprints)])


def krl_header(*, version: int, generated: int, comment: str) -> bytes:
    """Return what stands before the sections; see encode_krl()."""
    if not valid_key_id(comment or " "):
        raise _invalid("the comment must be printable ASCII of up to 128 characters")
    numbers = _MAGIC + uint32(_FORMAT_VERSION) + uint64(version) + uint64(generated) + uint64(0)
    return numbers + string(b"") + string(comment.encode())


def certificates_section(ca_key: bytes, sections: bytes) -> bytes:
    """Return the section of one CA key's certificates; `ca_key` is its wire form."""
    return _section(_CERTIFICATES, string(ca_key) + string(b"") + sections)


def keys_section(keys: AbstractSet[bytes], fingerprints: AbstractSet[bytes]) -> bytes:
    """Return the sections of plain keys, empty for none: their wire forms, and SHA-256 fingerprints of such."""
    parts = []
    if keys:
        parts.append(_section(_EXPLICIT_KEYS, b"".join([string(blob) for blob in sorted(keys)])))
    if fingerprints:
        if any(len(digest) != 32 for digest in fingerprints):
            raise _invalid("a SHA-256 fingerprint has 32 bytes")
        parts.append(_section(_FINGERPRINTS_SHA256, b"".join([string(digest) for digest in sorted(fingerprints)])))
    return b"".join(parts)


def _invalid(detail: str) -> Invalid:
    return Invalid("bad_krl", detail)


def _section(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + string(body)


def _key_id_sections(key_ids: AbstractSet[str]) -> Iterator[bytes]:
    if not all(valid_key_id(key_id) for key_id in key_ids):
        raise _invalid("a key ID must be 1 to 128 characters of printable ASCII")
    if key_ids:
        yield _section(_KEY_IDS, b"".join([string(key_id.encode()) for key_id in sorted(key_ids)]))


def _runs(serials: Iterable[int]) -> Iterator[Span]:
    """Yield the unbroken runs of serials, ascending."""
    ordered = sorted(serials)
    if not ordered:
        return
    if ordered[0] < 1 or ordered[-1] > _LAST_SERIAL:
        # OpenSSH refuses a whole KRL for one serial 0, which means "no serial".
        raise _invalid("a serial is 1 to 2**64 - 1")
    first = last = ordered[0]
    for serial in ordered:
        if serial > last + 1:
            yield first, last
            first = serial
        last = serial
    yield first, last


def _clusters(serials: Iterable[int]) -> Iterator[list[Span]]:
    """Yield groups of neighbouring runs that fit one bitmap; a long run is a group of its own."""
    cluster: list[Span] = []
    for run in _runs(serials):
        first, last = run
        if cluster and (
            last - first >= _LONG_RUN
            or cluster[-1][1] - cluster[-1][0] >= _LONG_RUN
            or first - cluster[-1][1] > _WIDEST_GAP
            or last - cluster[0][0] >= _BITMAP_BITS
        ):
            yield cluster
            cluster = []
        cluster.append(run)
    if cluster:
        yield cluster


def serial_sections(serials: Iterable[int]) -> Iterator[bytes]:
    """Yield sections for the serials, each cluster in its smallest form; there may be no serial 0."""
    listed: list[bytes] = []
    for cluster in _clusters(serials):
        start, end = cluster[0][0], cluster[-1][1]
        count = sum([last - first + 1 for first, last in cluster])
        as_range = _RANGE_BYTES if len(cluster) == 1 else _LAST_SERIAL
        as_bitmap = _BITMAP_HEADER_BYTES + (end - start) // 8 + 1 if end - start < _BITMAP_BITS else _LAST_SERIAL
        if count * _LIST_BYTES <= min(as_range, as_bitmap):
            listed += [uint64(serial) for first, last in cluster for serial in range(first, last + 1)]
            continue
        if listed:
            yield _section(_SERIAL_LIST, b"".join(listed))
            listed = []
        if as_range <= as_bitmap:
            yield _section(_SERIAL_RANGE, uint64(start) + uint64(end))
        else:
            bits = sum([(1 << last - first + 1) - 1 << first - start for first, last in cluster])
            yield _section(_SERIAL_BITMAP, uint64(start) + mpint(bits))
    if listed:
        yield _section(_SERIAL_LIST, b"".join(listed))


def parse_krl(blob: bytes) -> ParsedKrl:
    """Read a KRL, accepting only the kinds of section that encode_krl() writes.

    Raises:
        Malformed: `bad_krl`

    """
    try:
        return _parse(Reader(blob))
    except WireError as error:
        raise _malformed(f"the bytes are not a KRL: {error.detail}") from error


def _malformed(detail: str) -> Malformed:
    return Malformed("bad_krl", detail)


def _parse(reader: Reader) -> ParsedKrl:
    if reader.uint64() != int.from_bytes(_MAGIC, "big") or reader.uint32() != _FORMAT_VERSION:
        raise _malformed("the bytes do not begin as a KRL of format 1")
    version, generated = reader.uint64(), reader.uint64()
    if reader.uint64() or reader.string():
        raise _malformed("flags and reserved must be empty")
    comment = reader.string()
    spans: dict[PublicKey, list[Span]] = {}
    key_ids: dict[PublicKey, frozenset[str]] = {}
    keys: list[bytes] = []
    fingerprints: list[bytes] = []
    while reader.more():
        kind = reader.uint8()
        section = Reader(reader.string())
        if kind == _CERTIFICATES:
            _certificates(section, spans, key_ids)
        elif kind == _EXPLICIT_KEYS:
            keys += _ascending(section)
        elif kind == _FINGERPRINTS_SHA256:
            fingerprints += _ascending(section)
        else:
            raise _malformed(f"sections of type {kind} are not known here")
    if any(len(digest) != 32 for digest in fingerprints):
        raise _malformed("a SHA-256 fingerprint has 32 bytes")
    return ParsedKrl(
        version,
        generated,
        _text(comment) if comment else "",
        {ca_key: tuple(listed) for ca_key, listed in spans.items() if listed},
        {ca_key: listed for ca_key, listed in key_ids.items() if listed},
        frozenset(keys),
        frozenset(fingerprints),
    )


def _text(content: bytes) -> str:
    text = content.decode("latin-1")
    if not valid_key_id(text):
        raise _malformed("a comment or key ID is not 1 to 128 characters of printable ASCII")
    return text


def _ascending(section: Reader) -> list[bytes]:
    strings: list[bytes] = []
    while section.more():
        item = section.string()
        if strings and item <= strings[-1]:
            raise _malformed("keys, fingerprints and key IDs must ascend")
        strings.append(item)
    return strings


def _certificates(
    section: Reader, spans: dict[PublicKey, list[Span]], key_ids: dict[PublicKey, frozenset[str]]
) -> None:
    ca_key = unverified_public_key(section.string())
    if section.string() or ca_key in spans:
        raise _malformed("a reserved field is not empty, or a CA key is there twice")
    listed = spans[ca_key] = []
    while section.more():
        kind = section.uint8()
        body = Reader(section.string())
        if kind == _KEY_IDS:
            key_ids[ca_key] = key_ids.get(ca_key, frozenset()).union(_text(item) for item in _ascending(body))
            continue
        for first, last in _spans(kind, body):
            if not (listed[-1][1] if listed else 0) < first <= last:
                raise _malformed("serials must be positive and ascend")
            if listed and listed[-1][1] + 1 == first:
                first = listed.pop()[0]  # noqa: PLW2901 - neighbours become one span
            listed.append((first, last))


def _spans(kind: int, body: Reader) -> Iterator[Span]:
    if kind == _SERIAL_LIST:
        while body.more():
            serial = body.uint64()
            yield serial, serial
    elif kind == _SERIAL_RANGE:
        yield body.uint64(), body.uint64()
        body.end()
    elif kind == _SERIAL_BITMAP:
        offset, bits = body.uint64(), body.mpint()
        body.end()
        if bits.bit_length() > _BITMAP_BITS or offset + bits.bit_length() > _LAST_SERIAL + 1:
            raise _malformed("a bitmap of serials is too long")
        digits = f"{bits:b}"[::-1]
        at = digits.find("1")
        while at >= 0:
            yield offset + at, offset + at
            at = digits.find("1", at + 1)
    else:
        raise _malformed(f"certificate sections of type {kind} are not known here")
