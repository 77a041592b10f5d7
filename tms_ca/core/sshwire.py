"""The data types of the SSH wire, RFC 4251 section 5: how they are written, and a strict reader.

Nothing here knows what a key or a certificate is.
"""

from tms_ca.core.errors import Malformed


class WireError(Malformed):
    """The bytes are not the SSH data types that were expected."""

    def __init__(self, detail: str) -> None:
        super().__init__("bad_wire_format", detail)


def uint32(number: int) -> bytes:
    """Write 0 <= number < 2**32. An OverflowError is a bug of the caller."""
    return number.to_bytes(4, "big")


def uint64(number: int) -> bytes:
    """Write 0 <= number < 2**64. An OverflowError is a bug of the caller."""
    return number.to_bytes(8, "big")


def string(content: bytes) -> bytes:
    """Write a string: its length, then its bytes."""
    return len(content).to_bytes(4, "big") + content


def mpint(number: int) -> bytes:
    """Write a number >= 0 in as few bytes as two's complement takes; zero is the empty string.

    Keys and signatures hold no negative numbers, so an OverflowError is a bug of the caller.
    """
    return string(number.to_bytes((number.bit_length() + 8) // 8 if number else 0, "big"))


class Reader:
    """A cursor over bytes that came from elsewhere, beginning at `at`; each call takes one value and moves on.

    Raises:
        WireError: from every method, where the bytes run short or are not the shortest form of the value

    """

    __slots__ = ("_at", "_bytes")

    def __init__(self, content: bytes, at: int = 0) -> None:
        self._bytes = content
        self._at = at

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._bytes):
            raise WireError(f"expected {size} more bytes at offset {self._at}, got {len(self._bytes) - self._at}")
        taken = self._bytes[self._at : end]
        self._at = end
        return taken

    def uint8(self) -> int:
        """Read one byte."""
        return self._take(1)[0]

    def uint32(self) -> int:
        """Read a number of four bytes."""
        return int.from_bytes(self._take(4), "big")

    def uint64(self) -> int:
        """Read a number of eight bytes."""
        return int.from_bytes(self._take(8), "big")

    def string(self) -> bytes:
        """Read a string."""
        # Written out instead of uint32() and _take(): a login check reads some twenty of these.
        start = self._at + 4
        end = start + int.from_bytes(self._bytes[self._at : start], "big")
        if end > len(self._bytes):
            raise WireError(f"a string at offset {self._at} runs past the end of {len(self._bytes)} bytes")
        self._at = end
        return self._bytes[start:end]

    def skip_strings(self, count: int) -> None:
        """Pass over `count` strings."""
        at, content = self._at, self._bytes
        for _ in range(count):
            at += 4 + int.from_bytes(content[at : at + 4], "big")
        if at > len(content):
            raise WireError(f"a string after offset {self._at} runs past the end of {len(content)} bytes")
        self._at = at

    def mpint(self) -> int:
        """Read a number >= 0 in its shortest form."""
        at = self._at
        content = self.string()
        # A negative number would need one byte more as the positive one that is read here, so it fails too.
        number = int.from_bytes(content, "big")
        if len(content) != ((number.bit_length() + 8) // 8 if number else 0):
            raise WireError(f"the number at offset {at} is negative or not in its shortest form")
        return number

    def rest(self) -> bytes:
        """Read everything that is left, which may be nothing."""
        return self._take(len(self._bytes) - self._at)

    def more(self) -> bool:
        """Tell whether anything is left."""
        return self._at < len(self._bytes)

    def end(self) -> None:
        """Raise WireError where anything is left."""
        left = len(self._bytes) - self._at
        if left:
            raise WireError(f"expected the end at offset {self._at}, got {left} more bytes")
