"""One question to the service over HTTP/1.1, strictly: a whole, bound answer or an error.

A client of our own, because the standard library's takes four times as long to import as the question takes to ask.
It follows no redirect, uses no proxy, reads no environment and takes no answer that is not exactly as expected.
"""

import binascii
import os
import socket
import time
from hashlib import sha256

CERTIFICATE_TYPES = frozenset(
    (
        "ssh-ed25519-cert-v01@openssh.com",
        "ecdsa-sha2-nistp256-cert-v01@openssh.com",
        "ecdsa-sha2-nistp384-cert-v01@openssh.com",
        "ecdsa-sha2-nistp521-cert-v01@openssh.com",
        "ssh-rsa-cert-v01@openssh.com",
        "rsa-sha2-256-cert-v01@openssh.com",
        "rsa-sha2-512-cert-v01@openssh.com",
        "sk-ssh-ed25519-cert-v01@openssh.com",
        "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    )
)
MOST_CERTIFICATE_CHARACTERS = 65536
MOST_ANSWER_BYTES = 65536
MOST_HEAD_BYTES = 16384
_ACCOUNT_FIRST = frozenset("abcdefghijklmnopqrstuvwxyz_")
_ACCOUNT = _ACCOUNT_FIRST | frozenset("0123456789.-")
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
_CODE = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")


class ServiceError(Exception):
    """No answer that can be believed."""


class Refused(Exception):
    """The service said no; the text is its code."""


def fingerprint(certificate):
    """Return SHA256:... of a whole certificate in base64, as the service computes it.

    Raises:
        ServiceError: not base64
    """
    try:
        blob = binascii.a2b_base64(certificate.encode("ascii"))
    except (ValueError, UnicodeEncodeError):
        raise ServiceError("the certificate is not base64") from None
    return "SHA256:" + binascii.b2a_base64(sha256(blob).digest(), newline=False).decode("ascii").rstrip("=")


def check_arguments(account, certificate_type, certificate):
    """Check what sshd passed before any of it goes into a request.

    Raises:
        ServiceError: an account or certificate that cannot be one
    """
    if not 1 <= len(account) <= 32 or account[0] not in _ACCOUNT_FIRST or not _ACCOUNT.issuperset(account):
        raise ServiceError("the account's name is not one that the service knows")
    if certificate_type not in CERTIFICATE_TYPES:
        raise ServiceError("not a certificate of a known type")
    if not 1 <= len(certificate) <= MOST_CERTIFICATE_CHARACTERS or not _BASE64.issuperset(certificate):
        raise ServiceError("the certificate is not base64, or too long")


class Connection:
    """A socket with one deadline for everything that happens on it."""

    def __init__(self, config, deadline):
        self._deadline = deadline
        try:
            plain = socket.create_connection((config.address, config.port), self._left())
            self._socket = _with_tls(plain, config, self._left()) if config.secure else plain
        except OSError as error:
            raise ServiceError("cannot reach %s port %d: %s" % (config.address, config.port, error)) from error

    def _left(self):
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise ServiceError("no answer in time")
        return left

    def ask(self, request):
        """Send `request`; return all that comes until the service closes."""
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(request)
            received = b""
            while True:
                self._socket.settimeout(self._left())
                piece = self._socket.recv(65536)
                if not piece:
                    return received
                received += piece
                if len(received) > MOST_HEAD_BYTES + MOST_ANSWER_BYTES:
                    raise ServiceError("the answer is larger than any true one")
        except OSError as error:
            raise ServiceError("the connection failed: %s" % error) from error
        finally:
            self._socket.close()


def _with_tls(plain, config, timeout):
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.options |= ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
    try:
        if config.ca_file == "system":
            context.load_default_certs()
        else:
            context.load_verify_locations(config.ca_file)
        plain.settimeout(timeout)
        return context.wrap_socket(plain, server_hostname=config.address)
    except (OSError, ValueError) as error:
        plain.close()
        raise ServiceError("TLS failed: %s" % error) from error


def split_answer(received):
    """Return (status, headers, body) of one whole HTTP/1.1 answer.

    Raises:
        ServiceError: not one, cut short, longer than it says, or of a length that it does not say
    """
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator or len(head) > MOST_HEAD_BYTES:
        raise ServiceError("the answer has no end of head")
    try:
        lines = head.decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        raise ServiceError("the answer's head is not ASCII") from None
    version, _, rest = lines[0].partition(" ")
    status = rest[:3]
    if version != "HTTP/1.1" or len(status) != 3 or not status.isdigit() or rest[3:4] not in ("", " "):
        raise ServiceError("the answer is not HTTP/1.1")
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip() or name in headers:
            raise ServiceError("the answer's head has a bad or doubled line")
        headers[name] = value.strip()
    length = headers.get("content-length", "")
    if "transfer-encoding" in headers or not length.isdigit() or len(length) > 6 or int(length) != len(body):
        raise ServiceError("the answer is not as long as it says")
    if len(body) > MOST_ANSWER_BYTES:
        raise ServiceError("the answer is larger than any true one")
    return int(status), headers, body


def refusal_code(body):
    """Return the `code` of a problem document, as far as it is surely one; for the log only."""
    _, found, rest = body.partition(b'"code":"')
    code, quote, _ = rest.partition(b'"')
    text = code.decode("ascii", "replace")
    return text if found and quote and 1 <= len(text) <= 64 and _CODE.issuperset(text) else "refused"


def ask_principals(config, account, certificate_type, certificate, deadline):
    """Return the lines of the service's yes, which is bound to this question.

    Raises:
        Refused: a clean no
        ServiceError: anything else
    """
    check_arguments(account, certificate_type, certificate)
    nonce = binascii.b2a_hex(os.urandom(16)).decode("ascii")
    # Every value was checked against an alphabet without quotes and backslashes.
    body = '{"account":"%s","certificate":"%s %s","nonce":"%s"}' % (account, certificate_type, certificate, nonce)
    request = (
        "POST /api/v1/tenants/%s/hosts/%s/principals HTTP/1.1\r\n"
        "Host: %s\r\nAuthorization: Bearer %s\r\nAccept: text/plain\r\nContent-Type: application/json\r\n"
        "Content-Length: %d\r\nConnection: close\r\n\r\n%s"
    ) % (config.tenant, config.host, config.authority, config.token, len(body), body)
    status, headers, answer = split_answer(Connection(config, deadline).ask(request.encode("ascii")))
    kind = headers.get("content-type", "").partition(";")[0].strip()
    if status == 403 and kind == "application/problem+json":
        raise Refused(refusal_code(answer))
    if status != 200 or kind != "text/plain":
        raise ServiceError("the service answered %d %s" % (status, kind[:40]))
    bound = "%s %s %s" % (nonce, account, fingerprint(certificate))
    if headers.get("x-tms-answer") != bound:
        raise ServiceError("the answer belongs to another question")
    try:
        return answer.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise ServiceError("the answer is not ASCII") from None
