"""Host certificates, as far as a host must read its own (PROTOCOL.certkeys); whether one is good, ssh-keygen says."""

import binascii
import subprocess

HOST = 2  # the type field of a host's certificate
SUFFIX = "-cert-v01@openssh.com"
CHECK_SECONDS = 5
_KEY_FIELDS = {  # how many strings the public key has
    "ssh-ed25519": 1,
    "ssh-rsa": 2,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
}
_MOST_CHARACTERS = 65536


class CertificateError(Exception):
    """Not a certificate that this host can use; the text says why."""


class HostCertificate:
    """A host certificate: `public_key` and `ca_key` are `TYPE BASE64`, times are Unix seconds."""

    def __init__(self, text):
        """Read `TYPE BASE64 [COMMENT]`.

        Raises:
            CertificateError: not a host certificate
        """
        kind, _, rest = text.strip().partition(" ")
        self.line = "%s %s" % (kind, rest.split(" ")[0])
        plain = kind[: -len(SUFFIX)] if kind.endswith(SUFFIX) else ""
        if len(text) > _MOST_CHARACTERS or plain not in _KEY_FIELDS:
            raise CertificateError("%.60r is not a certificate of a host key's type" % text)
        try:
            fields = _Fields(binascii.a2b_base64(rest.split(" ")[0].encode("ascii")))
            if fields.string() != kind.encode("ascii"):
                raise CertificateError("the certificate's type is not what it says")
            fields.string()  # the nonce
            key = [fields.raw_string() for _ in range(_KEY_FIELDS[plain])]
            self.serial = fields.number(8)
            if fields.number(4) != HOST:
                raise CertificateError("this is a user's certificate, not a host's")
            fields.string()  # the key ID
            self.principals = _Fields(fields.string()).all_texts()
            self.valid_after, self.valid_before = fields.number(8), fields.number(8)
            for _ in range(3):  # critical options, extensions, reserved
                fields.string()
            self.ca_key = _line(fields.string())
        except (ValueError, IndexError) as error:
            raise CertificateError("the certificate is cut short or garbage") from error
        self.public_key = _line(_string(plain.encode("ascii")) + b"".join(key))


def check(certificate, public_key, ca_keys, now):
    """Refuse a certificate that sshd could not use: whose key, whose signature, when.

    Runs ssh-keygen, which checks the signature as it reads, for 5 s at most.

    Raises:
        CertificateError: which of them
    """
    if certificate.public_key != public_key:
        raise CertificateError("the certificate is for another key than this host's")
    if certificate.ca_key not in ca_keys:
        raise CertificateError("the certificate is not of a host CA key of the trust bundle")
    if not certificate.principals:
        raise CertificateError("the certificate names no host")
    if not certificate.valid_after <= now < certificate.valid_before:
        raise CertificateError("the certificate is not valid now: compare this machine's clock")
    try:
        done = subprocess.run(
            ["ssh-keygen", "-L", "-f", "/proc/self/fd/0"], input=certificate.line.encode("ascii") + b"\n", check=False,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=CHECK_SECONDS, env={"PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise CertificateError("ssh-keygen could not check the certificate: %s" % error) from error
    if done.returncode != 0:
        raise CertificateError("ssh-keygen does not take the certificate: its signature is wrong")


class _Fields:
    """The fields of a blob, one after the other."""

    def __init__(self, blob):
        self._left = blob

    def number(self, size):
        taken, self._left = self._left[:size], self._left[size:]
        if len(taken) != size:
            raise IndexError
        return int.from_bytes(taken, "big")

    def string(self):
        size = self.number(4)
        taken, self._left = self._left[:size], self._left[size:]
        if len(taken) != size:
            raise IndexError
        return taken

    def raw_string(self):
        return _string(self.string())

    def all_texts(self):
        found = []
        while self._left:
            found.append(self.string().decode("ascii"))
        return found


def _string(content):
    return len(content).to_bytes(4, "big") + content


def _line(blob):
    return "%s %s" % (_Fields(blob).string().decode("ascii"), binascii.b2a_base64(blob, newline=False).decode("ascii"))
