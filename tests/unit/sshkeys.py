"""Keys, signatures and ssh-keygen for the tests of keys, certificates and KRLs. Nothing here uses our own encoders."""

import base64
import functools
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

CURVES = {"nistp256": ec.SECP256R1(), "nistp384": ec.SECP384R1(), "nistp521": ec.SECP521R1()}
_HASHES = {"nistp256": hashes.SHA256(), "nistp384": hashes.SHA384(), "nistp521": hashes.SHA512()}
CA_KINDS = ("ed25519", "nistp256", "nistp384", "nistp521", "rsa3072")
SUBJECT_KINDS = (*CA_KINDS, "sk-ed25519", "sk-nistp256")


def packed(*parts: bytes) -> bytes:
    """Pack strings as the SSH wire has them."""
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def number(value: int) -> bytes:
    """Return the bytes of a positive mpint."""
    return value.to_bytes(value.bit_length() // 8 + 1, "big")


def line(algorithm: str, *parts: bytes, comment: str = "") -> str:
    """Return a public key line whose bytes begin with the algorithm's own name."""
    text = f"{algorithm} {base64.b64encode(packed(algorithm.encode(), *parts)).decode()}"
    return f"{text} {comment}" if comment else text


@functools.cache
def _generated(kind: str, which: int) -> PrivateKey:
    if kind.endswith("ed25519"):
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))
    return ec.generate_private_key(CURVES[kind.removeprefix("sk-")])


def private_key(kind: str, which: int = 0) -> PrivateKey:
    """Return the private key of a kind, the same at each call; another `which` is another key."""
    return _generated(kind, which)


def public_line(kind: str, which: int = 0, application: bytes = b"ssh:") -> str:
    """Return the public half of such a key; for `sk-` kinds as a FIDO key would have it."""
    public = private_key(kind, which).public_key()
    if kind == "sk-ed25519":
        point = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return line("sk-ssh-ed25519@openssh.com", point, application)
    if kind == "sk-nistp256":
        point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return line("sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", point, application)
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def sign(key: PrivateKey, content: bytes) -> bytes:
    """Return an SSH signature blob."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return packed(b"ssh-ed25519", key.sign(content))
    if isinstance(key, rsa.RSAPrivateKey):
        return packed(b"rsa-sha2-512", key.sign(content, padding.PKCS1v15(), hashes.SHA512()))
    name = f"nistp{key.curve.key_size}"
    r, s = decode_dss_signature(key.sign(content, ec.ECDSA(_HASHES[name])))
    return packed(f"ecdsa-sha2-{name}".encode(), packed(number(r), number(s)))


def ssh_keygen(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the real ssh-keygen; without one, skip on a laptop and fail in CI."""
    program = shutil.which("ssh-keygen")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("ssh-keygen is not installed")
    return subprocess.run(
        [program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"TZ": "UTC", "PATH": "/usr/bin:/bin"},
    )
