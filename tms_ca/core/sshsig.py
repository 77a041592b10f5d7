"""OpenSSH signatures of files, as `ssh-keygen -Y verify` reads them (PROTOCOL.sshsig): bytes in, armored text out.

Signing is not here. A namespace keeps a signature for one use from being taken for another.
"""

import hashlib

from tms_ca.core.publickey import PublicKey, encode_base64
from tms_ca.core.sshwire import string, uint32

_MAGIC = b"SSHSIG"
_VERSION = 1
HASH = "sha512"
_LINE = 70  # characters, as ssh-keygen folds it
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"


def signed_data(message: bytes, namespace: str) -> bytes:
    """Return what a key signs for `message` in `namespace`, which is not empty."""
    digest = hashlib.sha512(message).digest()
    return b"".join((_MAGIC, string(namespace.encode()), string(b""), string(HASH.encode()), string(digest)))


def armored(public_key: PublicKey, namespace: str, signature_blob: bytes) -> str:
    """Return the armored signature; `signature_blob` (RFC 4253 section 6.6) is that of `signed_data`."""
    blob = b"".join(
        (
            _MAGIC,
            uint32(_VERSION),
            string(public_key.blob),
            string(namespace.encode()),
            string(b""),  # reserved
            string(HASH.encode()),
            string(signature_blob),
        )
    )
    text = encode_base64(blob)
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return "\n".join([BEGIN, *lines, END]) + "\n"
