"""Where CA keys sign. A `Signer` takes bytes and returns an SSH signature blob (RFC 4253 section 6.6).

Software keys are here; a key in an agent or a token is one more class with the same two members.
"""

from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from nacl.bindings import crypto_sign

from tms_ca.core.publickey import PublicKey, parse_ca_key
from tms_ca.core.sshwire import Reader, WireError, mpint, string

CA_ALGORITHMS = ("ed25519", "ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-3072", "rsa-4096")

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

# RFC 5656 section 6.2.1: each curve has its hash.
_ED25519_BYTES = 64
_ED25519_HEAD = string(b"ssh-ed25519") + _ED25519_BYTES.to_bytes(4, "big")
_ECDSA = {
    "secp256r1": (b"ecdsa-sha2-nistp256", hashes.SHA256()),
    "secp384r1": (b"ecdsa-sha2-nistp384", hashes.SHA384()),
    "secp521r1": (b"ecdsa-sha2-nistp521", hashes.SHA512()),
}
_RSA_HASHES = {"rsa-sha2-256": hashes.SHA256(), "rsa-sha2-512": hashes.SHA512()}  # RFC 8332


def verifies(public_key: str, signature_format: str, signature: bytes, data: bytes) -> bool:
    """Tell whether `signature` over `data` is one of the key in the line `public_key`; never with SHA-1."""
    try:
        key = serialization.load_ssh_public_key(public_key.encode())
        if isinstance(key, ed25519.Ed25519PublicKey) and signature_format == "ssh-ed25519":
            key.verify(signature, data)
        elif isinstance(key, ec.EllipticCurvePublicKey) and _ECDSA[key.curve.name][0] == signature_format.encode():
            parts = Reader(signature)
            encoded = encode_dss_signature(*(int.from_bytes(parts.string(), "big") for _ in range(2)))
            parts.end()
            key.verify(encoded, data, ec.ECDSA(_ECDSA[key.curve.name][1]))
        elif isinstance(key, rsa.RSAPublicKey) and signature_format in _RSA_HASHES:
            key.verify(signature, data, padding.PKCS1v15(), _RSA_HASHES[signature_format])
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, WireError):
        return False
    return True


class Signer(Protocol):
    """A CA key that can sign."""

    public_key: PublicKey

    async def sign(self, data: bytes) -> bytes:
        """Return the signature blob over `data`."""

    def sign_at_once(self, data: bytes) -> bytes | None:
        """Return the same where it takes no waiting; None where the key is elsewhere, or slow."""


class SoftwareSigner:
    """A private key in this process."""

    def __init__(self, private_key: PrivateKey) -> None:
        self._key = private_key
        # libsodium signs faster than OpenSSL; it wants the seed and the public key together (RFC 8032).
        self._ed25519 = b""
        if isinstance(private_key, ed25519.Ed25519PrivateKey):
            self._ed25519 = private_key.private_bytes_raw() + private_key.public_key().public_bytes_raw()
        public = private_key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        self.public_key = parse_ca_key(public.decode())

    @classmethod
    def generate(cls, algorithm: str) -> "SoftwareSigner":
        """Make a new key of one of CA_ALGORITHMS."""
        match algorithm:
            case "ed25519":
                return cls(ed25519.Ed25519PrivateKey.generate())
            case "ecdsa-p256":
                return cls(ec.generate_private_key(ec.SECP256R1()))
            case "ecdsa-p384":
                return cls(ec.generate_private_key(ec.SECP384R1()))
            case "ecdsa-p521":
                return cls(ec.generate_private_key(ec.SECP521R1()))
            case "rsa-3072" | "rsa-4096":
                return cls(rsa.generate_private_key(65537, int(algorithm.removeprefix("rsa-"))))
        raise ValueError(f"expected one of {', '.join(CA_ALGORITHMS)}, got {algorithm!r}")

    @classmethod
    def load(cls, der: bytes) -> "SoftwareSigner":
        """Load what `private_bytes` returned."""
        key = serialization.load_der_private_key(der, password=None)
        assert isinstance(key, PrivateKey)
        return cls(key)

    def private_bytes(self) -> bytes:
        """Return the key as PKCS #8 DER, to be sealed at once."""
        return self._key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def sign_at_once(self, data: bytes) -> bytes | None:
        """Return the signature blob over `data` of an Ed25519 key: the others take a millisecond, or several."""
        if not self._ed25519:
            return None
        return _ED25519_HEAD + crypto_sign(data, self._ed25519)[:_ED25519_BYTES]

    async def sign(self, data: bytes) -> bytes:
        """Return the signature blob over `data`."""
        signature = self.sign_at_once(data)
        if signature is not None:
            return signature
        key = self._key
        assert not isinstance(key, ed25519.Ed25519PrivateKey)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            name, hash_ = _ECDSA[key.curve.name]
            r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hash_)))
            return string(name) + string(mpint(r) + mpint(s))
        # RFC 8332: never the SHA-1 of plain ssh-rsa.
        return string(b"rsa-sha2-512") + string(key.sign(data, padding.PKCS1v15(), hashes.SHA512()))
