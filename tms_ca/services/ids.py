"""Names and secrets that the service makes up."""

import base64
import hashlib
import secrets

# No vowels, so that no word appears; no look-alikes: read aloud and typed by people (RFC 8628 section 6.1).
_CODE_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
_CODE_LENGTH = 10  # 43 bits: RFC 8628 section 5.2 asks for enough to make guessing hopeless

SECRET_PREFIX = {
    "operator": "tms_o_",
    "admin": "tms_a_",
    "client": "tms_c_",
    "host": "tms_h_",
    "user": "tms_s_",
    "join": "tms_j_",
}


def new_id(kind: str) -> str:
    """Return a new name of 96 random bits, such as dlg_x3k..."""
    return f"{kind}_{base64.b32encode(secrets.token_bytes(12)).decode().rstrip('=').lower()}"


def new_secret(role: str) -> str:
    """Return a new 256-bit secret; the prefix lets secret scanners find a leaked one."""
    return SECRET_PREFIX[role] + secrets.token_urlsafe(32)


def secret_digest(secret: str) -> bytes:
    """Return what the database keeps of a 256-bit secret."""
    return hashlib.sha256(secret.encode()).digest()


def new_tms_secret() -> str:
    """Return a new secret in the form that the TMS wire API gives out: 192 random bits in hexadecimal."""
    return secrets.token_hex(24)


def tms_digest(secret: str) -> bytes:
    """Return what the TMS server kept of a secret: SHA-512, told from ours by its length."""
    return hashlib.sha512(secret.encode()).digest()


def new_user_code() -> str:
    """Return a code for people, such as BCDFG-HJKLM."""
    letters = "".join(secrets.choice(_CODE_ALPHABET) for _ in range(_CODE_LENGTH))
    return f"{letters[:5]}-{letters[5:]}"
