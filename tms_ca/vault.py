"""Secrets at rest: the master key in a file of its own, and what is sealed under it.

AES-256-GCM with a fresh nonce; the name of the thing is authenticated too, so that a sealed value moved to another
row does not open. The master key is never in the database: who steals the database has no keys and no seeds.
"""

import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tms_ca.core.errors import Unavailable

KEY_BYTES = 32
_NONCE_BYTES = 12  # NIST SP 800-38D: 96 bits


class Vault:
    """Seals and opens secrets under the master key."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != KEY_BYTES:
            raise ValueError(f"a master key has {KEY_BYTES} bytes, got {len(master_key)}")
        self._seal = AESGCM(self._derive(master_key, b"seal"))
        self.audit_key = self._derive(master_key, b"audit-head")
        self.csrf_key = self._derive(master_key, b"csrf")

    @staticmethod
    def _derive(master_key: bytes, use: bytes) -> bytes:
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"tms-ca/" + use).derive(master_key)

    def seal(self, name: str, secret: bytes) -> bytes:
        """Return `secret` sealed for the thing called `name`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._seal.encrypt(nonce, secret, name.encode())

    def unseal(self, name: str, sealed: bytes) -> bytes:
        """Return what was sealed for `name`.

        Raises:
            Unavailable: sealed under another master key, for another name, or altered

        """
        try:
            return self._seal.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError) as error:  # ValueError: too short to hold a nonce
            raise Unavailable(
                "sealed", f"{name} does not open with this master key; is it the one the database was made with?"
            ) from error


def create_master_key(path: Path) -> None:
    """Write a new master key to `path`, readable by its owner alone.

    Raises:
        FileExistsError: there is one; it is never overwritten

    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())


def load_vault(path: Path) -> Vault:
    """Read the master key.

    Raises:
        ValueError: not there, readable by others, or not a key; the text names the file

    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(256)
    except OSError as error:
        raise ValueError(f"cannot read the master key {path}: {error.strerror}") from error
    if mode & 0o077:
        raise ValueError(f"{path}: others can reach the master key (mode {mode:04o}); chmod 600 it")
    try:
        return Vault(bytes.fromhex(text.decode().strip()))
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected {KEY_BYTES * 2} hexadecimal digits") from error
