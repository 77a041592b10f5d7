"""What one tenant's KRL lists, held so that a revocation more costs the encoding of a few hundred serials.

The serials of a CA key lie in shelves by their highest bits. Serials lie all over the range, so shelves fill evenly;
only those that changed are encoded again. The same contents make the same bytes, whatever the order in which they came.
"""

from collections.abc import Collection, Iterator, Mapping

from tms_ca.core.krl import certificates_section, keys_section, serial_sections
from tms_ca.core.publickey import PublicKey

_SHELF_BITS = 55  # of the 63 bits of a serial, the highest eight choose one of 256 shelves


class _Shelf:
    """Serials with their certificates' ends, and the sections that list them."""

    __slots__ = ("encoded", "ends", "first_end")

    def __init__(self) -> None:
        self.ends: dict[int, int] = {}
        self.first_end = 2**63  # no serial here ends earlier
        self.encoded: bytes | None = None

    def add(self, serial: int, end: int) -> None:
        self.ends[serial] = end
        self.first_end = min(self.first_end, end)
        self.encoded = None

    def drop_ended(self, until: int) -> None:
        if self.first_end <= until:
            self.ends = {serial: end for serial, end in self.ends.items() if end > until}
            self.first_end = min(self.ends.values(), default=2**63)
            self.encoded = None

    def sections(self) -> bytes:
        if self.encoded is None:
            self.encoded = b"".join(serial_sections(self.ends))
        return self.encoded


class KrlBook:
    """Revoked serials by CA key, and fingerprints of revoked keys. Times are Unix seconds."""

    def __init__(self) -> None:
        self._shelves: dict[str, dict[int, _Shelf]] = {}
        self._fingerprints: set[bytes] = set()
        self._keys_encoded: bytes | None = None

    def __len__(self) -> int:
        """Return how many serials are listed."""
        return sum(len(shelf.ends) for shelf in self._each())

    def add_certificate(self, ca_fingerprint: str, serial: int, end: int) -> None:
        """List a certificate that ends at `end`; a second time changes nothing."""
        shelves = self._shelves.setdefault(ca_fingerprint, {})
        shelf = shelves.get(serial >> _SHELF_BITS)
        if shelf is None:
            shelf = shelves[serial >> _SHELF_BITS] = _Shelf()
        shelf.add(serial, end)

    def add_key(self, fingerprint: bytes) -> None:
        """List a public key by the SHA-256 of its wire form."""
        self._fingerprints.add(fingerprint)
        self._keys_encoded = None

    def drop_ended(self, until: int) -> None:
        """Forget every certificate that ended at `until` or before."""
        for shelf in self._each():
            shelf.drop_ended(until)

    def first_end(self) -> int | None:
        """Return when the first of the listed certificates ends; None when none is listed."""
        return min((shelf.first_end for shelf in self._each() if shelf.ends), default=None)

    def body(self, ca_keys: Mapping[str, PublicKey], revoked_ca_keys: Collection[PublicKey]) -> bytes:
        """Return the sections of the KRL; `ca_keys` are by their fingerprints.

        Raises:
            KeyError: a certificate's CA key is not among `ca_keys`
            Invalid: `bad_krl`: a serial that OpenSSH would choke on

        """
        parts = [
            (key.blob, sections)
            for fingerprint, shelves in self._shelves.items()
            if (sections := b"".join([shelves[number].sections() for number in sorted(shelves)]))
            for key in (ca_keys[fingerprint],)
        ]
        listed = [certificates_section(blob, sections) for blob, sections in sorted(parts)]
        if self._keys_encoded is None:
            self._keys_encoded = keys_section(frozenset(), self._fingerprints)
        revoked = keys_section({key.blob for key in revoked_ca_keys}, frozenset())
        return b"".join([*listed, revoked, self._keys_encoded])

    def _each(self) -> Iterator[_Shelf]:
        for shelves in self._shelves.values():
            yield from shelves.values()
