"""Is this point on its curve? Plain integer arithmetic on public values, so it need not be constant-time.

A point off its curve, or of small order, is a key for which others can make signatures.
"""

from dataclasses import dataclass

from gmpy2 import jacobi, mpz

_P = mpz(2**255 - 19)  # RFC 8032 section 5.1
_D = -121665 * pow(121666, -1, _P) % _P

# The y of every point whose order divides 8: for these keys anyone can make a signature that verifies.
_Y8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_BELOW_TOP_BIT = (1 << 255) - 1
_SMALL_ORDER = frozenset({0, 1, _P - 1, _Y8, _P - _Y8})


def ed25519_fault(point: bytes) -> str | None:
    """Say what is wrong with an Ed25519 public key (RFC 8032 section 5.1.3), or return None where nothing is."""
    if len(point) != 32:
        return f"an Ed25519 point has 32 bytes, not {len(point)}"
    y = mpz(int.from_bytes(point, "little") & _BELOW_TOP_BIT)  # the top bit is the sign of x
    if y >= _P:
        return "the Ed25519 point is not in its canonical form"
    if y in _SMALL_ORDER:
        return "the Ed25519 point has a small order, so anyone could sign for it"
    # x^2 = (y^2 - 1) / (d y^2 + 1); a quotient is a square exactly where the product is.
    y2 = y * y % _P
    # The Jacobi symbol of a number by a prime is 1 where it is a square.
    if jacobi((y2 - 1) * (_D * y2 + 1) % _P, _P) != 1:
        return "the Ed25519 point is not on its curve"
    return None


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve y^2 = x^3 - 3x + b over a prime field, of prime order (SP 800-186 section 3.2.1)."""

    name: bytes  # RFC 5656 section 10.1
    p: int
    b: int

    def fault(self, point: bytes) -> str | None:
        """Say what is wrong with an uncompressed point (SEC 1 section 2.3.4), or return None where nothing is."""
        size = (self.p.bit_length() + 7) // 8
        if len(point) != 1 + 2 * size or point[0] != 4:
            return f"a {self.name.decode()} point is uncompressed and has {1 + 2 * size} bytes"
        x = int.from_bytes(point[1 : 1 + size], "big")
        y = int.from_bytes(point[1 + size :], "big")
        if x >= self.p or y >= self.p or (y * y - (x * x - 3) * x - self.b) % self.p:
            return f"the point is not on {self.name.decode()}"
        return None


NISTP256 = Curve(
    b"nistp256",
    2**256 - 2**224 + 2**192 + 2**96 - 1,
    0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
)
NISTP384 = Curve(
    b"nistp384",
    2**384 - 2**128 - 2**96 + 2**32 - 1,
    0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
)
NISTP521 = Curve(
    b"nistp521",
    2**521 - 1,
    0x51953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E156193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00,
)
